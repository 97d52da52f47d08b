//! Spans and events for `tracing`: operations, tasks, counts and times, never a text. Compiled out without the
//! feature, because even a disabled span costs instructions.

#[cfg(feature = "tracing")]
pub(crate) use on::{Span, committed, found};

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Span, committed, found};

use std::time::Duration;

/// The figures of a committed transaction.
#[cfg_attr(
    not(feature = "tracing"),
    expect(dead_code, reason = "only tracing reads them")
)]
pub(crate) struct Committed {
    pub(crate) writes: usize,
    /// From the oldest call that is part of it to the begin of the commit.
    pub(crate) wait: Duration,
    pub(crate) commit: Duration,
    pub(crate) lock_retries: u64,
}

#[cfg(feature = "tracing")]
mod on {
    use std::time::Duration;

    use tracing::{debug, debug_span, warn};

    use super::Committed;
    use crate::base::error::{ErrorKind, Result};
    use crate::base::operation::Operation;

    /// One call of a public method.
    pub(crate) struct Span(tracing::Span);

    impl Span {
        pub(crate) fn of(call: &Operation<'_>) -> Self {
            Self(debug_span!(
                "turnkeep",
                operation = call.name,
                subject = call.subject(),
            ))
        }

        /// Makes this the current span until the guard is dropped.
        pub(crate) fn enter(&self) -> tracing::span::Entered<'_> {
            self.0.enter()
        }

        pub(crate) fn ended<T>(&self, result: &Result<T>) {
            self.0.in_scope(|| match result {
                Ok(_) => debug!("done"),
                Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => {
                    warn!(%error, "busy");
                }
                Err(error) => debug!(%error, "failed"),
            });
        }
    }

    /// Warns of a finding that does not keep a store from being opened.
    pub(crate) fn found(what: &str, advice: &str) {
        warn!(advice, "{what}");
    }

    pub(crate) fn committed(committed: &Committed) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        debug!(
            writes = committed.writes,
            wait_us = micros(committed.wait),
            commit_us = micros(committed.commit),
            lock_retries = committed.lock_retries,
            "committed"
        );
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use super::Committed;
    use crate::base::error::Result;
    use crate::base::operation::Operation;

    pub(crate) struct Span;

    impl Span {
        pub(crate) fn of(_: &Operation<'_>) -> Self {
            Self
        }

        pub(crate) fn enter(&self) -> Self {
            Self
        }

        pub(crate) fn ended<T>(&self, _: &Result<T>) {}
    }

    pub(crate) fn committed(_: &Committed) {}

    pub(crate) fn found(_: &str, _: &str) {}
}
