//! The one thread that is not the host's.

use std::sync::Arc;
use std::thread;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;

/// The thread on which r2d2 makes the connections of a store, instead of three for each. It
/// does nothing else.
pub(crate) fn helper_thread() -> Result<Arc<ScheduledThreadPool>> {
    // The pool of threads panics when the system gives it none, so the system is asked first.
    let spare = thread::Builder::new().spawn(|| ());
    let _ended = spare
        .map_err(|error| {
            ErrorKind::Io
                .on(&Operation::on_named(
                    "open",
                    "a thread that makes connections",
                ))
                .with_source(error)
        })?
        .join();
    Ok(Arc::new(
        ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern("turnkeep-pool")
            .build(),
    ))
}
