//! Edits that keep what surrounds them right: words inside flatbuffers, footers with their length, messages with theirs.

use std::ops::Range;

use crate::segment::{self, Message};

/// libFuzzer's own mutation of the first bytes of a buffer, up to a length; returns the new length.
pub type Plain<'a> = &'a mut dyn FnMut(&mut [u8], usize, usize) -> usize;

/// Mutates the first bytes of a buffer, up to a length, from a seed; returns the new length.
pub type Mutator = fn(&mut [u8], usize, usize, u32, Plain<'_>) -> usize;

/// A generator that is the same for the same seed (splitmix64).
pub struct Random(u64);

impl Random {
    /// Starts from the seed that libFuzzer gives.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % end.max(1)
    }
}

/// Overwrites an aligned word by one at a limit, near the old one, a small one (kinds, units), or one copied from elsewhere.
fn edit_word(bytes: &mut [u8], random: &mut Random) {
    let width = [1, 2, 4, 4, 8, 8][random.below(6)];
    if bytes.len() < width {
        return;
    }
    let at = random.below(bytes.len() / width) * width;
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at..at + width]);
    let old = u64::from_le_bytes(word);
    let limits =
        [0, 1, 2, 7, 8, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x7FFF_FFFF, 0x8000_0000, u64::MAX, 1 << 40, 1 << 63];
    let new = match random.below(7) {
        0 => old ^ (1 << random.below(8 * width)),
        1 => old.wrapping_add(random.below(17) as u64).wrapping_sub(8),
        2 => {
            let from = random.below(bytes.len() / width) * width;
            word[..width].copy_from_slice(&bytes[from..from + width]);
            u64::from_le_bytes(word)
        }
        3 => old.wrapping_mul(2),
        4 => random.below(16) as u64,
        _ => limits[random.below(limits.len())],
    };
    bytes[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Changes a part of a buffer by libFuzzer's own mutation; it may become longer.
fn plain(bytes: &mut Vec<u8>, most: usize, plain: Plain<'_>) {
    let len = bytes.len();
    bytes.resize(most.max(len), 0);
    let new = plain(bytes, len, most.max(len));
    bytes.truncate(new);
}

/// Copies a result back; returns its length.
fn keep(data: &mut [u8], bytes: &[u8]) -> usize {
    let len = bytes.len().min(data.len());
    data[..len].copy_from_slice(&bytes[..len]);
    len
}

/// Mutates bytes without a structure.
pub fn bytes(data: &mut [u8], size: usize, max: usize, _: u32, fuzz: Plain<'_>) -> usize {
    fuzz(data, size, max)
}

/// What libFuzzer does, in short, where it is not linked.
pub fn without_libfuzzer(data: &mut [u8], size: usize, max: usize, random: &mut Random) -> usize {
    let mut bytes = data[..size].to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => edit_word(&mut bytes, random),
            1 => bytes.insert(at, random.below(256) as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => {
                let end = at + random.below(16).min(bytes.len() - at);
                let copied = bytes[at..end].to_vec();
                let place = random.below(bytes.len() + 1);
                bytes.splice(place..place, copied);
            }
            _ if random.below(8) == 0 => bytes.truncate(at),
            _ => edit_word(&mut bytes, random),
        }
    }
    keep(&mut data[..max], &bytes)
}

/// Mutates an Arrow IPC file.
pub fn file(data: &mut [u8], size: usize, max: usize, seed: u32, fuzz: Plain<'_>) -> usize {
    let mut random = Random::new(seed);
    let places = segment::flatbuffers(&data[..size]);
    if places.is_empty() || random.below(4) == 0 {
        return fuzz(data, size, max);
    }
    let mut bytes = data[..size].to_vec();
    match random.below(8) {
        // The footer as a whole, with its length.
        0 => {
            let Some(place) = segment::footer(&bytes) else { return size };
            let mut footer = bytes[place.clone()].to_vec();
            let most = footer.len() + 64;
            plain(&mut footer, most, fuzz);
            bytes = segment::with_footer(&bytes[..place.start], &footer);
        }
        // Bodies, and what is between the messages.
        1 | 2 => edit_some(&mut bytes, &(0..size), &mut random),
        _ => {
            let place = places[random.below(places.len())].clone();
            edit_some(&mut bytes, &place, &mut random);
        }
    }
    if random.below(8) > 0 {
        segment::sign(&mut bytes);
    }
    keep(&mut data[..max], &bytes)
}

fn edit_some(bytes: &mut [u8], place: &Range<usize>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        edit_word(&mut bytes[place.clone()], random);
    }
}

/// Mutates one flatbuffer.
pub fn flatbuffer(data: &mut [u8], size: usize, max: usize, seed: u32, fuzz: Plain<'_>) -> usize {
    let mut random = Random::new(seed);
    if size < 8 || random.below(3) == 0 {
        return fuzz(data, size, max);
    }
    edit_some(data, &(0..size), &mut random);
    size
}

/// Mutates a stream of messages: one header, one body, or their order.
pub fn stream(data: &mut [u8], size: usize, max: usize, seed: u32, fuzz: Plain<'_>) -> usize {
    let mut random = Random::new(seed);
    let mut messages = segment::messages(&data[..size]);
    if messages.is_empty() || random.below(6) == 0 {
        return fuzz(data, size, max);
    }
    let number = random.below(messages.len());
    match random.below(10) {
        0 => drop(messages.remove(number)),
        1 => messages.insert(number, messages[random.below(messages.len())].clone()),
        2 => {
            let other = random.below(messages.len());
            messages.swap(number, other);
        }
        3 => plain(&mut messages[number].header, size + 64, fuzz),
        4 => plain(&mut messages[number].body, size + 64, fuzz),
        5 | 6 => {
            let body = 0..messages[number].body.len();
            edit_some(&mut messages[number].body, &body, &mut random);
        }
        _ => {
            let Message { header, .. } = &mut messages[number];
            let all = 0..header.len();
            edit_some(header, &all, &mut random);
        }
    }
    keep(&mut data[..max], &segment::stream(&messages))
}
