use turnkeep_model::TaskId;

use super::{Conn, history, session};
use crate::base::conversation::Conversation;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

pub(crate) fn read(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
) -> Result<Conversation, QueryError> {
    Ok(Conversation {
        turns: history::page(conn, call, task_id, None, i64::MAX, false)?,
        revisions: session::list_revisions(conn, task_id)?,
    })
}
