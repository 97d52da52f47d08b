//! What an operator does with a store.

pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod jsonl;
pub(crate) mod prune;
pub(crate) mod usage;
