//! Writes record batches as the bytes of a segment.
//!
//! [`readable`] refuses types that no reader accepts, [`layout`] converts strings to the requested layout, [`batches`]
//! cuts and coalesces rows, [`canonical`] gives each array the form that is written ([`views`] and [`view_use`] for
//! views), [`dictionary`] gives each dictionary field one dictionary, and [`encode`] writes the messages and the
//! footer.

mod batches;
pub(super) mod canonical;
mod dictionary;
pub(super) mod encode;
pub(super) mod layout;
mod readable;
mod view_use;
mod views;
