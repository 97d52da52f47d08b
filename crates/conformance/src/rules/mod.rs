//! The rules, by area. Each is a test of its own: it makes a fresh store, and returns or panics
//! with what it found wrong. [`suite!`](crate::suite) runs them all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a rule that is broken panics, as any test does"
)]

pub mod concurrency;
pub mod contents;
pub mod crash;
pub mod errors;
pub mod history;
pub mod isolation;
pub mod lease;
pub mod model;
pub mod processes;
pub mod prune;
pub mod session;
pub mod task;
pub mod usage;
