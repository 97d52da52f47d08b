//! All sides in turn, round by round.

use anyhow::Result;

use super::tally::{Round, Tally};
use crate::files::Files;
use crate::plan::Plan;
use crate::side::Side;
use crate::stats::{quartiles, ratios};
use crate::worker::{Job, Worker};

/// The results of a side's rounds. Rounds with the same index ran next to each other.
pub(crate) struct Figures {
    pub(crate) side: Side,
    /// Acknowledged appends per second of each round.
    rates: Vec<f64>,
    fairness: Vec<f64>,
    waits: Vec<f64>,
    pub(crate) errors: u64,
    pub(crate) error: Option<String>,
    /// The mean batch of the last round, where the side reports it.
    pub(crate) batch: Option<f64>,
}

impl Figures {
    /// Returns the quartiles of the appends per second.
    pub(crate) fn rate(&self) -> [f64; 3] {
        quartiles(&self.rates)
    }

    /// Returns the quartiles of the ratio of this side's rate to another's.
    pub(crate) fn ratios(&self, other: &Self) -> [f64; 3] {
        ratios(&self.rates, &other.rates)
    }

    /// Returns the appends of the slowest caller divided by the appends of the fastest, as a mean over
    /// the rounds.
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

/// The processes of a side, and the appends they acknowledged so far.
struct Runner {
    workers: Vec<Worker>,
    acknowledged: u64,
    figures: Figures,
}

/// Appends with each side's number of callers in each of `processes` processes to one file, each caller to its
/// own task. Ensures after each round that the file contains exactly the acknowledged appends.
pub(crate) fn measure(
    callers: &[(Side, usize)],
    processes: usize,
    plan: &Plan,
) -> Result<Vec<Figures>> {
    let (sides, counts): (Vec<_>, Vec<_>) = callers.iter().copied().unzip();
    let tasks = processes * counts.into_iter().max().unwrap_or(0);
    let files = Files::create(&plan.folder, &sides, tasks, 0)?;
    let mut runners = Vec::new();
    for (side, threads) in callers {
        runners.push(Runner::start(*side, processes, *threads, &files)?);
    }
    let mut round = Round {
        millis: plan.size.round_millis / 5,
        batch: 1.0,
    };
    // The first round is a warm-up and gives the raw side its first batch size.
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
        // Alternate the order, since each side finds the disk as the previous one left it.
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
