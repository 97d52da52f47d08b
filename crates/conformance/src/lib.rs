#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tokio")]
mod blocking;
mod harness;
pub mod rules;
pub mod scene;
mod store;
mod suite;
pub mod worker;

pub use anyhow;
#[cfg(feature = "tokio")]
pub use blocking::Blocking;
pub use harness::{Clock, Harness, Options};
pub use store::{Claimed, Store};
pub use worker::Worker;
