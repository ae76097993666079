//! The program `coframe-flight`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{ChildStderr, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::{Reaper, batch, mixed, scratch};

fn command(store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coframe-flight"));
    command.env_remove("COFRAME_TOKEN_FILE").arg("--store").arg(store).args(arguments);
    command
}

fn run(store: &Path, arguments: &[&str]) -> Output {
    command(store, arguments).output().unwrap()
}

fn ok(store: &Path, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(store, arguments);
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn fails(store: &Path, arguments: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = run(store, arguments);
    assert_eq!((status.code(), stdout.as_slice()), (Some(code), &b""[..]));
    let text = String::from_utf8(stderr).unwrap();
    assert!(text.starts_with("coframe: ") && text.lines().count() == 1, "{text}");
    text
}

/// A server, its URL, and what it prints.
fn serve(store: &Path, arguments: &[&str]) -> (Reaper, String, BufReader<ChildStderr>) {
    let mut serve = command(store, &["serve", "--address", "127.0.0.1:0", "--json"]);
    let mut process = Reaper(serve.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url: Value = serde_json::from_str(&line).unwrap();
    let stderr = BufReader::new(process.0.stderr.take().unwrap());
    (process, url["url"].as_str().unwrap().to_owned(), stderr)
}

fn signal(process: &Reaper, signal: Signal) {
    kill_process(Pid::from_child(&process.0), signal).unwrap();
}

#[test]
fn frames_are_served_listed_shown_pulled_pushed_and_waited_for() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let (server, url, mut stderr) = serve(&there.path(), &["--write"]);
    let remote = |arguments: &[&str]| ok(&here.path(), &[&["--remote", &url], arguments].concat());
    assert!(remote(&["ls"]).contains("mixed"));
    let listing: Value = serde_json::from_str(&remote(&["ls", "--json"])).unwrap();
    let id = format!("{:032x}", frame.segment_id().unwrap());
    assert_eq!((&listing["frames"][0]["rows"], &listing["frames"][0]["id"]), (&json!(25), &json!(id)));
    let shown: Value = serde_json::from_str(&remote(&["show", "mixed", "--json"])).unwrap();
    assert_eq!((&shown["schema"][2]["name"], &shown["metadata"]), (&json!("word"), &json!({ "source": "a test" })));
    assert!(remote(&["show", "mixed"]).contains("text: Utf8View"));
    let head = remote(&["head", "mixed", "-n", "3", "--columns", "text,number"]);
    assert!(head.contains("the text of row 0") && !head.contains("row 3") && !head.contains("word"), "{head}");
    assert_eq!(remote(&["wait", "mixed"]), "mixed@1\n");
    let late = run(&here.path(), &["--remote", &url, "wait", "mixed", "--newer-than", "1", "--timeout", "50ms"]);
    assert_eq!(late.status.code(), Some(3));
    let wrong = run(&here.path(), &["--remote", &url, "wait", "mixed", "--timeout", "3 moons"]);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.contains("`3 moons` is not a duration; write for example 500ms, 10s, 2m or 1h"), "{wrong}");
    assert!(remote(&["doctor"]).contains("listed 1 frames"));

    let handle = ok(&here.path(), &["pull", &url, "mixed"]);
    let pulled = handle.trim().parse::<coframe::Handle>().unwrap().open().unwrap();
    assert_eq!(pulled.segment_bytes(), frame.segment_bytes());
    ok(&here.path(), &["pull", &url, "mixed", "--version", "1", "--as", "copy"]);
    ok(&here.path(), &["pull", &url, "mixed", "--ranges", "3", "--as", "ranged"]);
    assert!(here.store.open("ranged").unwrap().segment_bytes() == frame.segment_bytes());
    for wrong in ["0", "65", "-1", "many"] {
        let refused = run(&here.path(), &["pull", &url, "mixed", &format!("--ranges={wrong}")]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && said.contains("1 to 64"), "{said}");
    }
    here.store.publish("new", &batch(4)).unwrap();
    ok(&here.path(), &["push", &url, "new", "--as", "pushed"]);
    assert_eq!(there.store.open("pushed").unwrap().num_rows(), 4);
    fails(&here.path(), &["pull", &url, "missing"], 3);
    fails(&here.path(), &["pull", &url, "../x"], 1);
    fails(&here.path(), &["pull", "ftp://x", "x"], 1);

    signal(&server, Signal::TERM);
    let mut server = server;
    assert!(server.0.wait().unwrap().success());
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("serving") && said.trim_end().ends_with("stopping"), "{said}");
    assert!(fails(&here.path(), &["pull", &url, "x"], 1).contains("cannot connect"));
}

#[test]
fn a_hangup_reads_the_tokens_again() {
    let (there, here) = (scratch(), scratch());
    mixed(&there.store);
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = write("tokens", "read the-first-token-0123\n");
    let (first, second) = (write("first", "the-first-token-0123\n"), write("second", "the-second-token-012\n"));
    let (server, url, mut stderr) = serve(&there.path(), &["--tokens", &tokens]);
    let list = |token: &str| run(&here.path(), &["--remote", &url, "--token-file", token, "ls"]).status.code();
    assert_eq!((list(&first), list(&second)), (Some(0), Some(1)));
    let mut line = String::new();
    let mut reload = |text: &str, expected: &str| {
        write("tokens", text);
        signal(&server, Signal::HUP);
        while !line.contains(expected) {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0);
        }
    };
    reload("read the-second-token-012\n", "read the tokens again");
    assert_eq!((list(&first), list(&second)), (Some(1), Some(0)));
    // A file that cannot be read changes nothing.
    reload("nonsense\n", "the old tokens stay");
    assert_eq!((list(&first), list(&second)), (Some(1), Some(0)));
    let said = fails(&here.path(), &["serve", "--address", "0.0.0.0:0", "--tokens", &second], 1);
    assert!(said.contains("expected `read TOKEN`"), "{said}");
    let said = fails(&here.path(), &["serve", "--address", "0.0.0.0:0"], 1);
    assert!(said.contains("TLS and tokens"), "{said}");
}
