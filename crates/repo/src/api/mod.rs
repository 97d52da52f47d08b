//! The public methods.

#[cfg(feature = "tokio")]
#[macro_use]
pub(crate) mod async_repo;
#[macro_use]
mod methods;
pub(crate) mod backup;
pub mod bulk;
pub(crate) mod claim;
pub(crate) mod conversation;
pub(crate) mod follow;
pub(crate) mod history;
pub(crate) mod import;
#[cfg(feature = "tokio")]
mod keep_alive;
pub(crate) mod lease;
pub(crate) mod recording;
pub(crate) mod repo;
pub(crate) mod restore;
pub(crate) mod retraction;
pub(crate) mod session;
pub(crate) mod task;
pub(crate) mod transaction;
pub(crate) mod vacuum;
