//! Finds the turns that other processes have appended.
//!
//! The server notifies a session only when it is asked for notifications, and libpq's socket can't be waited
//! for without `unsafe`. So the session is asked at intervals, which costs a read from the socket without a round
//! trip. Behind a pooler there is no session to notify, and each look is a query.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Text};
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;
use turnkeep_model::TaskId;

use super::connection::{Connection, ConnectionConfig};
use super::ops::history::last_seqs;
use super::transaction::Transaction;
use crate::base::deadline::Deadline;
use crate::base::error::Source;
use crate::commit::subscribers::{LOOK_INTERVAL, Subscribers};

/// How long after a look the next one is due where each look is a query.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// After this time the turns are read without a notification. A transaction that inserted before the session
/// listened notifies nobody, and neither does the deletion of a task.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// For this time after a notification each look reads the turns. Of several appends that commit at the same moment one
/// notifies, and the others may commit just after the read that follows.
const SETTLING: Duration = Duration::from_millis(300);

/// Locks what makes appends to these tasks notify, until the session ends or unlocks it.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_lock_shared(\
    'conversation_history'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int4, part) \
    FROM (SELECT DISTINCT pg_catalog.hashtext(id) OPERATOR(pg_catalog.&) 63 AS part \
    FROM pg_catalog.unnest($1) AS followed (id)) AS parts";

/// When a connection that no longer looks is closed. Until then its locks make appends notify.
const LINGER: Duration = Duration::from_secs(3);

/// The connection that looks. Open while callers wait for turns, and for a moment longer.
#[derive(Default)]
pub(super) struct Watcher {
    listener: Option<Listener>,
    /// Whether the thread of the pools closes it.
    will_close: bool,
}

struct Listener {
    connection: Connection,
    /// The tasks whose appends notify.
    locked: HashSet<TaskId>,
    /// When it was last notified.
    notified_at: Option<Instant>,
    /// When it last read the seqs.
    read_at: Option<Instant>,
}

impl Watcher {
    /// Whether a look would read no seqs. Sends nothing to the server.
    pub(super) fn is_quiet(&mut self, subscribers: &Subscribers) -> bool {
        self.listener.as_mut().is_some_and(|listener| {
            listener.connection.has_session()
                && listener.connection.is_current()
                && listener.is_silent().is_ok_and(|is_silent| is_silent)
                && (subscribers.tasks().iter()).all(|task_id| listener.locked.contains(task_id))
        })
    }

    /// Wakes the subscribers of tasks that have new turns or are deleted. Returns the time until the next look.
    /// After an error the next look connects to the server that accepts writes by then.
    pub(super) fn look(
        &mut self,
        config: &Arc<ConnectionConfig>,
        subscribers: &Subscribers,
    ) -> Result<Duration, Source> {
        let listener = self.listener.take();
        let mut listener = match listener.filter(|it| it.connection.is_current()) {
            Some(listener) => listener,
            None => Listener::connect(config)?,
        };
        let task_ids = subscribers.tasks();
        if listener.is_due(&task_ids)? {
            let deadline = Deadline::after(config.builder.timeout);
            let mut transaction = Transaction::read(&mut listener.connection, deadline)?;
            let last_seqs = last_seqs(transaction.conn(), &task_ids)?;
            drop(transaction);
            subscribers.wake_if(|task_id, after| last_seqs.get(task_id) != Some(&after));
            listener.read_at = Some(Instant::now());
        }
        let interval = match listener.connection.has_session() {
            true => LOOK_INTERVAL,
            false => POLL_INTERVAL,
        };
        self.listener = Some(listener);
        Ok(interval)
    }

    /// Closes the connection, on the thread of the pools, when there has been no look for a while.
    pub(super) fn close_later(watcher: &Arc<Mutex<Self>>, thread: &ScheduledThreadPool) {
        if mem::replace(&mut watcher.lock().will_close, true) {
            return;
        }
        let watcher = Arc::downgrade(watcher);
        thread.execute_with_dynamic_delay(LINGER, move || {
            let watcher = watcher.upgrade()?;
            let Some(mut watcher) = watcher.try_lock() else {
                return Some(LINGER);
            };
            // A connection that looks reads at least once a second.
            let read_at = watcher.listener.as_ref().and_then(|it| it.read_at);
            if read_at.is_some_and(|time| time.elapsed() < LINGER) {
                return Some(LINGER);
            }
            *watcher = Self::default();
            None
        });
    }
}

impl Listener {
    fn connect(config: &Arc<ConnectionConfig>) -> Result<Self, Source> {
        let mut connection = Connection::open(Arc::clone(config))?;
        if connection.has_session() {
            connection.conn().batch_execute("LISTEN turnkeep")?;
        }
        Ok(Self {
            connection,
            locked: HashSet::new(),
            notified_at: None,
            read_at: None,
        })
    }

    /// Whether no notification has come lately, and the seqs were read not long ago.
    fn is_silent(&mut self) -> QueryResult<bool> {
        for notification in self.connection.conn().notifications_iter() {
            notification?;
            self.notified_at = Some(Instant::now());
        }
        let is_within =
            |time: Option<Instant>, span| time.is_some_and(|time| time.elapsed() < span);
        Ok(is_within(self.read_at, LONGEST_SILENCE) && !is_within(self.notified_at, SETTLING))
    }

    /// Returns whether these tasks may have new turns, and lets later appends to them notify.
    fn is_due(&mut self, task_ids: &[TaskId]) -> QueryResult<bool> {
        if !self.connection.has_session() {
            return Ok(true);
        }
        let mut is_due = !self.is_silent()?;
        let conn = self.connection.conn();
        if is_due && self.locked.len() > task_ids.len() {
            conn.batch_execute("SELECT pg_catalog.pg_advisory_unlock_all()")?;
            self.locked.clear();
        }
        let is_new = |task_id: &&TaskId| !self.locked.contains(*task_id);
        let new: Vec<_> = task_ids.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            sql_query(LOCK).bind::<Array<Text>, _>(&new).execute(conn)?;
            self.locked.extend(new);
            is_due = true;
        }
        Ok(is_due)
    }
}
