//! The index of stores on each engine.

mod file;
mod processes;
mod query;
mod support;
mod tool_calls;
mod update;
