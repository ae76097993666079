//! Another user, who may enter the directory of a store's parent.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use coframe::Store;

use crate::{
    Result, cases,
    content::{self, KEPT},
    ensure,
    random::Random,
};

/// `nobody`.
const UID: &str = "65534";

pub(super) fn run(directory: &Path) -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return Ok("skipped: a second user needs root".to_owned());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o1777))?;
    let path = directory.join("store");
    let store = Store::open_at(&path)?;
    let mut random = Random::new(7);
    let (frame, _) = content::publish(&store, KEPT[0], &mut random)?;
    let before = entries(&path)?;
    let mut denied = 0;
    // As a store is created, and as its owner may have let others read it.
    for mode in [0o700, 0o755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        as_stranger(directory)?;
        denied += 1;
        ensure!(entries(&path)? == before, "another user changed the store: {:?}", entries(&path)?);
        content::check(&store.open(KEPT[0])?)?;
    }
    // What the stranger created is refused, and so is a store that all may write to.
    for squatted in ["squatted", "squatted-link"] {
        let opened = Store::open_at(directory.join(squatted));
        ensure!(opened.is_err_and(|error| error.is_untrusted()), "a store of another user was opened: {squatted}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let opened = Store::open_at(&path);
    ensure!(opened.is_err_and(|error| error.is_untrusted()), "a store that all may write to was opened");
    content::check(&frame)?;
    Ok(format!("another user was denied every change at {denied} modes; what that user created was refused"))
}

fn entries(path: &Path) -> Result<Vec<(String, u64, u32)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let status = fs::symlink_metadata(entry.path())?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), status.ino(), status.mode()));
    }
    entries.sort();
    Ok(entries)
}

fn as_stranger(directory: &Path) -> Result<()> {
    // A copy that the other user may run.
    let copy = std::env::temp_dir().join(format!("coframe-torture-{}", std::process::id()));
    fs::copy(std::env::current_exe()?, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UID, "--regid", UID, "--clear-groups"]).arg(&copy).args(["case", "intrude"]);
    command.arg("stranger-acts").current_dir("/").env(crate::roles::DIRECTORY, directory);
    let status = cases::ended(&mut command, Duration::from_mins(1));
    fs::remove_file(copy)?;
    let status = status?;
    ensure!(status.success(), "the other user: {status}");
    Ok(())
}

/// Runs as the other user: every attempt fails.
pub(super) fn act(directory: &Path) -> Result<String> {
    let uid = rustix::process::geteuid().as_raw();
    ensure!(uid.to_string() == UID, "this is user {uid}");
    let path = directory.join("store");
    let mut did = Vec::new();
    let mut attempt = |what: &'static str, succeeded: bool| {
        if succeeded {
            did.push(what);
        }
    };
    let segment = path.join(format!("{}@1.arrow", KEPT[0]));
    let table = content::table("x", 1)?;
    attempt("publish", Store::open_at(&path).is_ok_and(|store| store.publish("x", &table).is_ok()));
    attempt("create a file", fs::write(path.join("planted"), "x").is_ok());
    attempt("create a link", symlink("/etc/passwd", path.join("planted")).is_ok());
    attempt("open a segment for writing", fs::OpenOptions::new().write(true).open(&segment).is_ok());
    attempt("read a segment", fs::read(&segment).is_ok());
    attempt("remove a segment", fs::remove_file(&segment).is_ok());
    attempt("hard link a segment", fs::hard_link(&segment, directory.join("hard")).is_ok());
    attempt("rename the store", fs::rename(&path, directory.join("renamed")).is_ok());
    attempt("write the control file", fs::write(path.join("store"), "x").is_ok());
    attempt("change a mode", fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).is_ok());
    ensure!(did.is_empty(), "another user could {did:?}");
    let _ = Store::open_at(directory.join("squatted"))?;
    let _ = symlink(directory.join("squatted"), directory.join("squatted-link"));
    Ok("denied".to_owned())
}
