//! Handles that carry their origin.

use coframe_flight::{Origins, RemoteHandle, RemoteOptions};

use crate::common::{mixed, scratch, serve};

#[test]
fn a_handle_is_pulled_only_from_an_allowed_origin() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let (server, other) = (serve(&there.store), serve(&here.store));
    let part = frame.select(["word", "number"]).unwrap().slice(3..14).unwrap();
    let handle: RemoteHandle = RemoteHandle::new(&part, server.url()).unwrap().to_string().parse().unwrap();
    assert_eq!(handle.url(), server.url());
    let origins = Origins::new().allow(other.url(), RemoteOptions::new()).unwrap();
    let error = origins.open(&here.store, &handle).unwrap_err();
    assert!(error.is_denied() && error.to_string().contains(&server.url()), "{error}");
    assert_eq!(server.stats().calls, 0);

    let origins = origins.allow(server.url(), RemoteOptions::new()).unwrap();
    for _ in 0..2 {
        let copy = origins.open(&here.store, &handle).unwrap();
        assert_eq!(copy.batches(), part.batches());
    }
    assert_eq!(server.stats().pulls, 1);
    let mirror = here.store.open("mixed").unwrap();
    assert_eq!(here.store.mirror_origin(&mirror).unwrap(), Some(server.url()));
    assert_eq!(here.store.list().unwrap()[0].origin, Some(server.url()));
    assert_eq!(there.store.mirror_origin(&frame).unwrap(), None);
    drop(mirror);
    // The note goes with the mirror.
    here.store.remove("mixed").unwrap();
    here.store.sweep().unwrap();
    assert_eq!(here.files(), [""; 0]);
}

#[test]
fn a_handle_of_a_version_that_is_gone_opens_no_other_one() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let server = serve(&there.store);
    let handle = RemoteHandle::new(&frame, server.url()).unwrap();
    drop(frame);
    mixed(&there.store);
    there.store.sweep().unwrap();
    let origins = Origins::new().allow(server.url(), RemoteOptions::new()).unwrap();
    let error = origins.open(&here.store, &handle).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_text_that_is_no_handle_is_refused() {
    let there = scratch();
    let session = there.store.session().unwrap();
    let frame = session.store().publish("x", &crate::common::batch(3)).unwrap();
    assert!(RemoteHandle::new(&frame, "http://127.0.0.1:1").unwrap_err().is_invalid_argument());
    let good = "http://127.0.0.1:1#coframe:/dev/shm/x/y@1?id=000000000000000000000000000000ff";
    assert_eq!(good.parse::<RemoteHandle>().unwrap().to_string(), good);
    for bad in ["", "x", "http://127.0.0.1:1", &good.replace("http", "ftp"), &good.replace("/y@", "/..%2Fy@"), "#"] {
        assert!(bad.parse::<RemoteHandle>().is_err(), "{bad}");
    }
}
