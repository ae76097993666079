//! Links, FIFOs, devices, sockets and directories in the place of a store's files.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use coframe::{
    MirrorOptions, Store,
    sync::{Counter, Mutex},
};

use crate::{
    Result,
    content::{self, KEPT},
    ensure,
    random::Random,
    roles,
};

/// `ID` is the id of a dict that exists.
const PLACES: [&str; 14] = [
    "x@1.arrow",
    "x.arrow",
    ".x.others",
    "c.cell",
    "d.dict",
    "d@ID.dict",
    "d@ID.dict-lock",
    "d@ID.dict-gate",
    ".swept",
    ".home",
    "store",
    ".draft-00000000000000000000000000000001",
    ".draft-00000000000000000000000000000001.partial",
    "sessions/0123456789abcdef0123456789abcdef",
];
const KINDS: [&str; 9] = [
    "link to a file",
    "link to a directory",
    "link to itself",
    "link to nothing",
    "hard link",
    "fifo",
    "device",
    "socket",
    "directory",
];
/// No call waits for what was planted. (The store lock, if that is what it replaced, is waited for: 10 s.)
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn run(directory: &Path) -> Result<String> {
    let (mut cases, mut errors) = (0, 0);
    for place in PLACES {
        for kind in KINDS {
            let case = directory.join(format!("case{cases}"));
            fs::create_dir(&case)?;
            errors += one(&case, place, kind).map_err(|e| format!("a {kind} in the place of `{place}`: {e}"))?;
            fs::remove_dir_all(case)?;
            cases += 1;
        }
    }
    Ok(format!("{cases} things planted; {errors} calls failed with an error"))
}

/// Something outside of the store, which no call may change.
fn victim(directory: &Path) -> Result<()> {
    fs::create_dir(directory.join("outside"))?;
    fs::write(directory.join("outside/file"), "precious")?;
    fs::set_permissions(directory.join("outside/file"), fs::Permissions::from_mode(0o640))?;
    fs::write(directory.join("victim"), "precious")?;
    Ok(fs::set_permissions(directory.join("victim"), fs::Permissions::from_mode(0o640))?)
}

fn check_victim(directory: &Path) -> Result<()> {
    for file in ["victim", "outside/file"] {
        let text = fs::read_to_string(directory.join(file)).map_err(|e| format!("`{file}` outside: {e}"))?;
        ensure!(text == "precious", "`{file}` outside was changed to {text:?}");
        let mode = fs::metadata(directory.join(file))?.mode() & 0o7777;
        ensure!(mode == 0o640, "`{file}` outside got the mode {mode:o}");
    }
    let count = fs::read_dir(directory.join("outside"))?.count();
    ensure!(count == 1, "{count} entries in the directory outside");
    Ok(())
}

fn one(directory: &Path, place: &str, kind: &str) -> Result<u64> {
    victim(directory)?;
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(6);
    let (kept, _) = content::publish(&store, KEPT[0], &mut random)?;
    drop(store.session()?);
    if place == "x@1.arrow" {
        symlink("x@1.arrow", store.path().join("x.arrow"))?;
    }
    let mut file = place.to_owned();
    if place.starts_with("d@ID") {
        drop(roles::Map::create(&store, "d")?);
        let data = fs::read_link(store.path().join("d.dict"))?;
        file = file.replace("d@ID.dict", &data.to_string_lossy());
    }
    plant(directory, &store.path().join(file), kind)?;
    let errors = calls(&store, &mut random)?;
    // A frame that is open stays readable whatever happens to the store.
    content::check(&kept)?;
    if !["store", ".home"].contains(&place) {
        content::check(&store.open(KEPT[0])?)?;
    }
    check_victim(directory)?;
    Ok(errors)
}

fn plant(directory: &Path, path: &Path, kind: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    match kind {
        "link to a file" => symlink(directory.join("victim"), path)?,
        "link to a directory" => symlink(directory.join("outside"), path)?,
        "link to itself" => symlink(path, path)?,
        "link to nothing" => symlink(directory.join("outside/new"), path)?,
        "hard link" => fs::hard_link(directory.join("victim"), path)?,
        "fifo" => made(Command::new("mkfifo").arg(path))?,
        // Without root it is a directory.
        "device" if rustix::process::geteuid().is_root() => {
            made(Command::new("mknod").arg(path).args(["c", "1", "5"]))?;
            ensure!(fs::symlink_metadata(path)?.file_type().is_char_device(), "mknod made no device");
        }
        "socket" => drop(UnixListener::bind(path)?),
        _ => fs::create_dir(path)?,
    }
    Ok(())
}

fn made(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Every kind of call; returns how many failed. None may wait, panic or follow what was planted.
fn calls(store: &Store, random: &mut Random) -> Result<u64> {
    let mut errors = 0;
    let mut call = |what: &str, call: &mut dyn FnMut() -> Result<()>| {
        let start = Instant::now();
        match call() {
            Err(error) if !error.is::<coframe::Error>() => return Err(error),
            result => errors += u64::from(result.is_err()),
        }
        ensure!(start.elapsed() < LIMIT, "{what} took {:?}", start.elapsed());
        Ok(())
    };
    call("open", &mut || Ok(store.open("x").map(drop)?))?;
    call("list", &mut || Ok(store.list().map(drop)?))?;
    call("users", &mut || Ok(store.all_users().map(drop)?))?;
    call("cell", &mut || Ok(Counter::<u64>::open(store, "c").map(drop)?))?;
    call("lock", &mut || Ok(Mutex::<u64>::open_or_create(store, "c", 0).map(drop)?))?;
    call("map", &mut || Ok(roles::Map::open(store, "d").map(drop)?))?;
    call("new map", &mut || Ok(roles::Map::open_or_create(store, "d").map(drop)?))?;
    call("mirror", &mut || transfer(store))?;
    call("publish", &mut || content::publish(store, "x", random).map(drop))?;
    call("session", &mut || Ok(store.session().map(drop)?))?;
    call("sweep", &mut || Ok(store.sweep().map(drop)?))?;
    call("end", &mut || Ok(Store::end_dead_sessions(store.path()).map(drop)?))?;
    call("remove", &mut || Ok(store.remove("x").map(drop)?))?;
    call("remove map", &mut || Ok(store.remove_map("d").map(drop)?))?;
    call("remove cell", &mut || Ok(store.remove_cell("c").map(drop)?))?;
    call("another open", &mut || Ok(Store::open_at(store.path()).map(drop)?))?;
    Ok(errors)
}

/// A transfer of the segment with the id 1, which ends too early.
fn transfer(store: &Store) -> Result<()> {
    let mut mirror = store.mirror_turn(1, Duration::ZERO)?.resume("m", &MirrorOptions::new())?;
    mirror.write(b"ARROW1")?;
    Ok(mirror.publish().map(drop)?)
}
