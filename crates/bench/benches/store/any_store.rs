//! A store whose side is chosen at run time.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use anyhow::Result;
use turnkeep_repo::TaskId;

use crate::data::Data;
use crate::operation::{Operation, PlainOutcome};
use crate::plain::{PlainSession, PlainTurn};
use crate::stats::quantile;
use crate::store::Store;

/// A store of any side. The loops are inside the methods, so that dynamic dispatch is not measured.
pub(crate) trait AnyStore {
    /// Times each run and returns the median in nanoseconds. The time excludes dropping the
    /// outcome.
    fn time_block(&mut self, op: &Operation, data: &Data, range: Range<usize>) -> Result<f64>;

    /// Runs the operation for a profiler, without timing it.
    fn repeat(&mut self, op: &Operation, data: &Data, range: Range<usize>) -> Result<()>;

    /// Runs the operation once and returns its outcome.
    fn outcome(&mut self, op: &Operation, data: &Data, index: usize) -> Result<PlainOutcome>;

    /// Returns the task's binding.
    fn session(&mut self, task: &TaskId) -> Result<PlainSession>;

    /// Returns all turns of the task in order.
    fn history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>>;
}

impl<S: Store> AnyStore for S {
    fn time_block(&mut self, op: &Operation, data: &Data, range: Range<usize>) -> Result<f64> {
        let mut nanos = Vec::with_capacity(range.len());
        for index in range {
            let start = Instant::now();
            let outcome = black_box(op.run(self, data, index)?);
            nanos.push(start.elapsed().as_secs_f64() * 1e9);
            drop(outcome);
        }
        Ok(quantile(&nanos, 0.5))
    }

    #[inline(never)]
    fn repeat(&mut self, op: &Operation, data: &Data, range: Range<usize>) -> Result<()> {
        for index in range {
            black_box(op.run(self, data, index)?);
        }
        Ok(())
    }

    fn outcome(&mut self, op: &Operation, data: &Data, index: usize) -> Result<PlainOutcome> {
        Ok(op.run(self, data, index)?.plain())
    }

    fn session(&mut self, task: &TaskId) -> Result<PlainSession> {
        Ok(self.get_session(task)?.into())
    }

    fn history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>> {
        let history = self.get_history(task)?;
        Ok(history.into_iter().map(Into::into).collect())
    }
}
