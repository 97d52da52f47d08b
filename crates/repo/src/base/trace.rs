//! Spans and events for `tracing`: operations, tasks, counts and times, never a text. Compiled out without the
//! feature, because even a disabled span costs instructions.
#![cfg_attr(
    not(feature = "tracing"),
    expect(dead_code, unused_variables, reason = "only tracing reads them")
)]

use std::time::Duration;

#[cfg(feature = "tracing")]
use tracing::{debug, debug_span, warn};

#[cfg(feature = "tracing")]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;

/// The figures of a committed transaction.
pub(crate) struct Committed {
    pub(crate) writes: usize,
    /// From the oldest call that is part of it to the begin of the commit.
    pub(crate) wait: Duration,
    pub(crate) commit: Duration,
    pub(crate) lock_retries: u64,
}

/// One call of a public method.
pub(crate) struct Span(#[cfg(feature = "tracing")] tracing::Span);

impl Span {
    pub(crate) fn of(call: &Operation<'_>) -> Self {
        Self(
            #[cfg(feature = "tracing")]
            debug_span!("turnkeep", operation = call.name, subject = call.subject()),
        )
    }

    /// Makes this the current span until the guard is dropped.
    #[cfg(feature = "tracing")]
    pub(crate) fn enter(&self) -> tracing::span::Entered<'_> {
        self.0.enter()
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn enter(&self) -> &Self {
        self
    }

    pub(crate) fn ended<T>(&self, result: &Result<T>) {
        #[cfg(feature = "tracing")]
        self.0.in_scope(|| match result {
            Ok(_) => debug!("done"),
            Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => warn!(%error, "busy"),
            Err(error) => debug!(%error, "failed"),
        });
    }
}

/// Warns of a finding that does not keep a store from being opened.
pub(crate) fn found(what: &str, advice: &str) {
    #[cfg(feature = "tracing")]
    warn!(advice, "{what}");
}

pub(crate) fn committed(committed: &Committed) {
    #[cfg(feature = "tracing")]
    debug!(
        writes = committed.writes,
        wait_us = committed.wait.as_micros() as u64,
        commit_us = committed.commit.as_micros() as u64,
        lock_retries = committed.lock_retries,
        "committed"
    );
}
