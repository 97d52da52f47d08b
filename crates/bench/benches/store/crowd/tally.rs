//! Rounds of appends and their results.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A round of appends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) millis: u64,
    /// Turnkeep's mean number of appends per commit, which the raw side uses.
    pub(crate) batch: f64,
}

impl Round {
    /// Returns the length of the round.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// The appends of one caller, or the sum of several.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Appends of each caller that were acknowledged in time.
    pub(crate) counts: Vec<u64>,
    /// Appends acknowledged after the end.
    pub(crate) late: u64,
    /// Failed appends.
    pub(crate) errors: u64,
    /// The message of one failure.
    pub(crate) error: Option<String>,
    /// The duration of each append in microseconds, failed and late ones included.
    pub(crate) waits: Vec<u32>,
    /// Turnkeep's mean number of appends per commit.
    pub(crate) batch: Option<f64>,
}

impl Tally {
    /// Adds the results of other callers.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.counts.append(&mut other.counts);
        self.late += other.late;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
        self.waits.append(&mut other.waits);
        self.batch = self.batch.or(other.batch);
    }

    /// Returns the number of appends acknowledged in time.
    pub(crate) fn in_time(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the appends of the slowest caller divided by the appends of the fastest.
    pub(crate) fn fairness(&self) -> f64 {
        let slowest = self.counts.iter().min().copied().unwrap_or(0);
        let fastest = self.counts.iter().max().copied().unwrap_or(0);
        slowest as f64 / fastest.max(1) as f64
    }
}

/// The callers of one side in one process.
pub(crate) trait Crowd {
    /// Appends with all callers until the round ends.
    fn run(&mut self, round: &Round) -> Result<Tally>;
}

/// A caller during a round.
pub(crate) struct Caller {
    end: Instant,
    count: u64,
    tally: Tally,
}

impl Caller {
    /// Starts now.
    pub(crate) fn start(round: &Round) -> Self {
        Self {
            end: Instant::now() + round.time(),
            count: 0,
            tally: Tally::default(),
        }
    }

    /// Returns whether another append may start.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.end
    }

    /// Records the outcome of this number of appends, which started at `started`.
    pub(crate) fn note(&mut self, started: Instant, appends: usize, outcome: &Result<()>) {
        let now = Instant::now();
        let micros = u32::try_from(now.duration_since(started).as_micros()).unwrap_or(u32::MAX);
        self.tally
            .waits
            .extend(std::iter::repeat_n(micros, appends));
        match outcome {
            Ok(()) if now <= self.end => self.count += appends as u64,
            Ok(()) => self.tally.late += appends as u64,
            Err(error) => {
                self.tally.errors += appends as u64;
                self.tally.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// Returns the results.
    pub(crate) fn finish(mut self) -> Tally {
        self.tally.counts = vec![self.count];
        self.tally
    }
}
