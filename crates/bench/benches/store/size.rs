//! The size of each part of a run.

use crate::operation::Operation;

pub(crate) struct Size {
    /// Blocks of a lone operation.
    pub(crate) blocks: usize,
    most_runs_per_block: usize,
    most_tasks: usize,
    most_turns: usize,
    /// The numbers of threads that append concurrently in one process.
    pub(crate) threads: &'static [usize],
    /// The number of processes that append concurrently, and of threads in each.
    pub(crate) processes: (usize, usize),
    /// The number of threads, and of tasks of tokio beside them.
    pub(crate) tokio: (usize, usize),
    /// Rounds of concurrent appends, and the length of each.
    pub(crate) rounds: usize,
    pub(crate) round_millis: u64,
    /// Turns of the history whose memory is measured.
    pub(crate) weighed_turns: usize,
    /// Generations of tasks after which a growing store is measured.
    pub(crate) generations: &'static [usize],
    /// Appends and reads of each kind at each generation.
    pub(crate) scale_runs: usize,
}

impl Size {
    /// The size of the published tables.
    pub(crate) const FULL: Self = Self {
        blocks: 60,
        most_runs_per_block: usize::MAX,
        most_tasks: usize::MAX,
        most_turns: usize::MAX,
        threads: &[1, 8, 32, 128],
        processes: (4, 8),
        tokio: (32, 1_000),
        rounds: 5,
        round_millis: 1_500,
        weighed_turns: 100_000,
        generations: &[3, 31, 312, 3_125],
        scale_runs: 1_000,
    };

    /// About a minute.
    pub(crate) const QUICK: Self = Self {
        blocks: 8,
        rounds: 2,
        round_millis: 300,
        generations: &[3, 31],
        ..Self::FULL
    };

    /// The smallest size, only to compare results.
    pub(crate) const TEST: Self = Self {
        blocks: 2,
        most_runs_per_block: 6,
        most_tasks: 3,
        most_turns: 20,
        threads: &[3],
        processes: (2, 2),
        tokio: (3, 9),
        rounds: 2,
        round_millis: 30,
        weighed_turns: 200,
        generations: &[1, 2],
        scale_runs: 3,
    };

    /// Returns the number of tasks for an operation.
    pub(crate) fn tasks(&self, operation: &Operation) -> usize {
        operation.tasks.min(self.most_tasks)
    }

    /// Returns the number of turns per task.
    pub(crate) fn turns(&self, operation: &Operation) -> usize {
        operation.turns.min(self.most_turns)
    }

    /// Returns the runs per block of an operation.
    pub(crate) fn runs_per_block(&self, operation: &Operation) -> usize {
        operation.runs_per_block.min(self.most_runs_per_block)
    }
}
