//! Stores and the files of agents together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod continuation;
mod grown;
mod home_check;
mod hook;
mod import;
mod keep;
mod restore;
mod support;
mod tokens;
mod unchanged;
mod watch;
