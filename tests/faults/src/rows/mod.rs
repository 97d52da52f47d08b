//! The rows of `docs/faults.md`, a file each: what the driver does and what the other processes do.

use crate::driver::Row;

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod growth;
pub(crate) mod kill;
pub(crate) mod locks;
pub(crate) mod power;
pub(crate) mod space;

pub(crate) const ROWS: &[Row] = &[
    kill::ROW,
    power::ROW,
    calls::ROW,
    space::ROW,
    locks::ROW,
    clock::ROW,
    growth::ROW,
];
