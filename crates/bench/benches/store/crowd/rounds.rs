//! All sides in turn, round by round.

use anyhow::Result;

use super::tally::{Round, Tally};
use crate::files::Files;
use crate::plan::Plan;
use crate::side::Side;
use crate::stats::{quartiles, ratios};
use crate::worker::{Job, Worker};

/// What came of a side's rounds. Rounds of the same index ran side by side.
pub(crate) struct Figures {
    pub(crate) side: Side,
    /// Appends acknowledged per second, by round.
    rates: Vec<f64>,
    fairness: Vec<f64>,
    waits: Vec<f64>,
    pub(crate) errors: u64,
    pub(crate) error: Option<String>,
    /// The mean batch of the last round, if the side knows.
    pub(crate) batch: Option<f64>,
}

impl Figures {
    /// Returns the quartiles of the appends per second.
    pub(crate) fn rate(&self) -> [f64; 3] {
        quartiles(&self.rates)
    }

    /// Returns the quartiles of this side's rate as a multiple of another's.
    pub(crate) fn ratios(&self, other: &Self) -> [f64; 3] {
        ratios(&self.rates, &other.rates)
    }

    /// Returns what the slowest caller got of what the fastest got, the mean over the rounds.
    pub(crate) fn fairness(&self) -> f64 {
        self.fairness.iter().sum::<f64>() / self.fairness.len() as f64
    }

    /// Returns the median and the longest wait of a single append, in nanoseconds.
    pub(crate) fn waits(&self) -> (f64, f64) {
        let [_, median, _] = quartiles(&self.waits);
        (median, self.waits.iter().copied().fold(0.0, f64::max))
    }

    fn note(&mut self, tally: Tally, round: &Round) {
        self.rates
            .push(tally.in_time() as f64 / round.time().as_secs_f64());
        self.fairness.push(tally.fairness());
        self.waits
            .extend(tally.waits.iter().map(|micros| f64::from(*micros) * 1e3));
        self.errors += tally.errors;
        self.error = self.error.take().or(tally.error);
        self.batch = tally.batch;
    }
}

/// A side's processes, and what they acknowledged so far.
struct Runner {
    workers: Vec<Worker>,
    acknowledged: u64,
    figures: Figures,
}

/// Has so many threads in each of so many processes append to one file, each to a task of its own,
/// and ensures after each round that the file has what was acknowledged, no more and no less.
pub(crate) fn measure(
    sides: &[Side],
    processes: usize,
    threads: usize,
    plan: &Plan,
) -> Result<Vec<Figures>> {
    let files = Files::create(&plan.folder, sides, processes * threads, 0)?;
    let mut runners = Vec::new();
    for side in sides {
        runners.push(Runner::start(*side, processes, threads, &files)?);
    }
    let mut round = Round {
        millis: plan.size.round_millis / 5,
        batch: 1.0,
    };
    // The first round, a warm-up, does not count. It tells the raw side its first batch size.
    for runner in &mut runners {
        let tally = runner.run(&round, &files)?;
        round.batch = tally.batch.unwrap_or(round.batch);
    }
    round.millis = plan.size.round_millis;
    for _ in 0..plan.size.rounds {
        for runner in &mut runners {
            let tally = runner.run(&round, &files)?;
            round.batch = tally.batch.unwrap_or(round.batch);
            runner.figures.note(tally, &round);
        }
        // The order alternates: whoever comes later finds the disk as the others left it.
        runners.reverse();
    }
    let mut figures = Vec::new();
    for runner in runners {
        for worker in runner.workers {
            worker.stop()?;
        }
        figures.push(runner.figures);
    }
    figures.sort_by_key(|figures| sides.iter().position(|side| *side == figures.side));
    Ok(figures)
}

impl Runner {
    fn start(side: Side, processes: usize, threads: usize, files: &Files) -> Result<Self> {
        let mut workers = Vec::new();
        for process in 0..processes {
            let first_task = process * threads;
            let job = Job::Crowd {
                first_task,
                threads,
            };
            workers.push(Worker::start(side, &files.path(side), job)?);
        }
        let figures = Figures {
            side,
            rates: Vec::new(),
            fairness: Vec::new(),
            waits: Vec::new(),
            errors: 0,
            error: None,
            batch: None,
        };
        Ok(Self {
            workers,
            acknowledged: 0,
            figures,
        })
    }

    fn run(&mut self, round: &Round, files: &Files) -> Result<Tally> {
        for worker in &mut self.workers {
            worker.tell(round)?;
        }
        let mut sum = Tally::default();
        for worker in &mut self.workers {
            sum.add(worker.hear()?);
        }
        self.acknowledged += sum.in_time() + sum.late;
        files.ensure_turns(self.figures.side, self.acknowledged)?;
        Ok(sum)
    }
}
