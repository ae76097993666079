//! The crate `polars` that this build is for, re-exported whole; and the way of its frames in and out.
//!
//! Arrays cross by their buffers, one array type at a time. The whole dtype tree is physical on the way (dates are
//! integers, categoricals their keys), and Polars gets its logical dtype back at the end, so nothing is converted and
//! nothing is validated twice. docs/DESIGN.md gives the reasons why neither Polars' import nor the C data interface is
//! used.

mod buffers;
mod categories;
mod convert;
mod crossing;
mod dtype;
mod from_polars;
mod numbering;
mod plan;
mod source;
mod to_polars;
mod unfold;

#[doc(no_inline)]
pub use ::polars::*;
pub(crate) use plan::copies;
