use std::borrow::Cow;

use turnkeep_model::{ConversationTurn, TaskId};

use super::Write;
use crate::admin::copy::{CopiedRows, OPERATION, Seen};
use crate::base::operation::{Call, Place};
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::{Conn, query};
use crate::sqlite;

fn call() -> Call<'static> {
    Call::on_store(OPERATION).at(Place::Destination)
}

/// Makes tasks what they are at the source, with their sessions; returns what was written.
pub(crate) struct TakeOverTasks<'a> {
    pub(crate) tasks: Cow<'a, [Seen]>,
}

impl Write for TakeOverTasks<'_> {
    type Output = CopiedRows;
    type Owned = TakeOverTasks<'static>;

    fn call(&self) -> Call<'_> {
        call()
    }

    fn bytes(&self) -> usize {
        let texts = |seen: &Seen| seen.source.row.prompt.len() + seen.source.row.name.len();
        self.tasks.iter().map(texts).sum()
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<CopiedRows, QueryError> {
        query!(conn, copy::take_over_tasks(self.call(), &self.tasks))
    }

    fn into_owned(self) -> TakeOverTasks<'static> {
        TakeOverTasks {
            tasks: Cow::Owned(self.tasks.into_owned()),
        }
    }
}

/// Adds dependencies, each a task and one that it waits for; returns how many were missing.
pub(crate) struct TakeOverDependencies<'a> {
    pub(crate) pairs: Cow<'a, [(TaskId, TaskId)]>,
}

impl Write for TakeOverDependencies<'_> {
    type Output = u64;
    type Owned = TakeOverDependencies<'static>;

    fn call(&self) -> Call<'_> {
        call()
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<u64, QueryError> {
        query!(conn, copy::take_over_dependencies(self.call(), &self.pairs))
    }

    fn into_owned(self) -> TakeOverDependencies<'static> {
        TakeOverDependencies {
            pairs: Cow::Owned(self.pairs.into_owned()),
        }
    }
}

/// Appends turns as they are at the source, those of one task after those of another.
pub(crate) struct TakeOverTurns<'a> {
    pub(crate) turns: Cow<'a, [ConversationTurn]>,
}

impl Write for TakeOverTurns<'_> {
    type Output = ();
    type Owned = TakeOverTurns<'static>;

    fn call(&self) -> Call<'_> {
        call()
    }

    fn bytes(&self) -> usize {
        self.turns.iter().map(|turn| turn.content.len()).sum()
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<(), QueryError> {
        take_over_turns(conn, self.call(), &self.turns)
    }

    fn into_owned(self) -> TakeOverTurns<'static> {
        TakeOverTurns {
            turns: Cow::Owned(self.turns.into_owned()),
        }
    }
}

/// Appends turns as they are at the source, those of one task after those of another.
pub(crate) fn take_over_turns(
    conn: Conn<'_>,
    call: Call<'_>,
    turns: &[ConversationTurn],
) -> Result<(), QueryError> {
    match conn {
        Conn::Sqlite(conn) => sqlite::take_over(conn, call, turns),
        #[cfg(feature = "postgres")]
        Conn::Postgres(link) => crate::postgres::append::take_over(link.conn(), call, turns),
    }
}
