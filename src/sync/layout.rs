//! The kinds of cells, and where their words are (FORMAT.md, section 9).

/// The offset after the header, where the layout depends on the kind.
pub(super) const BODY: usize = 256;

/// Why the values may be inconsistent, or 0. After the mutex (40 bytes on x86-64, 48 on aarch64), in its cache line:
/// the owner of the mutex has that line.
pub(super) const POISON: usize = BODY + 48;
/// The process that has the lock, or 0.
pub(super) const OWNER: usize = BODY + 52;
/// The offset of the protected values, unless their kind puts a table before them.
pub(super) const DATA: usize = BODY + 64;
/// The offset of a value of at most 8 bytes: in the cache line of its mutex.
pub(super) const SMALL: usize = BODY + 56;
/// The word of a barrier or semaphore that counts its changes; processes wait on it.
pub(super) const CHANGES: usize = DATA;
/// How many claims an array can have at once.
pub(super) const CLAIMS: usize = 64;
/// Bytes of a claim: a mark and a range.
pub(super) const CLAIM: usize = 32;

/// The kind of a cell. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellKind {
    Counter,
    Flag,
    Value,
    Array,
    AtomicArray,
    Event,
    Barrier,
    Semaphore,
    Latest,
}

impl CellKind {
    const ALL: [(Self, u32, &'static str); 9] = [
        (Self::Counter, 1, "a counter"),
        (Self::Flag, 2, "a flag"),
        (Self::Value, 3, "a locked value"),
        (Self::Array, 4, "an array"),
        (Self::AtomicArray, 5, "an atomic array"),
        (Self::Event, 6, "an event"),
        (Self::Barrier, 7, "a barrier"),
        (Self::Semaphore, 8, "a semaphore"),
        (Self::Latest, 9, "a latest value"),
    ];

    pub(super) fn code(self) -> u32 {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, code, _)| *code)
    }

    pub(super) fn text(code: u32) -> &'static str {
        Self::ALL.iter().find(|(_, other, _)| *other == code).map_or("something that this build does not know", |e| e.2)
    }

    /// Returns whether the kind has a lock (rule K2). Such a cell belongs to the processes of one pid namespace.
    pub(super) fn has_lock(self) -> bool {
        !matches!(self, Self::Counter | Self::Flag | Self::AtomicArray | Self::Event)
    }
}
