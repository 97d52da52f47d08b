#![doc = include_str!("../README.md")]

mod homes;

pub use homes::AgentHomes;
