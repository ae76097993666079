//! Two machines on this one: each has a network and a /dev/shm that the other does not see.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use coframe::Store;
use coframe_flight::{Remote, Server, ServerOptions};

use crate::common::{Reaper, child, large, role, scratch, serve};

const TEST: &str = "nodes::a_frame_of_another_machine_has_the_same_bytes_here";
/// The same on both machines, so that only separate memory keeps one from the other's store.
const STORE: &str = "/dev/shm/store";

/// A command in new namespaces, with an empty /dev/shm.
fn machine(command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs tmpfs /dev/shm && ip link set lo up && exec \"$@\"";
    unshare.args(["--net", "--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            unshare.env(name, value);
        }
    }
    unshare
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Whether this system allows namespaces with a pair of network cards.
fn allows_namespaces() -> bool {
    let mut try_it = Command::new("ip");
    try_it.args("link add va type veth peer name vb".split(' '));
    machine(&try_it).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_frame_of_another_machine_has_the_same_bytes_here() {
    match role().as_deref() {
        Some("origin") => return origin(),
        Some("node") => return node(),
        _ => {}
    }
    if !allows_namespaces() {
        println!("no namespaces here: the two machines are two stores");
        let (there, here) = (scratch(), scratch());
        let frame = large(&there.store, "x", 1 << 20);
        let server = serve(&there.store);
        let copy = Remote::connect(server.url()).unwrap().open(&here.store, "x").unwrap();
        assert_eq!(copy.segment_bytes(), frame.segment_bytes());
        return;
    }
    let output = machine(&child(TEST, "origin")).stdout(Stdio::piped()).stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("the other machine has it"), "{said}");
    // What they had was in their private memory.
    assert!(!Path::new(STORE).exists());
}

fn origin() {
    let store = Store::open_at(STORE).unwrap();
    let frame = large(&store, "x", 1 << 20);
    let mut command = machine(&child(TEST, "node"));
    let mut node = Reaper(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines();
    // Its network exists once it runs.
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    ip(&format!("link add va type veth peer name vb netns {}", node.0.id()));
    ip("addr add 10.77.0.1/24 dev va");
    ip("link set va up");
    let options = ServerOptions::new().address("10.77.0.1:0".parse().unwrap()).insecure(true);
    let server = Server::start(&store, &options).unwrap();
    let id = frame.segment_id().unwrap();
    writeln!(node.0.stdin.take().unwrap(), "{} {id:032x} {}", server.url(), sum(&frame.segment_bytes())).unwrap();
    assert!(lines.any(|line| line.unwrap().contains("pulled")));
    assert!(node.0.wait().unwrap().success());
    assert_eq!(server.stats().pulls, 1);
    println!("the other machine has it");
}

fn node() {
    assert!(!Path::new(STORE).exists());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let [url, id, expected] = line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    ip("addr add 10.77.0.2/24 dev vb");
    ip("link set vb up");
    let store = Store::open_at(STORE).unwrap();
    // The two cards need a moment to find each other.
    let remote = (0..100).find_map(|_| {
        let connected = Remote::connect(url).ok();
        thread::sleep(Duration::from_millis(20));
        connected
    });
    let frame = remote.expect("no connection").open(&store, "x").unwrap();
    assert_eq!(format!("{:032x}", frame.segment_id().unwrap()), id);
    assert_eq!(sum(&frame.segment_bytes()).to_string(), expected);
    println!("pulled");
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}
