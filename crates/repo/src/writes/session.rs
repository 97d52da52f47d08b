use std::borrow::Cow;

use turnkeep_model::{NewSession, Session, SessionId, TaskId};

use super::{Write, check_text, now};
use crate::base::error::Result;
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::{Conn, query};

/// Binds a task to a session; returns the binding as stored.
pub(crate) struct SaveSession<'a> {
    pub(crate) task_id: Cow<'a, TaskId>,
    pub(crate) binding: Cow<'a, NewSession>,
}

impl Write for SaveSession<'_> {
    type Output = Session;
    type Owned = SaveSession<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("save_session", &self.task_id)
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<Session, QueryError> {
        let call = self.call();
        let now = now(clock, call.operation)?;
        query!(conn, session::save(call, &self.task_id, &self.binding, now))
    }

    fn into_owned(self) -> SaveSession<'static> {
        SaveSession {
            task_id: Cow::Owned(self.task_id.into_owned()),
            binding: Cow::Owned(self.binding.into_owned()),
        }
    }
}

/// Removes a binding if it still is that session; returns whether it did.
pub(crate) struct RetireSession<'a> {
    pub(crate) task_id: Cow<'a, TaskId>,
    pub(crate) session_id: Cow<'a, SessionId>,
    pub(crate) reason: Cow<'a, str>,
}

impl Write for RetireSession<'_> {
    type Output = bool;
    type Owned = RetireSession<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("retire_session", &self.task_id)
    }

    fn check(&self) -> Result<()> {
        check_text(self.call().operation, "reason", &self.reason)
    }

    fn bytes(&self) -> usize {
        self.reason.len()
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<bool, QueryError> {
        let now = now(clock, self.call().operation)?;
        query!(
            conn,
            session::retire(&self.task_id, &self.session_id, &self.reason, now)
        )
    }

    fn into_owned(self) -> RetireSession<'static> {
        RetireSession {
            task_id: Cow::Owned(self.task_id.into_owned()),
            session_id: Cow::Owned(self.session_id.into_owned()),
            reason: Cow::Owned(self.reason.into_owned()),
        }
    }
}
