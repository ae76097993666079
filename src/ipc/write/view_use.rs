//! Finds the bytes of its data buffers to which a view array refers.

use arrow::buffer::NullBuffer;

/// With more rows than this, the use is estimated from evenly spread blocks, because reading every view of a frame
/// costs about a tenth of writing it.
const SAMPLED_ABOVE: usize = 1 << 16;
const BLOCK: usize = 1 << 10;
const STRIDE: usize = 16 * BLOCK;

/// One view: a length, and either the value, if it has at most 12 bytes, or the place of its bytes.
#[derive(Clone, Copy)]
pub(in crate::ipc) struct View {
    bits: u128,
}

impl View {
    pub(in crate::ipc) fn new(bits: u128) -> Self {
        Self { bits }
    }

    pub(in crate::ipc) fn bits(self) -> u128 {
        self.bits
    }

    /// The 32 bits that start at a byte.
    fn word(self, at: usize) -> usize {
        let bytes = self.bits.to_le_bytes();
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        word.and_then(|word| usize::try_from(u32::from_le_bytes(*word)).ok()).unwrap_or(0)
    }

    pub(in crate::ipc) fn len(self) -> usize {
        self.word(0)
    }

    pub(in crate::ipc) fn is_inline(self) -> bool {
        self.len() <= 12
    }

    pub(in crate::ipc) fn buffer(self) -> usize {
        self.word(8)
    }

    pub(in crate::ipc) fn offset(self) -> usize {
        self.word(12)
    }

    /// The view of the same bytes at another place; `None` if the place needs more than 32 bits.
    pub(in crate::ipc) fn moved(self, buffer: usize, offset: usize) -> Option<u128> {
        let (buffer, offset) = (u32::try_from(buffer).ok()?, u32::try_from(offset).ok()?);
        let length_and_prefix = self.bits & u128::from(u64::MAX);
        Some(length_and_prefix | u128::from(buffer) << 64 | u128::from(offset) << 96)
    }
}

/// Bytes that these views keep outside themselves.
pub(in crate::ipc) fn outside(views: &[u128]) -> usize {
    views.iter().map(|view| View::new(*view)).filter(|view| !view.is_inline()).map(View::len).sum()
}

/// The part of one buffer to which rows refer.
#[derive(Clone, Default)]
pub(in crate::ipc) struct Use {
    /// The sum of the lengths of their values. It exceeds the size of the buffer if rows share values.
    pub(in crate::ipc) bytes: usize,
    /// The start of the first value and the end of the last one.
    pub(in crate::ipc) first: usize,
    end: usize,
}

impl Use {
    pub(in crate::ipc) fn span(&self) -> usize {
        self.end - self.first
    }

    pub(in crate::ipc) fn add(&mut self, more: &Self) {
        if more.bytes == 0 {
            return;
        }
        self.first = if self.bytes == 0 { more.first } else { self.first.min(more.first) };
        self.end = self.end.max(more.end);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

#[derive(Clone, Copy)]
pub(in crate::ipc) enum Tally {
    Exact,
    /// `Use::bytes` is an estimate for long columns, and may miss small buffers.
    Sampled,
}

/// The part of each of `count` buffers to which valid rows refer. `slots` maps the buffers of these views to them.
pub(in crate::ipc) fn tally(
    views: &[u128],
    nulls: Option<&NullBuffer>,
    slots: &[usize],
    count: usize,
    mode: Tally,
) -> Vec<Use> {
    let mut uses = vec![Use::default(); count];
    let is_sampled = matches!(mode, Tally::Sampled) && views.len() > SAMPLED_ABOVE;
    let stride = if is_sampled { STRIDE } else { views.len().max(1) };
    let mut seen = 0;
    for (index, stretch) in views.chunks(stride).enumerate() {
        let block = if is_sampled { stretch.get(..BLOCK).unwrap_or(stretch) } else { stretch };
        seen += block.len();
        for (row, view) in block.iter().enumerate() {
            let view = View::new(*view);
            if view.is_inline() || nulls.is_some_and(|nulls| nulls.is_null(index * stride + row)) {
                continue;
            }
            let (first, bytes) = (view.offset(), view.len());
            if let Some(used) = slots.get(view.buffer()).and_then(|slot| uses.get_mut(*slot)) {
                used.add(&Use { bytes, first, end: first + bytes });
            }
        }
    }
    if is_sampled {
        for used in &mut uses {
            used.bytes = used.bytes.saturating_mul(views.len()) / seen.max(1);
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringViewArray};

    use super::{Tally, Use, View, tally};

    fn uses(array: &StringViewArray, mode: Tally) -> Vec<Use> {
        let slots: Vec<usize> = (0..array.data_buffers().len()).collect();
        tally(array.views(), array.nulls(), &slots, slots.len(), mode)
    }

    #[test]
    fn inline_values_and_nulls_use_nothing() {
        let texts = StringViewArray::from(vec![Some("short"), None, Some("thirteen char"), Some("x"), None]);
        let used = uses(&texts, Tally::Exact);
        assert_eq!(used.iter().map(|used| (used.bytes, used.first, used.span())).collect::<Vec<_>>(), [(13, 0, 13)]);
        let (views, buffers, _) = texts.into_parts();
        let nulls = vec![true, true, false, true, true].into();
        let hidden = StringViewArray::new(views, buffers, Some(nulls));
        assert_eq!(uses(&hidden, Tally::Exact)[0].bytes, 0);
    }

    #[test]
    fn a_sample_of_a_long_column_is_near_the_truth() {
        let text = |row: usize| (!row.is_multiple_of(4)).then(|| format!("a text longer than twelve, {row:07}"));
        let texts: StringViewArray = (0..300_000).map(text).collect();
        let total = |mode| uses(&texts, mode).iter().map(|used| used.bytes).sum::<usize>();
        let (exact, sampled) = (total(Tally::Exact), total(Tally::Sampled));
        assert_eq!(exact, 225_000 * 34);
        assert!(sampled.abs_diff(exact) < exact / 20, "{sampled} of {exact}");
    }

    #[test]
    fn a_view_keeps_its_length_and_prefix_when_it_moves() {
        let texts = StringViewArray::from(vec!["thirteen char"]);
        let old = View::new(texts.views()[0]);
        let new = View::new(old.moved(7, 1 << 31).unwrap());
        assert_eq!((new.len(), new.buffer(), new.offset()), (13, 7, 1 << 31));
        assert_eq!(new.bits() as u64, old.bits() as u64);
        assert!(old.moved(0, 1 << 32).is_none());
    }
}
