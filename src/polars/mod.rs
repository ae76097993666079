//! Re-exports the crate `polars` that this build uses, and converts its frames from and to Arrow.
//!
//! Arrays are passed by their buffers, one array type at a time. On the way all dtypes are physical (dates are
//! integers, categoricals their keys), and Polars gets its logical dtype back at the end, so nothing is converted or
//! validated twice. docs/DESIGN.md gives the reasons why neither Polars' import nor the C data interface is used.

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
