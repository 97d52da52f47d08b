//! Retractions, which hide turns without changing them.

use diesel::prelude::*;
use turnkeep_model::Seq;
use turnkeep_schema::history_retractions as retractions;

use super::history::{hidden_ranges, last_seq, number};
use super::task::lock_task;
use super::{Conn, all_written, now};
use crate::base::hidden_turns::HiddenTurns;
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// Hides the turns after a turn; returns how many of them were visible.
pub(crate) struct HideAfter {
    pub(crate) target: Target,
    pub(crate) after: Option<Seq>,
}

impl Write<Conn> for HideAfter {
    type Output = i64;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("hide_after", &self.target.task_id)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<i64, QueryError> {
        let (call, task_id) = (self.call(), &self.target.task_id);
        lock_task(conn, call, &self.target)?;
        let (after, through) = (number(self.after), number(last_seq(conn, task_id)?));
        let ranges = hidden_ranges(conn, task_id)?;
        let next = ranges.len() as i64 + 1;
        let count = HiddenTurns::new(ranges).count_visible(after, through);
        if count > 0 {
            let inserted = diesel::insert_into(retractions::table)
                .values((
                    retractions::task_id.eq(task_id),
                    retractions::number.eq(next),
                    retractions::after_seq.eq(after),
                    retractions::through_seq.eq(through),
                    retractions::hidden_at.eq(now(clock, call.name)?),
                ))
                .execute(conn)?;
            all_written(inserted, 1, "history_retractions")?;
        }
        Ok(count)
    }
}
