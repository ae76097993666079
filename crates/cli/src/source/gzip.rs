//! Gzip of several members, which may end with zeros, as tapes and block devices pad it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// The first bytes of gzip.
pub(super) const GZIP: [u8; 2] = [0x1F, 0x8B];

/// Unpacks one member after the other.
pub(super) struct Unpacked<R> {
    /// `None` once the input ended.
    member: Option<GzDecoder<R>>,
}

impl<R: Read> Unpacked<BufReader<R>> {
    pub(super) fn new(packed: R) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::new(packed))) }
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.member = self.member.take().map(GzDecoder::into_inner).map(next).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// Returns the next member; `None` at the end, after any zeros.
fn next<R: BufRead>(mut packed: R) -> io::Result<Option<GzDecoder<R>>> {
    let start = packed.fill_buf()?;
    if start.first() == GZIP.first() {
        return Ok(Some(GzDecoder::new(packed)));
    }
    loop {
        let bytes = packed.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("bytes that are not gzip follow the packed data"));
        }
        let read = bytes.len();
        packed.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Unpacked::new(bytes).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn members_follow_each_other_and_zeros_may_follow_the_last() {
        let both = [packed("a\n"), packed("b\n")].concat();
        assert_eq!(unpacked(&both).unwrap(), "a\nb\n");
        assert_eq!(unpacked(&[&both[..], &vec![0; 20_000]].concat()).unwrap(), "a\nb\n");
    }

    #[test]
    fn other_bytes_after_the_last_member_and_a_cut_member_are_errors() {
        let one = packed("a\n");
        assert!(unpacked(&[&one[..], b"x"].concat()).is_err());
        assert!(unpacked(&[&one[..], &[0; 3], &one[..]].concat()).is_err());
        assert!(unpacked(&one[..one.len() - 1]).is_err());
    }
}
