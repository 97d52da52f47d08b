use std::borrow::Cow;

use turnkeep_model::{NewTask, StatusUpdate, TaskId};

use super::{Write, check_text, now};
use crate::base::error::Result;
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::{Conn, query};

/// Saves what a task is.
pub(crate) struct SaveTask<'a> {
    pub(crate) task: Cow<'a, NewTask>,
}

impl Write for SaveTask<'_> {
    type Output = ();
    type Owned = SaveTask<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("save_task", &self.task.id)
    }

    fn check(&self) -> Result<()> {
        let check = |field, text| check_text(self.call().operation, field, text);
        check("name", &self.task.name)?;
        check("prompt", &self.task.prompt)?;
        check(
            "agent role",
            self.task.agent_role.as_deref().unwrap_or_default(),
        )?;
        self.task
            .writes_files
            .iter()
            .try_for_each(|file| check("file name", file))
    }

    fn bytes(&self) -> usize {
        self.task.name.len() + self.task.prompt.len()
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<(), QueryError> {
        let call = self.call();
        let now = now(clock, call.operation)?;
        query!(conn, task::save(call, &self.task, now))
    }

    fn into_owned(self) -> SaveTask<'static> {
        SaveTask {
            task: Cow::Owned(self.task.into_owned()),
        }
    }
}

/// Writes how far a task has come.
pub(crate) struct UpdateTaskStatus<'a> {
    pub(crate) id: Cow<'a, TaskId>,
    pub(crate) update: StatusUpdate,
}

impl Write for UpdateTaskStatus<'_> {
    type Output = ();
    type Owned = UpdateTaskStatus<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("update_task_status", &self.id)
    }

    fn check(&self) -> Result<()> {
        let check = |field, text: &Option<String>| {
            check_text(
                self.call().operation,
                field,
                text.as_deref().unwrap_or_default(),
            )
        };
        check("result", &self.update.result)?;
        check("error", &self.update.error)
    }

    fn may_fail_halfway(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        length(&self.update.result) + length(&self.update.error)
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<(), QueryError> {
        let call = self.call();
        let now = now(clock, call.operation)?;
        query!(conn, task::update_status(call, &self.id, &self.update, now))
    }

    fn into_owned(self) -> UpdateTaskStatus<'static> {
        UpdateTaskStatus {
            id: Cow::Owned(self.id.into_owned()),
            update: self.update,
        }
    }
}

/// Sets a task running if nobody else has; returns whether it did.
pub(crate) struct ClaimTask<'a> {
    pub(crate) id: Cow<'a, TaskId>,
}

impl Write for ClaimTask<'_> {
    type Output = bool;
    type Owned = ClaimTask<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("claim_task", &self.id)
    }

    fn may_fail_halfway(&self) -> bool {
        false
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<bool, QueryError> {
        let call = self.call();
        let now = now(clock, call.operation)?;
        query!(conn, task::claim(call, &self.id, now))
    }

    fn into_owned(self) -> ClaimTask<'static> {
        ClaimTask {
            id: Cow::Owned(self.id.into_owned()),
        }
    }
}

/// Sets every running task pending; returns their ids.
pub(crate) struct RequeueRunning;

impl Write for RequeueRunning {
    type Output = Vec<TaskId>;
    type Owned = Self;

    fn call(&self) -> Call<'_> {
        Call::on_store("requeue_running")
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<Vec<TaskId>, QueryError> {
        let now = now(clock, self.call().operation)?;
        query!(conn, task::requeue_running(now))
    }

    fn into_owned(self) -> Self {
        self
    }
}

/// Deletes a task with everything under it; returns whether there was one.
pub(crate) struct DeleteTask<'a> {
    pub(crate) id: Cow<'a, TaskId>,
}

impl Write for DeleteTask<'_> {
    type Output = bool;
    type Owned = DeleteTask<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("delete_task", &self.id)
    }

    fn may_fail_halfway(&self) -> bool {
        false
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<bool, QueryError> {
        query!(conn, task::delete(&self.id))
    }

    fn into_owned(self) -> DeleteTask<'static> {
        DeleteTask {
            id: Cow::Owned(self.id.into_owned()),
        }
    }
}
