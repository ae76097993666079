//! Functions as offsets in the executable, and how they are called there.
#![expect(unsafe_code, reason = "an address that another process sent becomes a function again")]

use std::{
    error::Error as StdError,
    fs,
    os::unix::fs::MetadataExt,
    sync::{OnceLock, atomic::Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::{encode, read},
    common,
};
use crate::{
    error::{Error, Result},
    frame::{Sent, collect_sent},
};

/// Identifies the binary. Pool and worker must run the same one, or addresses mean something else.
pub(super) fn identity() -> Result<String> {
    let exe = fs::metadata("/proc/self/exe").map_err(|e| Error::os("look up", "/proc/self/exe", e))?;
    let (dev, ino, size) = (exe.dev(), exe.ino(), exe.size());
    Ok(format!("{} {dev:x}:{ino} {size} {}.{}", env!("CARGO_PKG_VERSION"), exe.mtime(), exe.mtime_nsec()))
}

/// The outcome of a task.
pub(super) enum Outcome {
    /// The result was appended; these are the frames in it.
    Done(Vec<Sent>),
    /// The function returned an error: its message and those of its sources.
    Failed(Vec<String>),
    /// The result cannot be encoded, or the argument cannot be decoded.
    NotSent { what: &'static str, detail: String },
}

/// Code that knows the types of a call: takes a target, an encoded argument, and the buffer for the result.
type Run = fn(usize, &[u8], &mut Vec<u8>) -> Outcome;

/// A function of this executable, with the code that knows its types. Both are offsets in the file, so they mean the
/// same in every process that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) run: u64,
    pub(super) target: u64,
}

macro_rules! address {
    ($pointer:expr) => {{
        #[expect(clippy::as_conversions, reason = "a function pointer becomes an address in no other way")]
        let address = ($pointer as *const ()).expose_provenance();
        address
    }};
}

impl Function {
    pub(super) fn new<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R) -> Result<Self> {
        Self::at(run::<A, R>, address!(f))
    }

    pub(super) fn fallible<A, R, E>(f: fn(A) -> Result<R, E>) -> Result<Self>
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::at(run_fallible::<A, R, E>, address!(f))
    }

    pub(super) fn common<S, A, R>(f: fn(&S, A) -> R) -> Result<Self>
    where
        S: DeserializeOwned + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        Self::at(run_common::<S, A, R>, address!(f))
    }

    pub(super) fn common_fallible<S, A, R, E>(f: fn(&S, A) -> Result<R, E>) -> Result<Self>
    where
        S: DeserializeOwned + 'static,
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::at(run_common_fallible::<S, A, R, E>, address!(f))
    }

    fn at(run: Run, target: usize) -> Result<Self> {
        Ok(Self { run: code_offset(address!(run))?, target: code_offset(target)? })
    }

    /// Calls the function here. Fails if an address is outside of this executable's code.
    pub(super) fn call(self, argument: &[u8], result: &mut Vec<u8>) -> Result<Outcome> {
        let run = std::ptr::with_exposed_provenance::<()>(address_of(self.run)?);
        // SAFETY: `run` was the address of a `Run` in a process of the same executable (the handshake compared their
        // identities), its offset was checked to be inside this executable's code, and the socket that brought it is
        // connected to that process only.
        let run = unsafe { std::mem::transmute::<*const (), Run>(run) };
        Ok(run(address_of(self.target)?, argument, result))
    }
}

/// Turns an address back into its function.
///
/// # Safety
///
/// The address must be that of a function of type `F`, and `F` a function pointer.
unsafe fn pointer<F: Copy>(address: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<usize>(), "a function pointer is an address") };
    let pointer = std::ptr::with_exposed_provenance::<()>(address);
    // SAFETY: same size, and the caller promises that it is one.
    unsafe { std::mem::transmute_copy::<*const (), F>(&pointer) }
}

