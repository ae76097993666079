//! Dicts: a map that processes share.

use std::{collections::BTreeMap, fs, ops::Bound, time::Duration};

use coframe::{Error, Result, SharedMap, Store};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::common::{random, scratch};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Side {
    Buy,
    Sell(u8),
}

pub(crate) fn all<K, V>(dict: &SharedMap<K, V>) -> Vec<(K, V)>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    dict.iter().unwrap().collect::<Result<_>>().unwrap()
}

#[test]
fn entries_come_in_the_order_of_their_keys_for_every_type() {
    fn check<K: Serialize + DeserializeOwned + Ord + Clone + std::fmt::Debug>(store: &Store, keys: &[K]) {
        let dict: SharedMap<K, u32> = SharedMap::create(store, "x").unwrap();
        for (value, key) in (0..).zip(keys) {
            assert_eq!(dict.insert(key, &value).unwrap(), None);
        }
        let mut sorted = keys.to_vec();
        sorted.sort();
        let found: Vec<K> = all(&dict).into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, sorted);
        for (value, key) in (0..).zip(keys) {
            assert_eq!(dict.get(key).unwrap(), Some(value));
        }
        assert!(store.remove_map("x").unwrap());
    }
    let scratch = scratch();
    check(&scratch.store, &[0_i64, -1, i64::MIN, i64::MAX, 255, -256]);
    check(&scratch.store, &[0_u32, 256, 1, 65_536, u32::MAX]);
    check(&scratch.store, &["b", "", "a", "aa", "ä", "a\0", "aaaaaaaab"].map(str::to_owned));
    check(&scratch.store, &[("b".to_owned(), -1_i8), ("a".to_owned(), 5), ("b".to_owned(), 1)]);
    check(&scratch.store, &[Some(3_u16), None, Some(1)]);
    check(&scratch.store, &[Side::Sell(2), Side::Buy, Side::Sell(1)]);
    check(&scratch.store, &[vec![1_u8, 2], vec![], vec![1], vec![0, 9]]);
}

#[test]
fn a_dict_does_what_a_tree_in_memory_does() {
    let scratch = scratch();
    let dict: SharedMap<u16, String> = SharedMap::create(&scratch.store, "x").unwrap();
    let mut tree = BTreeMap::new();
    for step in 0..3000 {
        let (key, value) = (random() as u16 % 300, format!("value {step}"));
        match random() % 4 {
            0 | 1 => assert_eq!(dict.insert(&key, &value).unwrap(), tree.insert(key, value)),
            2 => assert_eq!(dict.remove(&key).unwrap(), tree.remove(&key)),
            _ => assert_eq!(dict.get(&key).unwrap().as_ref(), tree.get(&key)),
        }
        assert_eq!(dict.contains_key(&key).unwrap(), tree.contains_key(&key));
        assert_eq!(dict.len().unwrap(), tree.len());
    }
    assert_eq!(all(&dict), tree.clone().into_iter().collect::<Vec<_>>());
    for bounds in [
        (Bound::Included(50), Bound::Excluded(250)),
        (Bound::Excluded(50), Bound::Included(250)),
        (Bound::Unbounded, Bound::Included(7)),
        (Bound::Included(299), Bound::Unbounded),
    ] {
        let found: Vec<_> = dict.range(bounds).unwrap().map(Result::unwrap).collect();
        assert_eq!(found, tree.range(bounds).map(|(k, v)| (*k, v.clone())).collect::<Vec<_>>());
    }
    let snapshot = dict.snapshot().unwrap();
    assert_eq!(snapshot.first_key_value().unwrap(), tree.first_key_value().map(|(k, v)| (*k, v.clone())));
    assert_eq!(snapshot.last_key_value().unwrap(), tree.last_key_value().map(|(k, v)| (*k, v.clone())));
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && all(&dict).is_empty());
}

