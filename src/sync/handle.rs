//! The text that names a cell.

use crate::store::{Address, address_handle};

/// Names a cell, and opens it in another process: one line of text, as a frame's [`Handle`](crate::Handle).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellHandle(pub(super) Address);

address_handle!(CellHandle, "coframe-cell:");
