//! Finds the turns that other processes have appended.
//!
//! The server notifies a session only when it is asked for notifications, and libpq's socket can't be waited
//! for without `unsafe`. So the session is asked at intervals, which costs a read from the socket without a round
//! trip. Behind a pooler there is no session to notify, and each look is a query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;

use super::connection::{Connection, ConnectionConfig};
use super::ops::history::last_seqs;
use super::transaction::Transaction;
use crate::base::deadline::Deadline;
use crate::base::error::Source;
use crate::commit::subscribers::Subscribers;

/// How long after a look the next one is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The same where each look is a query.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// After this time the turns are read without a notification. A transaction that inserted before the session
/// listened notifies nobody, and neither does the deletion of a task.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// Asks for notifications, and locks what makes appends notify. Both end with the session.
const LISTEN: &str = "LISTEN turnkeep; SELECT pg_catalog.pg_advisory_lock_shared(\
    'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4, \
    'conversation_history'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4)";

/// The connection that looks. Open from the first look on.
#[derive(Default)]
pub(super) struct Watcher(Option<Listener>);

struct Listener {
    connection: Connection,
    /// When it last read the seqs.
    read_at: Instant,
}

impl Watcher {
    /// Wakes the subscribers for which there are turns, and those whose task is gone. Returns the time until the
    /// next look. After an error the next look connects to the server that accepts writes by then.
    pub(super) fn look(
        &mut self,
        config: &Arc<ConnectionConfig>,
        subscribers: &Subscribers,
    ) -> Result<Duration, Source> {
        let listener = self.0.take();
        let (mut connection, read_at) = match listener.filter(|it| it.connection.is_current()) {
            Some(listener) => (listener.connection, Some(listener.read_at)),
            None => (listen(config)?, None),
        };
        let interval = match connection.has_session() {
            true => LOOK_INTERVAL,
            false => POLL_INTERVAL,
        };
        let mut is_due = read_at.is_none_or(|read_at| read_at.elapsed() >= LONGEST_SILENCE);
        is_due |= !connection.has_session();
        for notification in connection.conn().notifications_iter() {
            notification?;
            is_due = true;
        }
        let read_at = match read_at {
            Some(read_at) if !is_due => read_at,
            _ => {
                let task_ids = subscribers.tasks();
                let deadline = Deadline::after(config.builder.timeout);
                let mut transaction = Transaction::read(&mut connection, deadline)?;
                let last_seqs = last_seqs(transaction.conn(), &task_ids)?;
                drop(transaction);
                subscribers.wake_if(|task_id, after| last_seqs.get(task_id) != Some(&after));
                Instant::now()
            }
        };
        self.0 = Some(Listener {
            connection,
            read_at,
        });
        Ok(interval)
    }
}

fn listen(config: &Arc<ConnectionConfig>) -> Result<Connection, Source> {
    let mut connection = Connection::open(Arc::clone(config))?;
    if connection.has_session() {
        connection.conn().batch_execute(LISTEN)?;
    }
    Ok(connection)
}
