//! The only background thread of a store. It opens connections, and looks for turns of other processes while futures
//! wait for them.

use std::sync::Arc;
use std::thread;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;

/// Starts the thread on which r2d2 opens connections. By default r2d2 starts three for each pool.
pub(crate) fn pool_thread() -> Result<Arc<ScheduledThreadPool>> {
    // The pool panics if the system refuses a thread, so this asks the system first.
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
