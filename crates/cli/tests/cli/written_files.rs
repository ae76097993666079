//! Files that `export` writes: their mode, and that they are on the disk before they have a name.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use coframe::polars::prelude::*;

use crate::common::{Scratch, scratch};

/// A system call that the kernel fails with `error`, if it has the bits of `flags` in its third argument (0: always).
#[derive(Clone, Copy)]
struct Refused {
    call: libc::c_long,
    flags: libc::c_int,
    error: libc::c_int,
}

/// A file system without unnamed files.
const NO_UNNAMED_FILES: Refused =
    Refused { call: libc::SYS_openat, flags: libc::O_TMPFILE & !libc::O_DIRECTORY, error: libc::EOPNOTSUPP };
/// A disk that cannot be written to.
const NO_DISK: Refused = Refused { call: libc::SYS_fdatasync, flags: 0, error: libc::EIO };

/// Has the kernel refuse system calls of the command.
fn refuse(command: &mut Command, refused: &[Refused]) {
    const NUMBER: u32 = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    // The lower half of an argument comes first on the machines that coframe supports.
    const FLAGS: u32 = std::mem::offset_of!(libc::seccomp_data, args) as u32 + 2 * 8;
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let end = |action| step(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let mut filter = Vec::new();
    for Refused { call, flags, error } in refused {
        filter.push(load(NUMBER));
        let skip = if *flags == 0 { 1 } else { 3 };
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, *call as u32));
        if *flags != 0 {
            filter.push(load(FLAGS));
            filter.push(step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, *flags as u32));
        }
        filter.push(end(libc::SECCOMP_RET_ERRNO | *error as u32));
    }
    filter.push(end(libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: `prctl` takes numbers here.
        let private = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: `program` points to the steps of a filter that lives until the call returns.
        let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        if private == 0 && installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes system calls, on memory that was allocated before the fork.
    unsafe { command.pre_exec(install) };
}

/// A store with one frame, and `export` of it to a file of this name.
fn export(scratch: &Scratch, name: &str, more: &[&str]) -> Command {
    scratch.store().publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    let path = scratch.path(name);
    scratch.command(&[&["export", "t", path.to_str().unwrap()], more].concat())
}

#[test]
fn written_files_have_the_mode_that_the_umask_gives() {
    for refused in [&[][..], &[NO_UNNAMED_FILES]] {
        for umask in ["022", "027", "077"] {
            let scratch = scratch();
            let command = export(&scratch, "t.csv", &[]);
            let mut under_umask = Command::new("sh");
            under_umask.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(command.get_program());
            under_umask.args(command.get_args()).env("COFRAME_STORE", scratch.store_path());
            refuse(&mut under_umask, refused);
            let output = under_umask.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mode = fs::metadata(scratch.path("t.csv")).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o666 & !u32::from_str_radix(umask, 8).unwrap(), "umask {umask}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_synchronised_gets_no_name_and_replaces_none() {
    for refused in [&[NO_DISK][..], &[NO_DISK, NO_UNNAMED_FILES]] {
        for name in ["t.csv", "t.parquet", "t.arrow", "t.csv.gz"] {
            let scratch = scratch();
            scratch.file("old", "old");
            let files = || fs::read_dir(scratch.path("")).unwrap().count();
            let mut command = export(&scratch, name, &[]);
            refuse(&mut command, refused);
            let output = command.output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{name}");
            assert!(error.contains("could not write") && error.contains("os error 5"), "{error}");
            assert_eq!(files(), 1, "{name}");
            let mut command = export(&scratch, "old", &["--force", "--format", "csv"]);
            refuse(&mut command, refused);
            assert!(!command.output().unwrap().status.success());
            assert_eq!(fs::read_to_string(scratch.path("old")).unwrap(), "old");
        }
    }
}
