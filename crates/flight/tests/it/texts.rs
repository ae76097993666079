//! Texts of other programs in errors: in one line, and short enough for a screen.

use std::fmt::Display;

use arrow_flight::{Ticket, flight_service_client::FlightServiceClient};
use coframe_flight::{Origins, ReadOptions, Remote, RemoteHandle, RemoteOptions};

use crate::common::{connected, mixed, scratch, serve};

/// Characters of 24 lines.
const SCREEN: usize = 1920;
const ORIGIN: &str = "http://127.0.0.1:1";

/// Ten megabytes of lines.
fn long() -> String {
    "a line\n".repeat(10 << 20 >> 3)
}

/// Asserts that an error fits, and contains these texts.
fn fits(error: impl Display, texts: &[&str]) {
    let text = error.to_string();
    let start: String = text.chars().take(300).collect();
    assert!(text.len() <= SCREEN, "{} bytes: {start}", text.len());
    assert!(!text.contains(char::is_control), "{start:?}");
    for expected in texts {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_error_about_ten_megabytes_of_text_fits_on_a_screen() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let length = format!("({} bytes)", long().len());
    for text in [long(), format!("{ORIGIN}#{}", long()), format!("{}#coframe:/x", long())] {
        fits(text.parse::<RemoteHandle>().unwrap_err(), &["is not a handle of another machine", " bytes)"]);
    }
    for url in [long(), format!("{ORIGIN}/{}", long())] {
        fits(Remote::connect(&url).unwrap_err(), &["the URL", " bytes)", "expected 1024 bytes at most"]);
        fits(RemoteOptions::new().peer(&url).unwrap_err(), &["the URL"]);
        fits(RemoteOptions::new().serves(&url).unwrap_err(), &["the URL"]);
        fits(Origins::new().allow(&url, RemoteOptions::new()).unwrap_err(), &["the URL"]);
        fits(RemoteHandle::new(&frame, &url).unwrap_err(), &["the URL"]);
    }
    fits(remote.stat(long()).unwrap_err(), &[&length, "not a frame name"]);
    fits(remote.open(&here.store, long()).unwrap_err(), &[&length]);
    // More bytes than a request may have, then as many as fit.
    fits(remote.read("mixed", &ReadOptions::new().columns([long()])).unwrap_err(), &["65536"]);
    let columns = ReadOptions::new().columns(["x\n".repeat(16_000)]);
    fits(remote.read("mixed", &columns).unwrap_err(), &["column `x\\nx", "(32000 bytes)"]);
    assert_eq!(here.files(), [""; 0]);
}

#[test]
fn an_error_about_a_ticket_of_the_largest_size_fits_on_a_screen() {
    let there = scratch();
    mixed(&there.store);
    let server = serve(&there.store);
    let text = "y\\n".repeat(20_000);
    connected(&server, async |channel| {
        let mut client = FlightServiceClient::new(channel);
        for (ticket, expected) in [
            (format!(r#"{{"name":"mixed","layout":"{text}"}}"#), "unknown variant"),
            (format!(r#"{{"name":"mixed","{text}":1}}"#), "unknown field"),
            (format!(r#"{{"name":"{text}"}}"#), "not a frame name"),
            (format!(r#"{{"name":"mixed","id":"{text}"}}"#), "32 hexadecimal digits"),
        ] {
            let status = client.do_get(Ticket { ticket: ticket.into() }).await.unwrap_err();
            fits(status.message(), &[expected]);
            assert!(status.message().len() <= 1024, "{}", status.message().len());
        }
        let cut = client.do_get(Ticket { ticket: format!(r#"{{"name":"mixed","layout":"{text}"}}"#).into() }).await;
        let text = cut.unwrap_err().message().to_owned();
        assert!(text.ends_with(" bytes)") && text.contains("y\\ny"), "{text}");
    });
}

#[test]
fn a_url_that_is_not_one_line_is_refused() {
    let there = scratch();
    let frame = mixed(&there.store);
    for url in ["http://127.0.0.1:1\n", "http://127.0.0.1:1/\nb", "http://\u{2028}", "http://a b", "http://\x1b[31m"] {
        fits(RemoteHandle::new(&frame, url).unwrap_err(), &["the URL", "expected ASCII without spaces"]);
        fits(Remote::connect(url).unwrap_err(), &["expected ASCII"]);
        let handle = format!("{url}#{}", frame.handle());
        fits(handle.parse::<RemoteHandle>().unwrap_err(), &["expected ASCII"]);
    }
    let text = RemoteHandle::new(&frame, ORIGIN).unwrap().to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
}
