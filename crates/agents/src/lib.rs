#![doc = include_str!("../README.md")]

mod homes;
mod relocation;

pub use homes::AgentHomes;
pub use relocation::Relocation;
