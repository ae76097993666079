//! The command in a pseudo-terminal, and `coframe top` in it.

use std::{
    fs::File,
    io::{Read, Write},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use coframe::polars::prelude::*;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::common::{Reaper, scratch};

/// How long a busy machine may take until something is on the screen.
const PATIENCE: Duration = Duration::from_secs(30);

struct Terminal {
    master: File,
    child: Reaper,
    /// Everything that was written so far.
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts a command whose standard streams are a terminal of 110 columns and 24 lines.
    fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || File::from(rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave()).env_remove("COLUMNS").env("TERM", "xterm");
        let child = Reaper(command.spawn().unwrap());
        // The command's own descriptors must be the last of the other side, or its end is never seen.
        drop(command);
        let master = File::from(master);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (mut input, sink) = (master.try_clone().unwrap(), bytes.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => sink.lock().unwrap().extend_from_slice(&buffer[..read]),
                }
            }
        });
        Self { master, child, bytes, reader }
    }

    fn screen(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(24, 110, 0);
        parser.process(&self.bytes.lock().unwrap());
        parser
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let text = self.screen().screen().contents();
            if is_there(&text) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit code and everything that was written.
    fn end(mut self) -> (Option<i32>, Vec<u8>) {
        let status = self.child.0.wait().unwrap();
        // Reading fails when the other side is closed everywhere.
        self.reader.join().unwrap();
        let bytes = self.bytes.lock().unwrap().clone();
        (status.code(), bytes)
    }
}

/// Runs a command to its end in a terminal, and returns what it wrote.
pub(crate) fn run(command: Command) -> String {
    let (code, bytes) = Terminal::start(command).end();
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&bytes));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn top_shows_frames_and_readers_filters_and_gives_the_screen_back() {
    let scratch = scratch();
    let store = scratch.store();
    let _alpha = store.publish("alpha", &df!("a" => [1, 2]).unwrap()).unwrap();
    drop(store.publish("beta", &df!("a" => (0..1_000_000i64).collect::<Vec<_>>()).unwrap()).unwrap());
    let mut terminal = Terminal::start(scratch.command(&["top", "--interval", "100ms"]));
    let pid = std::process::id().to_string();
    terminal.wait_for("both frames", |text| text.contains("alpha") && text.contains("beta") && text.contains("8.0 MB"));
    // This test maps `alpha`, which is chosen.
    terminal.wait_for("the reader", |text| text.contains("readers of alpha") && text.contains(&pid));
    terminal.wait_for("the sentence", |text| text.contains("memory shared: 1 process maps"));
    terminal.press("s");
    terminal.wait_for("the order by size", |text| text.find("beta") < text.find("alpha"));
    terminal.press("/bet\r");
    terminal.wait_for("the filter", |text| text.contains("1 frame matching `bet`") && !text.contains("alpha"));
    drop(store.publish("better", &df!("a" => [1]).unwrap()).unwrap());
    terminal.wait_for("a frame that came while it ran", |text| text.contains("better"));
    assert!(terminal.screen().screen().alternate_screen());
    terminal.press("q");
    let (code, bytes) = terminal.end();
    assert_eq!(code, Some(0));
    let mut parser = vt100::Parser::new(24, 110, 0);
    parser.process(&bytes);
    assert!(!parser.screen().alternate_screen() && !parser.screen().hide_cursor());
    assert_eq!(parser.screen().contents().trim(), "");
}

#[test]
fn top_without_a_terminal_names_an_alternative() {
    let scratch = scratch();
    scratch.store();
    let line = scratch.fails(2, &["top"]);
    assert_eq!(line, "top needs a terminal; coframe top --json prints one snapshot, coframe ls a list");
}

#[test]
fn publish_draws_its_progress_on_a_terminal_only() {
    let scratch = scratch();
    let file = crate::common::flights();
    let files = [file.as_str(); 6];
    let args = [&["publish", "--name", "f"], &files[..]].concat();
    let drawn = run(scratch.command(&args));
    assert!(drawn.contains("eta") && drawn.contains("/s"), "{drawn:?}");
    assert_eq!(scratch.run(&args).err, "");
}

#[test]
fn a_table_fits_the_terminal() {
    let scratch = scratch();
    scratch.ok(&["publish", &crate::common::flights()]);
    let text = run(scratch.command(&["head", "flights"]));
    let mut parser = vt100::Parser::new(24, 110, 0);
    parser.process(text.as_bytes());
    let screen = parser.screen();
    assert!((0..24).all(|row| !screen.row_wrapped(row)), "{}", screen.contents());
    assert!(screen.contents().contains('…'));
}