#[test]
fn a_transaction_is_atomic() {
    let scratch = scratch();
    let dict: SharedMap<String, i64> = SharedMap::create(&scratch.store, "x").unwrap();
    dict.insert("a", &10).unwrap();
    let failed = dict.transaction(|t| {
        t.insert("a", &0)?;
        t.insert("b", &10)?;
        assert_eq!((t.get("a")?, t.len()?), (Some(0), 2));
        assert_eq!(dict.get("a")?, Some(10), "no other transaction sees it yet");
        Err::<(), Box<dyn std::error::Error>>("no".into())
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    let panicked = std::panic::catch_unwind(|| dict.update("a", |_| panic!("no")));
    assert!(panicked.is_err());
    assert_eq!(all(&dict), [("a".to_owned(), 10)]);
    dict.transaction(|t| {
        t.remove("a")?;
        let before = t.iter()?.count() + t.range("a".to_owned()..)?.count();
        t.insert("b", &i64::try_from(before).unwrap())?;
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(all(&dict), [("b".to_owned(), 0)]);
}

#[test]
fn a_change_through_the_dict_inside_its_own_transaction_is_an_error_and_not_a_deadlock() {
    let scratch = scratch();
    let dict: SharedMap<u8, u8> = SharedMap::create(&scratch.store, "x").unwrap();
    let again = SharedMap::<u8, u8>::open(&scratch.store, "x").unwrap();
    let error = dict.transaction(|t| t.insert(&1, &1).and_then(|_| again.insert(&2, &2))).unwrap_err();
    let path = scratch.path();
    let text = format!(
        "a change of the dict `x` in `{}` inside a transaction on it: change it through the transaction",
        path.display()
    );
    assert_eq!(error.to_string(), text);
    // Another thread waits for its turn.
    dict.transaction(|t| {
        let other = dict.clone();
        let thread = std::thread::spawn(move || other.insert(&3, &3).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        t.insert(&1, &1)?;
        Ok::<_, Error>(thread)
    })
    .unwrap()
    .join()
    .unwrap();
    assert_eq!(all(&dict), [(1, 1), (3, 3)]);
}

#[test]
fn a_value_is_swapped_only_for_the_expected_one() {
    let scratch = scratch();
    let dict: SharedMap<u8, String> = SharedMap::create(&scratch.store, "x").unwrap();
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert!(!dict.compare_exchange(&1, Some(&a), Some(&b)).unwrap());
    assert!(dict.compare_exchange(&1, None, Some(&a)).unwrap());
    assert!(!dict.compare_exchange(&1, None, Some(&b)).unwrap());
    assert!(dict.compare_exchange(&1, Some(&a), Some(&b)).unwrap());
    assert_eq!(dict.get(&1).unwrap(), Some(b.clone()));
    assert!(dict.compare_exchange(&1, Some(&b), None).unwrap());
    assert!(dict.is_empty().unwrap());
}

#[test]
fn a_snapshot_stays_as_it_was_and_writers_do_not_wait_for_it() {
    let scratch = scratch();
    let dict: SharedMap<u32, u32> = SharedMap::create(&scratch.store, "x").unwrap();
    dict.transaction(|t| (0..1000).try_for_each(|key| t.insert(&key, &0).map(drop))).unwrap();
    let snapshot = dict.snapshot().unwrap();
    let mut entries = dict.iter().unwrap();
    entries.next().unwrap().unwrap();
    dict.transaction(|t| (0..2000).try_for_each(|key| t.insert(&key, &1).map(drop))).unwrap();
    // Dropped dicts do not take it away, and it goes to another thread.
    drop(dict);
    let thread = std::thread::spawn(move || snapshot.iter().unwrap().map(|e| e.unwrap().1).sum::<u32>());
    assert_eq!(thread.join().unwrap(), 0);
    assert_eq!(entries.map(Result::unwrap).filter(|(_, value)| *value == 0).count(), 999);
    assert_eq!(SharedMap::<u32, u32>::open(&scratch.store, "x").unwrap().range(1500..).unwrap().count(), 500);
}

#[test]
fn what_cannot_be_a_key_or_is_another_dict_is_reported() {
    let scratch = scratch();
    let (store, path) = (&scratch.store, scratch.path());
    let path = path.display();
    let dict: SharedMap<String, u32> = SharedMap::create(store, "x").unwrap();
    let error = dict.insert(&*"k".repeat(600), &1).unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
    assert_eq!(
        error.to_string(),
        "a key of `String`: it takes 676 bytes, a key may take 511 (text takes 9 bytes for each 8); use a shorter one, \
         and keep the whole of it in the value"
    );
    let error = SharedMap::<(), u8>::create(store, "unit").unwrap().insert(&(), &1).unwrap_err();
    assert_eq!(error.to_string(), "a key of `()`: it has no content; expected a type with more than one value");
    let error = SharedMap::<u32, u32>::open(store, "x").unwrap_err();
    let expected =
        format!("the dict `x` in `{path}`, which is a dict of `String` to `u32`: expected one of `u32` to `u32`");
    assert_eq!(error.to_string(), expected);
    let error = SharedMap::<String, u32>::create(store, "x").unwrap_err();
    assert!(error.to_string().ends_with("a dict of that name exists: open it, or use `open_or_create`"), "{error}");
    let error = SharedMap::<String, u32>::open(store, "y").unwrap_err();
    assert!(error.is_not_found() && error.to_string().starts_with("dict `y` not found in the store"), "{error}");
    assert!(SharedMap::<String, u32>::open(store, "../x").unwrap_err().is_invalid_argument());
    assert_eq!(SharedMap::<String, u32>::open_or_create(store, "x").unwrap().len().unwrap(), 0);
    assert_eq!(store.maps().unwrap().iter().map(coframe::Name::as_str).collect::<Vec<_>>(), ["unit", "x"]);
}

#[test]
fn files_that_are_not_a_dict_or_that_others_can_write_to_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = scratch();
    let make = |name: &str| {
        drop(SharedMap::<u8, u8>::create(&scratch.store, name).unwrap());
        scratch.path().join(fs::read_link(scratch.path().join(format!("{name}.dict"))).unwrap())
    };
    let open = |name: &str| SharedMap::<u8, u8>::open(&scratch.store, name).unwrap_err();
    fs::write(make("cut"), [0; 100]).unwrap();
    assert!(open("cut").to_string().contains("breaks rule B1-file of docs/FORMAT.md: it has 100 bytes"));
    for len in [8192, 16_384, 20_000] {
        let dict: SharedMap<u32, u64> = SharedMap::create(&scratch.store, "shorter").unwrap();
        dict.transaction(|t| (0..5000).try_for_each(|key| t.insert(&key, &1).map(drop))).unwrap();
        drop(dict);
        let file = scratch.path().join(fs::read_link(scratch.path().join("shorter.dict")).unwrap());
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
        let read = || SharedMap::<u32, u64>::open(&scratch.store, "shorter")?.iter()?.collect::<Result<Vec<_>>>();
        let read = read().map(|entries| entries.len());
        assert!(read.as_ref().is_err_and(Error::is_corrupt), "{len}: {read:?}");
        assert!(scratch.store.remove_map("shorter").unwrap());
    }
    fs::write(make("zero"), vec![0; 20_000]).unwrap();
    assert!(open("zero").is_corrupt(), "{}", open("zero"));
    fs::write(make("noise"), vec![7; 20_000]).unwrap();
    assert!(open("noise").is_corrupt(), "{}", open("noise"));
    fs::set_permissions(make("open"), fs::Permissions::from_mode(0o622)).unwrap();
    assert!(open("open").is_untrusted());
    std::os::unix::fs::symlink("/etc/passwd", scratch.path().join("link.dict")).unwrap();
    assert!(open("link").is_not_found());
}

#[test]
fn a_dict_without_a_gate_gets_one_and_an_invalid_gate_is_refused() {
    let scratch = scratch();
    let open = || SharedMap::<u8, u8>::open_or_create(&scratch.store, "x");
    open().unwrap().insert(&1, &1).unwrap();
    let gate = scratch.path().join(scratch.files().into_iter().find(|file| file.ends_with(".dict-gate")).unwrap());
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(open().unwrap().insert(&1, &2).unwrap(), Some(1));
    for (bytes, why) in [(vec![7; 4096], "like a gate"), (vec![], "cut short")] {
        std::fs::write(&gate, bytes).unwrap();
        let error = open().unwrap_err();
        assert!(error.rule() == Some("B5-gate") && error.to_string().contains(why), "{error}");
    }
    // Nothing but a lock was in it.
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(open().unwrap().get(&1).unwrap(), Some(2));
    std::fs::set_permissions(&gate, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert!(open().unwrap_err().is_untrusted());
}

#[test]
fn what_could_not_be_read_back_is_refused_and_what_cannot_be_is_deleted() {
    let scratch = scratch();
    let json: SharedMap<u8, serde_json::Value> = SharedMap::create(&scratch.store, "json").unwrap();
    let error = json.insert(&1, &serde_json::json!({"a": 1})).unwrap_err();
    assert!(
        error.is_invalid_argument() && error.to_string().ends_with("cannot be stored in a dict: store their text"),
        "{error}"
    );
    let arrays: SharedMap<[u8; 4], u8> = SharedMap::create(&scratch.store, "arrays").unwrap();
    let error = arrays.insert(&[1_u8, 2, 3, 4][..], &1).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().ends_with("give it as that type itself"), "{error}");
    arrays.insert(&[1, 2, 3, 4], &1).unwrap();
    assert_eq!(all(&arrays), [([1, 2, 3, 4], 1)]);

    // A type whose definition has changed, under the same name.
    let old: SharedMap<u8, before::Row> = SharedMap::create(&scratch.store, "rows").unwrap();
    old.transaction(|t| [1, 2].iter().try_for_each(|key| t.insert(key, &before::Row(*key)).map(drop))).unwrap();
    let new = SharedMap::<u8, after::Row>::open(&scratch.store, "rows").unwrap();
    assert!(new.get(&1).unwrap_err().is_corrupt());
    assert_eq!(new.iter().unwrap().filter(Result::is_err).count(), 2, "each of them is named");
    assert!(new.delete(&1).unwrap() && new.delete(&2).unwrap() && !new.delete(&3).unwrap());
    new.insert(&1, &after::Row(1, "x".to_owned())).unwrap();
    assert_eq!(new.get(&1).unwrap().unwrap(), after::Row(1, "x".to_owned()));
}

mod before {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Row(pub(super) u8);
}

mod after {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Row(pub(super) u8, pub(super) String);
}

#[test]
fn a_copy_of_a_store_has_separate_dicts() {
    let scratch = scratch();
    let dict: SharedMap<u8, u8> = SharedMap::create(&scratch.store, "x").unwrap();
    let path = scratch.path().with_file_name("copy");
    assert!(std::process::Command::new("cp").arg("-a").arg(scratch.path()).arg(&path).status().unwrap().success());
    let copy = Store::open_at(&path).unwrap();
    copy.adopt().unwrap();
    let copy = SharedMap::<u8, u8>::open(&copy, "x").unwrap();
    copy.insert(&1, &1).unwrap();
    assert_eq!((dict.len().unwrap(), copy.len().unwrap()), (0, 1));
}

#[test]
fn a_name_whose_file_was_removed_is_free_and_swept() {
    let scratch = scratch();
    drop(SharedMap::<u8, u8>::create(&scratch.store, "x").unwrap());
    let lose = || {
        let file = fs::read_link(scratch.path().join("x.dict")).unwrap();
        fs::remove_file(scratch.path().join(&file)).unwrap();
    };
    lose();
    assert!(SharedMap::<u8, u8>::open(&scratch.store, "x").unwrap_err().is_not_found());
    SharedMap::<u8, u8>::open_or_create(&scratch.store, "x").unwrap().insert(&1, &1).unwrap();
    lose();
    scratch.store.sweep().unwrap();
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}

#[test]
fn a_removed_dict_stays_usable_where_it_is_open_and_its_name_is_free() {
    let scratch = scratch();
    let old: SharedMap<u8, u8> = SharedMap::create(&scratch.store, "x").unwrap();
    let handle = old.handle();
    assert_eq!(SharedMap::<u8, u8>::from_handle(&handle.to_string().parse().unwrap()).unwrap().len().unwrap(), 0);
    assert!(scratch.store.remove_map("x").unwrap());
    assert!(SharedMap::<u8, u8>::from_handle(&handle).unwrap_err().is_not_found());
    old.insert(&1, &1).unwrap();
    let new: SharedMap<u8, u8> = SharedMap::create(&scratch.store, "x").unwrap();
    assert_eq!((old.len().unwrap(), new.len().unwrap()), (1, 0));
    let error = SharedMap::<u8, u8>::from_handle(&handle).unwrap_err();
    assert!(error.is_superseded() && error.to_string().contains("another dict was made under its name"), "{error}");
    drop((old, new));
    assert!(scratch.store.remove_map("x").unwrap());
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}

#[test]
fn a_dict_of_a_session_is_removed_with_it_and_is_not_listed_as_a_frame() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let dict: SharedMap<u8, u8> = SharedMap::create(session.store(), "x").unwrap();
    let text = serde_json::to_string(&dict).unwrap();
    let same: SharedMap<u8, u8> = serde_json::from_str(&text).unwrap();
    dict.insert(&1, &1).unwrap();
    assert_eq!(same.get(&1).unwrap(), Some(1));
    scratch.store.sweep().unwrap();
    assert!(scratch.store.maps().unwrap().is_empty() && session.store().list().unwrap().is_empty());
    drop(session);
    assert_eq!(fs::read_dir(scratch.path().join("sessions")).unwrap().count(), 0);
    assert!(serde_json::from_str::<SharedMap<u8, u8>>(&text).unwrap_err().to_string().contains("sessions"));
    same.insert(&2, &2).unwrap();
}

#[test]
fn keys_and_put_leave_values_alone_that_cannot_be_read() {
    /// As it was when the entries were written; below it is another type of that name.
    mod old {
        #[derive(serde::Serialize, serde::Deserialize)]
        pub(super) struct Value(pub(super) u8);
    }
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Value(String);

    let scratch = scratch();
    let before: SharedMap<u32, old::Value> = SharedMap::create(&scratch.store, "x").unwrap();
    for key in 0..200 {
        before.put(&key, &old::Value(200)).unwrap();
    }
    let dict = SharedMap::<u32, Value>::open(&scratch.store, "x").unwrap();
    assert!(dict.get(&1).unwrap_err().is_corrupt());
    assert_eq!(dict.keys().unwrap().collect::<Result<Vec<_>, _>>().unwrap(), (0..200).collect::<Vec<_>>());
    let snapshot = dict.snapshot().unwrap();
    assert_eq!((snapshot.keys().unwrap().count(), snapshot.keys_in(10..20).unwrap().count()), (200, 10));
    assert_eq!(dict.keys_in(195..).unwrap().map(Result::unwrap).collect::<Vec<_>>(), [195, 196, 197, 198, 199]);
    let error = dict.insert(&1, &Value("new".into())).unwrap_err();
    assert!(error.to_string().contains("`put` overwrites it, `delete` removes it"), "{error}");
    dict.put(&1, &Value("new".into())).unwrap();
    assert_eq!(dict.get(&1).unwrap(), Some(Value("new".into())));
    dict.transaction(|t| t.put(&2, &Value(String::new()))).unwrap();
    assert_eq!(dict.insert(&2, &Value("b".into())).unwrap(), Some(Value(String::new())));
}

#[test]
fn a_value_that_does_not_serialise_is_refused_with_its_own_message() {
    #[derive(Debug)]
    struct Rate(f64);
    impl Serialize for Rate {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 < 0.0 {
                Err(serde::ser::Error::custom("its rate is negative"))
            } else {
                serializer.serialize_f64(self.0)
            }
        }
    }
    impl<'de> Deserialize<'de> for Rate {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            f64::deserialize(deserializer).map(Self)
        }
    }
    let scratch = scratch();
    let dict = SharedMap::<u8, Vec<Rate>>::create(&scratch.store, "rates").unwrap();
    let error = dict.insert(&1, &vec![Rate(1.0), Rate(-1.0)]).unwrap_err();
    assert!(error.to_string().ends_with("it cannot be serialised: its rate is negative"), "{error}");
    assert!(dict.is_empty().unwrap());
}