fn run<A: DeserializeOwned, R: Serialize>(target: usize, argument: &[u8], result: &mut Vec<u8>) -> Outcome {
    // SAFETY: `Function::of` is the only one that pairs this code with a target, and there it has this type.
    let f = unsafe { pointer::<fn(A) -> R>(target) };
    match decode(argument) {
        Ok(argument) => finish(&f(argument), result),
        Err(outcome) => outcome,
    }
}

fn run_fallible<A, R, E>(target: usize, argument: &[u8], result: &mut Vec<u8>) -> Outcome
where
    A: DeserializeOwned,
    R: Serialize,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    // SAFETY: `Function::fallible` is the only one that pairs this code with a target, and there it has this type.
    let f = unsafe { pointer::<fn(A) -> Result<R, E>>(target) };
    match decode(argument).map(f) {
        Ok(Ok(value)) => finish(&value, result),
        Ok(Err(error)) => Outcome::Failed(chain(&*error.into())),
        Err(outcome) => outcome,
    }
}

fn run_common<S, A, R>(target: usize, argument: &[u8], result: &mut Vec<u8>) -> Outcome
where
    S: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: `Function::common` is the only one that pairs this code with a target, and there it has this type.
    let f = unsafe { pointer::<fn(&S, A) -> R>(target) };
    match decode_common::<S, A>(argument) {
        Ok((common, argument)) => finish(&f(&common, argument), result),
        Err(outcome) => outcome,
    }
}

fn run_common_fallible<S, A, R, E>(target: usize, argument: &[u8], result: &mut Vec<u8>) -> Outcome
where
    S: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    // SAFETY: `Function::common_fallible` is the only one that pairs this code with a target, and there it has this
    // type.
    let f = unsafe { pointer::<fn(&S, A) -> Result<R, E>>(target) };
    match decode_common::<S, A>(argument).map(|(common, argument)| f(&common, argument)) {
        Ok(Ok(value)) => finish(&value, result),
        Ok(Err(error)) => Outcome::Failed(chain(&*error.into())),
        Err(outcome) => outcome,
    }
}

fn decode_common<S: DeserializeOwned + 'static, A: DeserializeOwned>(
    argument: &[u8],
) -> Result<(std::rc::Rc<S>, A), Outcome> {
    let common = common::current().map_err(|detail| Outcome::NotSent { what: "argument", detail })?;
    Ok((common, decode(argument)?))
}

fn decode<A: DeserializeOwned>(argument: &[u8]) -> Result<A, Outcome> {
    // A frame in the argument is opened here.
    read(argument).map_err(|detail| Outcome::NotSent { what: "argument", detail })
}

fn finish<R: Serialize>(value: &R, result: &mut Vec<u8>) -> Outcome {
    let (encoded, sent) = collect_sent(|| encode(value, result));
    match encoded {
        Ok(()) => {
            for sent in &sent {
                if let Sent::Given(_, left) = sent {
                    // The value is dropped after this; from now on its name is the caller's to remove.
                    left.store(true, Ordering::Relaxed);
                }
            }
            Outcome::Done(sent)
        }
        Err(detail) => Outcome::NotSent { what: "result", detail },
    }
}

pub(super) fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut chain = vec![error.to_string()];
    let mut error = error;
    while let Some(source) = error.source() {
        chain.push(source.to_string());
        error = source;
    }
    chain
}

/// Executable code of this process's binary: addresses, and the offset of the first one in the file.
struct Code {
    start: usize,
    end: usize,
    offset: usize,
}

fn code() -> Result<&'static [Code]> {
    static CODE: OnceLock<Vec<Code>> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code);
    }
    let maps = fs::read_to_string("/proc/self/maps").map_err(|e| Error::os("read", "/proc/self/maps", e))?;
    let lines: Vec<Line> = maps.lines().filter_map(line).collect();
    // The file of this code.
    let here = address!(read::<u8> as fn(&[u8]) -> Result<u8, String>);
    let file = lines.iter().find(|line| (line.code.start..line.code.end).contains(&here)).map(|line| line.file.clone());
    let ours = |line: Line| (Some(&line.file) == file.as_ref()).then_some(line.code);
    Ok(CODE.get_or_init(|| lines.into_iter().filter_map(ours).collect()))
}

