//! How much is run.

use crate::operation::Operation;

/// How much of each part is run.
pub(crate) struct Size {
    /// Blocks of a lone operation.
    pub(crate) blocks: usize,
    most_runs_per_block: usize,
    most_tasks: usize,
    most_turns: usize,
    /// How many threads append at once in one process.
    pub(crate) threads: &'static [usize],
    /// How many processes append at once, and how many threads in each.
    pub(crate) processes: (usize, usize),
    /// Rounds of concurrent appends, and how long each takes.
    pub(crate) rounds: usize,
    pub(crate) round_millis: u64,
    /// Turns of the history whose reading is weighed.
    pub(crate) weighed_turns: usize,
    /// Generations of tasks after which a growing store is looked at.
    pub(crate) generations: &'static [usize],
    /// Appends, and reads, of each kind at each of these.
    pub(crate) scale_runs: usize,
}

impl Size {
    /// What the documents show.
    pub(crate) const FULL: Self = Self {
        blocks: 60,
        most_runs_per_block: usize::MAX,
        most_tasks: usize::MAX,
        most_turns: usize::MAX,
        threads: &[1, 8, 32, 128],
        processes: (4, 8),
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

    /// As little as possible, only to compare what the sides end up with.
    pub(crate) const TEST: Self = Self {
        blocks: 2,
        most_runs_per_block: 6,
        most_tasks: 3,
        most_turns: 20,
        threads: &[3],
        processes: (2, 2),
        rounds: 2,
        round_millis: 30,
        weighed_turns: 200,
        generations: &[1, 2],
        scale_runs: 3,
    };

    /// Returns how many tasks there are for an operation.
    pub(crate) fn tasks(&self, operation: &Operation) -> usize {
        operation.tasks.min(self.most_tasks)
    }

    /// Returns how many turns each of them has.
    pub(crate) fn turns(&self, operation: &Operation) -> usize {
        operation.turns.min(self.most_turns)
    }

    /// Returns how often an operation is run in a block.
    pub(crate) fn runs_per_block(&self, operation: &Operation) -> usize {
        operation.runs_per_block.min(self.most_runs_per_block)
    }
}
