//! Tokens, TLS and addresses.

use std::{fs, os::unix::fs::PermissionsExt};

use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions, Tokens};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::common::{large, mixed, python, run_python, scratch};

const READ: &str = "the-read-token-0123";
const WRITE: &str = "the-write-token-0123";

fn tokens() -> Tokens {
    format!("read {READ}\nwrite {WRITE}").parse().unwrap()
}

fn with_token(server: &Server, token: &str) -> Remote {
    Remote::connect_with(server.url(), &RemoteOptions::new().token(token)).unwrap()
}

#[test]
fn a_call_needs_a_token_and_writing_a_write_token() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let server = Server::start(&there.store, &ServerOptions::new().tokens(tokens()).write(true)).unwrap();
    for remote in [Remote::connect(server.url()).unwrap(), with_token(&server, "the-read-token-0124")] {
        let errors = [
            remote.list().unwrap_err(),
            remote.stat("mixed").unwrap_err(),
            remote.open(&here.store, "mixed").unwrap_err(),
            remote.push(&frame, "x").unwrap_err(),
            remote.remove("mixed").unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_denied(), "{error}");
        }
    }
    assert_eq!(server.stats().denied, 10);
    let reader = with_token(&server, READ);
    assert_eq!(reader.open(&here.store, "mixed").unwrap().batches(), frame.batches());
    for error in [reader.push(&frame, "x").unwrap_err(), reader.remove("mixed").unwrap_err()] {
        assert!(error.is_denied() && error.to_string().contains("reading only"), "{error}");
    }
    let writer = with_token(&server, WRITE);
    writer.push(&frame, "x").unwrap();
    assert!(writer.remove("x").unwrap());
}

#[test]
fn new_tokens_replace_the_old_ones() {
    let there = scratch();
    mixed(&there.store);
    let server = Server::start(&there.store, &ServerOptions::new().tokens(tokens())).unwrap();
    let remote = with_token(&server, READ);
    remote.stat("mixed").unwrap();
    server.set_tokens("read another-token-0123".parse().unwrap()).unwrap();
    assert!(remote.stat("mixed").unwrap_err().is_denied());
    with_token(&server, "another-token-0123").stat("mixed").unwrap();
    let open = Server::start(&there.store, &ServerOptions::new()).unwrap();
    assert!(open.set_tokens(tokens()).unwrap_err().is_invalid_argument());
}

#[test]
fn a_file_of_tokens_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    fs::write(&path, format!("read {READ}\n")).unwrap();
    for (mode, is_private) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for read in [Tokens::read(&path).map(|_| ()), RemoteOptions::new().token_file(&path).map(|_| ())] {
            assert_eq!(read.is_ok(), is_private, "{mode:o}: {read:?}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }
    assert!(Tokens::read(directory.path().join("missing")).unwrap_err().is_not_found());
}

#[test]
fn an_address_that_others_can_reach_needs_tls_and_tokens() {
    let there = scratch();
    let address = "0.0.0.0:0".parse().unwrap();
    let Pki { certificate, key, .. } = pki();
    let refused = [
        (ServerOptions::new(), "TLS and tokens"),
        (ServerOptions::new().tokens(tokens()), "needs TLS,"),
        (ServerOptions::new().identity(&certificate, &key), "needs tokens"),
    ];
    for (options, lacks) in refused {
        let error = Server::start(&there.store, &options.address(address)).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains(lacks), "{error}");
    }
    Server::start(&there.store, &ServerOptions::new().address(address).insecure(true)).unwrap();
    let options = ServerOptions::new().address(address).identity(&certificate, &key).tokens(tokens());
    Server::start(&there.store, &options).unwrap();
}

/// An authority, and what it signed for `localhost` and 127.0.0.1.
struct Pki {
    authority: String,
    certificate: String,
    key: String,
}

fn pki() -> Pki {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &*authority).unwrap();
    Pki { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

#[test]
fn tls_is_used_and_checked_and_clients_can_be_asked_for_a_certificate() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let (ours, other) = (pki(), pki());
    let options = ServerOptions::new().identity(&ours.certificate, &ours.key).tokens(tokens());
    let server = Server::start(&there.store, &options).unwrap();
    assert!(server.url().starts_with("https://127.0.0.1:"));
    let client = RemoteOptions::new().token(READ).authority(&ours.authority);
    let remote = Remote::connect_with(server.url(), &client).unwrap();
    assert_eq!(remote.open(&here.store, "mixed").unwrap().batches(), frame.batches());
    // Each connection of several ranges has the token and TLS as well.
    let origin = large(&there.store, "x", 3 << 20);
    let ranges = Remote::connect_with(server.url(), &client.clone().ranges(4).unwrap()).unwrap();
    assert!(ranges.open(&here.store, "x").unwrap().segment_bytes() == origin.segment_bytes());
    assert_eq!((server.stats().denied, server.stats().ranges), (0, 5));
    // Another authority, and no TLS.
    let stranger = RemoteOptions::new().token(READ).authority(&other.authority);
    assert!(Remote::connect_with(server.url(), &stranger).unwrap_err().is_unreachable());
    let plain = Remote::connect_with(server.url().replace("https", "http"), &RemoteOptions::new().token(READ));
    let plain = plain.and_then(|remote| remote.stat("mixed"));
    assert!(plain.is_err(), "{plain:?}");

    let server = Server::start(&there.store, &options.client_ca(&ours.authority)).unwrap();
    let without = Remote::connect_with(server.url(), &client).and_then(|remote| remote.stat("mixed"));
    assert!(without.is_err(), "{without:?}");
    let wrong = client.clone().identity(&other.certificate, &other.key);
    let wrong = Remote::connect_with(server.url(), &wrong).and_then(|remote| remote.stat("mixed"));
    assert!(wrong.is_err(), "{wrong:?}");
    let with = client.identity(&ours.certificate, &ours.key);
    Remote::connect_with(server.url(), &with).unwrap().stat("mixed").unwrap();
}

#[test]
fn pyarrow_logs_in_with_a_password() {
    const SCRIPT: &str = r#"
import sys, pyarrow.flight as flight
client = flight.connect(sys.argv[1].replace("http", "grpc"))
try:
    list(client.list_flights())
except flight.FlightUnauthenticatedError as error:
    assert "no token" in str(error), error
else:
    raise AssertionError("no token was asked for")
header = client.authenticate_basic_token("anyone", sys.argv[2])
options = flight.FlightCallOptions(headers=[header])
assert [info.descriptor.path for info in client.list_flights(options=options)] == [[b"mixed"]]
try:
    client.authenticate_basic_token("anyone", "wrong")
except flight.FlightUnauthenticatedError:
    pass
else:
    raise AssertionError("a wrong password")
"#;
    let Some(mut python) = python() else { return };
    let there = scratch();
    mixed(&there.store);
    let server = Server::start(&there.store, &ServerOptions::new().tokens(tokens())).unwrap();
    run_python(&mut python, SCRIPT, &[&server.url(), READ]);
}
