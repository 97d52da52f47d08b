use std::borrow::Cow;

use turnkeep_model::{NewMessage, TaskId};

use super::{Write, check_text, now};
use crate::append_rules::Request;
use crate::base::error::Result;
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::Conn;
use crate::sqlite;

/// Appends messages, all or none; returns their seqs.
pub(crate) struct Append<'a> {
    operation: &'static str,
    task_id: Cow<'a, TaskId>,
    expected_last_seq: Option<i64>,
    fence: Option<i64>,
    messages: Cow<'a, [NewMessage<'a>]>,
}

impl<'a> Append<'a> {
    /// `operation` is the method that was called.
    pub(crate) fn new(
        operation: &'static str,
        task_id: &'a TaskId,
        expected_last_seq: Option<i64>,
        messages: &'a [NewMessage<'a>],
    ) -> Self {
        Self {
            operation,
            task_id: Cow::Borrowed(task_id),
            expected_last_seq,
            fence: None,
            messages: Cow::Borrowed(messages),
        }
    }

    /// Has it refused unless the task has this fence.
    pub(crate) fn fenced(mut self, fence: i64) -> Self {
        self.fence = Some(fence);
        self
    }
}

impl Append<'_> {
    fn request(&self) -> Request<'_> {
        Request {
            task_id: &self.task_id,
            expected: self.expected_last_seq,
            fence: self.fence,
            messages: &self.messages,
        }
    }
}

impl Write for Append<'_> {
    type Output = Vec<i64>;
    type Owned = Append<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task(self.operation, &self.task_id)
    }

    fn check(&self) -> Result<()> {
        self.messages
            .iter()
            .try_for_each(|message| check_text(self.operation, "content", &message.content))
    }

    fn may_fail_halfway(&self) -> bool {
        self.messages.len() > 1
    }

    fn bytes(&self) -> usize {
        self.messages
            .iter()
            .map(|message| message.content.len())
            .sum()
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<Vec<i64>, QueryError> {
        let now = || now(clock, self.operation);
        match conn {
            Conn::Sqlite(conn) => sqlite::append(conn, self.call(), self.request(), now),
            #[cfg(feature = "postgres")]
            Conn::Postgres(link) => link.append(self.call(), self.request(), now),
        }
    }

    #[cfg(feature = "postgres")]
    fn as_append(&self) -> Option<Request<'_>> {
        Some(self.request())
    }

    fn into_owned(self) -> Append<'static> {
        let messages = self.messages.into_owned();
        Append {
            operation: self.operation,
            task_id: Cow::Owned(self.task_id.into_owned()),
            expected_last_seq: self.expected_last_seq,
            fence: self.fence,
            messages: messages.into_iter().map(NewMessage::into_owned).collect(),
        }
    }
}
