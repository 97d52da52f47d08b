//! The rows of `docs/faults.md`, a file each: what the driver does and what the other processes do.

use crate::driver::Row;

pub(crate) mod kill;

pub(crate) const ROWS: &[Row] = &[kill::ROW];
