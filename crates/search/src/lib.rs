#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod expression;
mod file;
mod index;
mod matches;
mod passage;
mod query;
mod search;
mod tokens;
mod tool_calls;
mod update;

pub use error::{Error, Result};
pub use index::Index;
pub use passage::Passage;
pub use query::Query;
pub use search::{Hit, ToolCallHit, ToolCallHits};
pub use tool_calls::ToolCallUpdate;
pub use update::Update;
