//! What callers were told and what became of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// How long to append.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) millis: u64,
    /// How many appends Turnkeep put into a commit, for the raw side to do the same.
    pub(crate) batch: f64,
}

impl Round {
    /// Returns how long to append.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// What became of the appends of one caller, or of several.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// How many appends each caller was acknowledged in time.
    pub(crate) counts: Vec<u64>,
    /// How many were acknowledged after the end.
    pub(crate) late: u64,
    /// How many failed.
    pub(crate) errors: u64,
    /// What one that failed said.
    pub(crate) error: Option<String>,
    /// How long each took, those that failed or were late as well, in microseconds.
    pub(crate) waits: Vec<u32>,
    /// How many appends Turnkeep put into a commit, on average.
    pub(crate) batch: Option<f64>,
}

impl Tally {
    /// Adds what became of others' appends.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.counts.append(&mut other.counts);
        self.late += other.late;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
        self.waits.append(&mut other.waits);
        self.batch = self.batch.or(other.batch);
    }

    /// Returns how many appends were acknowledged in time.
    pub(crate) fn in_time(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns what the slowest caller got of what the fastest got.
    pub(crate) fn fairness(&self) -> f64 {
        let slowest = self.counts.iter().min().copied().unwrap_or(0);
        let fastest = self.counts.iter().max().copied().unwrap_or(0);
        slowest as f64 / fastest.max(1) as f64
    }
}

/// The callers of one side in one process.
pub(crate) trait Crowd {
    /// Has all callers append until the time is up.
    fn run(&mut self, round: &Round) -> Result<Tally>;
}

/// One caller, from the start signal on.
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

    /// Notes what became of appends that started then: `appends` is how many there were.
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

    /// Ends.
    pub(crate) fn finish(mut self) -> Tally {
        self.tally.counts = vec![self.count];
        self.tally
    }
}
