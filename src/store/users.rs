//! The processes that have a frame mapped, read from /proc. Only processes that this user can see, in this pid
//! namespace, are found.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use super::Store;
use crate::{
    error::{Error, Result},
    name::Name,
    segment::{Mapping, Medium, Opened},
};

/// A process that maps a frame; returned by [`Store::users`].
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// for user in store.users("flights")? {
///     println!("process {} maps version {}", user.pid, user.version);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameUser {
    /// The process.
    pub pid: u32,
    /// Its name, as the kernel keeps it (15 bytes at most).
    pub command: String,
    /// The version that it maps.
    pub version: u64,
    /// Its share of the resident pages in bytes (PSS: each page divided by the number of processes that map it); `None`
    /// if the kernel does not report it, and from [`Store::all_users`].
    pub pss: Option<u64>,
}

/// Whether to read the processes' shares of resident pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pss {
    Read,
    Skip,
}

/// Device (major, minor) and inode of a file, as a line of /proc/PID/maps has them.
type FileId = (u32, u32, u64);

impl Store {
    /// The processes that map a version of this name now, including this one. Only processes that this user can see, in
    /// this pid namespace, are found. Reads /proc once: about a millisecond for a hundred processes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1])?)?;
    /// let users = store.users("x")?;
    /// assert_eq!(users[0].pid, std::process::id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn users(&self, name: impl AsRef<str>) -> Result<Vec<FrameUser>> {
        let name = Name::new(name)?;
        let versions = self.version_files(&name)?;
        let mut users = self.users_among(versions.into_iter().map(|version| (name.clone(), version)), Pss::Read)?;
        Ok(users.remove(&name).unwrap_or_default())
    }

    /// The processes that currently map a frame of this store, by name. Names that no process maps are left out.
    ///
    /// Finds the same processes as [`Store::users`], and reads /proc once for all names. [`FrameUser::pss`] is `None`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let users = store.all_users()?;
    /// assert_eq!(users["flights"][0].pid, std::process::id()); // `frame` is open here
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn all_users(&self) -> Result<BTreeMap<Name, Vec<FrameUser>>> {
        self.users_of_all(Pss::Skip)
    }

    /// [`Store::all_users`] with [`FrameUser::pss`].
    ///
    /// The kernel walks the page tables of every process that maps a frame: milliseconds for each mapped gigabyte.
    pub fn all_users_with_pss(&self) -> Result<BTreeMap<Name, Vec<FrameUser>>> {
        self.users_of_all(Pss::Read)
    }

    fn users_of_all(&self, pss: Pss) -> Result<BTreeMap<Name, Vec<FrameUser>>> {
        let entries = self.frames().entries()?;
        self.users_among(entries.iter().filter_map(|(entry, _)| Name::parse_file(entry)), pss)
    }

    fn users_among(
        &self,
        segments: impl Iterator<Item = (Name, u64)>,
        pss: Pss,
    ) -> Result<BTreeMap<Name, Vec<FrameUser>>> {
        let (mut files, mut devices) = (HashMap::new(), HashMap::new());
        for (name, version) in segments {
            let Some(id) = self.file_id_of(&name.file(version), &mut devices)? else { continue };
            files.insert(id, (name, version));
        }
        let mut users: BTreeMap<Name, Vec<FrameUser>> = BTreeMap::new();
        let processes = fs::read_dir("/proc").map_err(|e| Error::os("list", "/proc", e))?;
        for process in processes.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            for (name, user) in users_of(pid, &process.path(), &files, pss) {
                users.entry(name).or_default().push(user);
            }
        }
        for users in users.values_mut() {
            users.sort_by_key(|user| (user.pid, user.version));
        }
        Ok(users)
    }

    fn file_id_of(&self, file: &str, devices: &mut Devices) -> Result<Option<FileId>> {
        let Some(stat) = self.frames().stat(file)? else { return Ok(None) };
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        let (major, minor) = match self.frames().medium() {
            Medium::Memory => device,
            Medium::Disk => *devices.entry(device).or_insert_with(|| self.shown_device(file).unwrap_or(device)),
        };
        Ok(Some((major, minor, stat.st_ino)))
    }

    /// The device of a file as /proc/PID/maps has it, found by mapping the file.
    fn shown_device(&self, file: &str) -> Option<(u32, u32)> {
        let Ok(Opened::Mapped(mapping)) = Mapping::open(self.frames(), file) else { return None };
        let address = mapping.bytes().as_ptr().addr();
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let (major, minor, _) = maps.lines().find(|line| starts_at(line, address)).and_then(file_id)?;
        Some((major, minor))
    }
}

/// Devices in /proc/PID/maps, by those of stat(2): they differ on btrfs and overlayfs.
type Devices = HashMap<(u32, u32), (u32, u32)>;

/// Whether a line of /proc/PID/maps is of the map at an address.
fn starts_at(line: &str, address: usize) -> bool {
    line.split_once('-').is_some_and(|(start, _)| usize::from_str_radix(start, 16) == Ok(address))
}

/// The segment of each file.
type Segments = HashMap<FileId, (Name, u64)>;

/// The segments that one process maps. Empty for a process that ended, or that belongs to another user.
fn users_of(pid: u32, process: &Path, files: &Segments, pss: Pss) -> Vec<(Name, FrameUser)> {
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    let mut mapped: Vec<(Name, u64)> = maps.lines().filter_map(|line| files.get(&file_id(line)?).cloned()).collect();
    mapped.sort_unstable();
    mapped.dedup();
    if mapped.is_empty() {
        return Vec::new();
    }
    let command = fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
    let smaps = (pss == Pss::Read).then(|| fs::read_to_string(process.join("smaps")).ok()).flatten();
    let share = |segment: &(Name, u64)| smaps.as_deref().map(|smaps| share(smaps, files, segment));
    let user = |segment: (Name, u64)| {
        let user = FrameUser { pid, command: command.clone(), version: segment.1, pss: share(&segment) };
        (segment.0, user)
    };
    mapped.into_iter().map(user).collect()
}

/// Reads the third to fifth word of `7f..-7f.. r--s 00000000 00:1a 1234 /dev/shm/...`.
fn file_id(line: &str) -> Option<FileId> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let inode = words.next()?.parse().ok()?;
    Some((u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?, inode))
}

/// Adds up the `Pss:` lines of the maps of one version.
fn share(smaps: &str, files: &Segments, segment: &(Name, u64)) -> u64 {
    let mut inside = false;
    let mut kib = 0;
    for line in smaps.lines() {
        if let Some(rest) = line.strip_prefix("Pss:") {
            let value = rest.trim().strip_suffix(" kB").and_then(|value| value.parse().ok()).unwrap_or(0);
            kib += if inside { value } else { 0 };
        } else if line.starts_with(|c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()) {
            inside = file_id(line).and_then(|id| files.get(&id)) == Some(segment);
        }
    }
    kib << 10
}