/// A line of /proc/PID/maps about executable code.
struct Line {
    code: Code,
    /// Device and inode, as printed in the line.
    file: (String, String),
}

/// Reads `55d0..-55d1.. r-xp 00001000 08:01 1234 /path`; `None` unless the mapping is code.
fn line(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()?.contains('x');
    let offset = usize::from_str_radix(words.next()?, 16).ok()?;
    let file = (words.next()?.to_owned(), words.next()?.to_owned());
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    is_code.then_some(Line { code: Code { start, end, offset }, file })
}

fn code_offset(address: usize) -> Result<u64> {
    let code = code()?.iter().find(|code| (code.start..code.end).contains(&address));
    let place = code.and_then(|code| u64::try_from(address - code.start + code.offset).ok());
    place.ok_or_else(|| {
        Error::unsupported(
            "a function that is not in this executable's own code (but in a shared library, for example)",
            "move it into the executable",
        )
    })
}

fn address_of(place: u64) -> Result<usize> {
    let inside = |code: &&Code| {
        let len = code.end - code.start;
        usize::try_from(place).is_ok_and(|place| (code.offset..code.offset + len).contains(&place))
    };
    let code = code()?.iter().find(inside);
    let address = code.and_then(|code| Some(usize::try_from(place).ok()? - code.offset + code.start));
    address.ok_or_else(|| Error::invalid("a task's function", "it is outside this executable's code"))
}

#[cfg(test)]
mod tests {
    use super::{Function, Outcome, encode, read};

    fn double(x: u32) -> u64 {
        u64::from(x) * 2
    }

    fn half(x: u32) -> Result<u32, String> {
        if x.is_multiple_of(2) { Ok(x / 2) } else { Err(format!("{x} is odd")) }
    }

    fn call(function: Function, argument: &impl serde::Serialize) -> (Outcome, Vec<u8>) {
        let (mut bytes, mut result) = (Vec::new(), Vec::new());
        encode(argument, &mut bytes).unwrap();
        (function.call(&bytes, &mut result).unwrap(), result)
    }

    #[test]
    fn a_function_is_called_by_its_code_offset() {
        let (outcome, result) = call(Function::new(double).unwrap(), &21_u32);
        assert!(matches!(outcome, Outcome::Done(_)));
        assert_eq!(read::<u64>(&result).unwrap(), 42);
        let (outcome, _) = call(Function::fallible(half).unwrap(), &7_u32);
        assert!(matches!(outcome, Outcome::Failed(chain) if chain == ["7 is odd"]));
        let add: fn((u32, u32)) -> u32 = |(a, b)| a + b;
        let (outcome, result) = call(Function::new(add).unwrap(), &(2_u32, 3_u32));
        assert!(matches!(outcome, Outcome::Done(_)));
        assert_eq!(read::<u32>(&result).unwrap(), 5);
    }

    #[test]
    fn offsets_outside_the_executable_are_refused() {
        let here = Function::new(double).unwrap();
        for wrong in [0, u64::MAX, u64::MAX / 2] {
            for function in [Function { run: wrong, ..here }, Function { target: wrong, ..here }] {
                assert!(function.call(&[], &mut Vec::new()).is_err_and(|error| error.is_invalid_argument()));
            }
        }
        // The C library's code is not the executable's.
        let foreign: fn(i32) -> i32 = |code| code;
        assert!(Function::new(foreign).is_ok());
        assert!(super::code_offset(libc::getpid as *const () as usize).unwrap_err().is_unsupported());
    }
}
