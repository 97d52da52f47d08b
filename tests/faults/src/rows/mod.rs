//! The rows of `docs/faults.md`, a file each: what the driver does and what the other processes do.

use crate::driver::Row;

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod damage;
pub(crate) mod growth;
pub(crate) mod kill;
pub(crate) mod locks;
pub(crate) mod planted;
pub(crate) mod power;
pub(crate) mod readers;
pub(crate) mod restore;
pub(crate) mod space;
pub(crate) mod tests;
pub(crate) mod upgrade;

/// In the order of the document.
pub(crate) const ROWS: &[Row] = &[
    kill::ROW,
    power::ROW,
    calls::ROW,
    space::ROW,
    locks::ROW,
    clock::ROW,
    damage::ROW,
    planted::ROW,
    tests::PATHS,
    tests::TEXTS,
    tests::LOST,
    growth::ROW,
    readers::ROW,
    upgrade::ROW,
    restore::ROW,
];
