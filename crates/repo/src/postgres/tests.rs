//! Tests that need access to internals, or a server that misbehaves.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{
    BackendType, MessageKey, NewMessage, NewSession, NewTask, Role, Seq, SessionId, TaskId,
    UtcMicros, WorkerId,
};
use turnkeep_test_postgres::{Database, Server};

use super::Conn;
use super::address::Address;
use super::append::append_by_function;
use super::connection::{Connection, ConnectionConfig, MAX_SILENCE};
use super::error::PostgresErrors;
use super::ops::append::Append;
use super::writer::Postgres;
use crate::Repo;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind};
use crate::base::operation::Operation;
use crate::base::options::Durability;
use crate::base::query_error::{Classify, ErrorClass};
use crate::base::schema_state::later;
use crate::base::target::Target;
use crate::commit::engine::Engine;
use crate::store::query;

fn database() -> Database {
    Server::shared().unwrap().database().unwrap()
}

fn open_with_task(url: &str) -> (Repo, TaskId) {
    let repo = Repo::open(url).unwrap();
    (repo.clone(), save_task(&repo, "t"))
}

fn save_task(repo: &Repo, id: &str) -> TaskId {
    let task = TaskId::new(id).unwrap();
    repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    task
}

fn contents(repo: &Repo, task: &TaskId) -> Vec<String> {
    let history = repo.get_history(task).unwrap();
    history.into_iter().map(|turn| turn.content).collect()
}

/// Waits until a query gives this answer.
fn wait_for(database: &Database, query: &str, answer: &str) {
    while database.psql(query).unwrap().trim() != answer {
        thread::sleep(Duration::from_millis(2));
    }
}

fn kind(result: Result<(), DieselError>) -> ErrorClass {
    PostgresErrors::class(&result.unwrap_err())
}

/// Provokes each text by which errors are classified.
#[test]
fn the_server_still_uses_these_words() {
    let database = database();
    let connect = || Conn::establish(&database.url()).unwrap();
    let (mut conn, mut other) = (connect(), connect());
    conn.batch_execute("CREATE TABLE t (x INT PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
        .unwrap();

    other
        .batch_execute("BEGIN; UPDATE t SET x = 1 WHERE x = 1")
        .unwrap();
    conn.batch_execute("BEGIN; SET LOCAL lock_timeout = 1")
        .unwrap();
    let locked = conn.batch_execute("UPDATE t SET x = 1 WHERE x = 1");
    assert_eq!(kind(locked), ErrorClass::Busy);
    conn.batch_execute("ROLLBACK").unwrap();

    conn.batch_execute("SET deadlock_timeout = '10ms'; BEGIN; UPDATE t SET x = 2 WHERE x = 2")
        .unwrap();
    let ends = thread::scope(|scope| {
        let waiting = scope.spawn(|| other.batch_execute("UPDATE t SET x = 2 WHERE x = 2"));
        let ends = [conn.batch_execute("UPDATE t SET x = 1 WHERE x = 1")];
        // The survivor releases the lock that the other one waits for.
        conn.batch_execute("ROLLBACK").unwrap();
        ends.into_iter()
            .chain([waiting.join().unwrap()])
            .collect::<Vec<_>>()
    });
    let deadlocked = ends.into_iter().filter_map(Result::err);
    let kinds: Vec<ErrorClass> = deadlocked
        .map(|error| PostgresErrors::class(&error))
        .collect();
    assert_eq!(kinds, [ErrorClass::Busy]);
    other.batch_execute("ROLLBACK").unwrap();

    conn.batch_execute("SET statement_timeout = 1").unwrap();
    assert_eq!(
        kind(conn.batch_execute("SELECT pg_sleep(10)")),
        ErrorClass::Busy
    );
    conn.batch_execute("RESET statement_timeout; SET default_transaction_read_only = on")
        .unwrap();
    assert_eq!(kind(conn.batch_execute("DELETE FROM t")), ErrorClass::Lost);
    conn.batch_execute("RESET default_transaction_read_only")
        .unwrap();

    conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t")
        .unwrap();
    other
        .batch_execute("UPDATE t SET x = 3 WHERE x = 2")
        .unwrap();
    let stale = conn.batch_execute("UPDATE t SET x = 4 WHERE x = 2");
    assert_eq!(kind(stale), ErrorClass::Busy);
    conn.batch_execute("ROLLBACK").unwrap();
    assert_eq!(
        kind(conn.batch_execute("INSERT INTO t VALUES (1)")),
        ErrorClass::Busy
    );
    assert_eq!(kind(conn.batch_execute("no sql")), ErrorClass::Other);

    conn.batch_execute("SET ROLE pg_monitor").unwrap();
    assert_eq!(
        kind(conn.batch_execute("SELECT * FROM t")),
        ErrorClass::Denied
    );
    assert_eq!(kind(conn.batch_execute("DROP TABLE t")), ErrorClass::Denied);
    conn.batch_execute("RESET ROLE").unwrap();

    terminate_all(&database);
    assert_eq!(kind(conn.batch_execute("SELECT 1")), ErrorClass::Lost);
    assert_eq!(
        kind(conn.batch_execute("SELECT 1")),
        ErrorClass::Lost,
        "and stays so"
    );
}

/// Ends all other sessions of the database.
fn terminate_all(database: &Database) {
    database
        .psql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .unwrap();
}

#[test]
fn lost_connections_are_replaced_without_a_word() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let binding = NewSession::new(BackendType::Claude, SessionId::new("a").unwrap());
    for round in 1..=5 {
        assert_eq!(
            repo.save_message(&task, Role::User, "x").unwrap(),
            round * 2 - 1
        );
        terminate_all(&database);
        assert_eq!(repo.count_history(&task).unwrap(), round * 2 - 1);
        terminate_all(&database);
        repo.save_session(&task, &binding).unwrap();
        terminate_all(&database);
        assert_eq!(repo.get_task(&task).unwrap().id, task);
        assert_eq!(
            repo.save_message(&task, Role::User, "y").unwrap(),
            round * 2
        );
    }
}

/// A commit that waits for a standby is cut off. Only the server knows its outcome.
#[test]
fn a_commit_that_is_cut_off_is_of_unknown_outcome() {
    let server = Server::start(&[]).unwrap();
    let database = server.database().unwrap();
    let (repo, task) = open_with_task(&database.url());
    let hang = |is_on: bool| {
        let standby = if is_on { "nobody" } else { "" };
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'");
        database.psql(&set).unwrap();
        database.psql("SELECT pg_reload_conf()").unwrap();
        wait_for(&database, "SHOW synchronous_standby_names", standby);
    };
    let keyed = |key: &str| {
        let key = MessageKey::new(key).unwrap();
        [NewMessage::new(Role::User, "said once").key(key)]
    };
    let binding = NewSession::new(BackendType::Claude, SessionId::new("a").unwrap());
    type Writing<'a> = &'a (dyn Fn() -> Result<(), Error> + Sync);
    let writes: [(&str, Writing<'_>); 4] = [
        ("one statement", &|| {
            repo.save_messages(&task, &keyed("a")).map(drop)
        }),
        ("a transaction", &|| {
            repo.save_messages_after(&task, Some(Seq::MIN), &keyed("b"))
                .map(drop)
        }),
        ("another write", &|| {
            repo.save_session(&task, &binding).map(drop)
        }),
        ("several writes", &|| {
            repo.transaction(|tx| {
                tx.save_session(&task, &binding)?;
                tx.save_messages(&task, &keyed("c")).map(drop)
            })
        }),
    ];
    for (name, write) in writes {
        hang(true);
        let error = thread::scope(|scope| {
            let writing = scope.spawn(write);
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                AND datname = current_database()";
            wait_for(&database, waiting, "1");
            terminate_all(&database);
            writing.join().unwrap().unwrap_err()
        });
        assert!(
            matches!(error.kind(), ErrorKind::OutcomeUnknown),
            "{name}: {error:?}"
        );
        assert!(error.may_be_stored(), "{name}");
        assert!(!error.is_retryable(), "{name}");
        hang(false);
    }
    // A key makes the repeat safe, whatever had become of it.
    assert_eq!(repo.save_messages(&task, &keyed("a")).unwrap(), [1]);
    assert_eq!(repo.save_messages(&task, &keyed("b")).unwrap(), [2]);
    assert_eq!(repo.save_messages(&task, &keyed("c")).unwrap(), [3]);
    assert_eq!(contents(&repo, &task), ["said once"; 3]);
}

/// The code of a transaction runs once, so the caller repeats it.
#[test]
fn a_server_that_is_lost_in_a_transaction_has_stored_nothing() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let result = repo.transaction(|tx| {
        tx.save_message(&task, Role::User, "x")?;
        terminate_all(&database);
        let lost = tx.save_message(&task, Role::User, "y").unwrap_err();
        assert_eq!(*lost.kind(), ErrorKind::Unavailable);
        let ended = tx.count_history(&task).unwrap_err();
        assert_eq!(*ended.kind(), ErrorKind::Unavailable);
        Ok(())
    });
    let error: Error = result.unwrap_err();
    assert_eq!(error.operation(), "transaction");
    assert!(error.is_retryable() && !error.may_be_stored(), "{error:?}");
    let repeated = repo.transaction(|tx| tx.save_message(&task, Role::User, "x"));
    assert_eq!(repeated.unwrap(), 1);
}

#[test]
fn a_read_has_no_unknown_outcome() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let call = Operation::on_task("read", &task);
    let read = repo.store.read_snapshot(call, |conn| {
        let last_seq = query!(conn, history::last_seq(&task))?;
        terminate_all(&database);
        let sessions = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        wait_for(&database, sessions, "0");
        Ok(last_seq)
    });
    assert_eq!(read.unwrap(), None, "read in one transaction");
    assert!(repo.get_history(&task).unwrap().is_empty());
}

/// Another program keeps one task locked. Appends to that task wait. Appends to other tasks do not, although
/// all of them share one queue.
#[test]
fn a_locked_task_does_not_delay_appends_to_others() {
    let database = database();
    let (repo, taken) = open_with_task(&database.url());
    let free: Vec<TaskId> = (0..4)
        .map(|n| save_task(&repo, &format!("free-{n}")))
        .collect();
    let mut other = Conn::establish(&database.url()).unwrap();
    let lock = "BEGIN; SELECT 1 FROM tasks WHERE id = 't' FOR NO KEY UPDATE";
    other.batch_execute(lock).unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let (repo, taken) = (&repo, &taken);
                scope.spawn(move || repo.save_message(taken, Role::User, &n.to_string()))
            })
            .collect();
        let going_on: Vec<_> = free
            .iter()
            .map(|task| {
                let repo = &repo;
                scope.spawn(move || {
                    for _ in 0..50 {
                        repo.save_message(task, Role::User, "x").unwrap();
                    }
                })
            })
            .collect();
        going_on
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(repo.count_history(&taken).unwrap(), 0);
        other.batch_execute("ROLLBACK").unwrap();
        let mut seqs: Vec<Seq> = waiting
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 2, 3, 4]);
    });
}

/// Transactions that notify commit one after the other. So of the appends that commit at the same moment one notifies.
/// An open transaction may commit much later, and always notifies.
#[test]
fn appends_leave_the_notification_to_the_one_that_commits() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let other = save_task(&repo, "other");
    let mut listener = Conn::establish(&database.url()).unwrap();
    let part = "hashtext('t') & 63";
    let table = "'conversation_history'::regclass::oid::integer";
    listener
        .batch_execute(&format!(
            "LISTEN turnkeep; SELECT pg_advisory_lock_shared({table}, {part})"
        ))
        .unwrap();
    let mut notifications = || {
        listener.batch_execute("SELECT 1").unwrap();
        listener.notifications_iter().count()
    };
    let append = |task: &TaskId| repo.save_message(task, Role::User, "x").unwrap();
    append(&task);
    assert_eq!(notifications(), 1);
    append(&other);
    assert_eq!(notifications(), 0, "no follower");

    let mut committing = Conn::establish(&database.url()).unwrap();
    let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({table}, 64)");
    committing.batch_execute(&lock).unwrap();
    append(&task);
    assert_eq!(notifications(), 0);
    repo.transaction(|tx| tx.save_message(&task, Role::User, "x"))
        .unwrap();
    assert_eq!(notifications(), 1);
    committing.batch_execute("COMMIT").unwrap();

    let appended = repo.transaction(|tx| {
        tx.save_message(&task, Role::User, "x")?;
        let others = save_task(&repo, "third");
        assert_eq!(notifications(), 0, "not committed");
        Ok::<_, Error>(others)
    });
    appended.unwrap();
    assert_eq!(notifications(), 1);
}

/// Its lock would make every later append to the task notify.
#[test]
fn the_lock_of_a_follower_ends_after_it() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())";
    thread::scope(|scope| {
        scope.spawn(|| repo.wait_for_turns(&task, None, Duration::MAX));
        wait_for(&database, locks, "1");
        repo.save_message(&task, Role::User, "x").unwrap();
    });
    let mut other = Conn::establish(&database.url()).unwrap();
    other
        .batch_execute(
            "SET statement_timeout = '60s'; SELECT pg_advisory_lock( \
             'conversation_history'::regclass::oid::integer, hashtext('t') & 63)",
        )
        .unwrap();
}

#[test]
fn a_task_that_stays_taken_is_busy_after_the_timeout() {
    let database = database();
    let (_, task) = open_with_task(&database.url());
    let timeout = Duration::from_millis(100);
    let repo = Repo::builder(database.url())
        .timeout(timeout)
        .open()
        .unwrap();
    let mut other = Conn::establish(&database.url()).unwrap();
    let lock = "BEGIN; SELECT 1 FROM tasks FOR UPDATE";
    other.batch_execute(lock).unwrap();
    let binding = NewSession::new(BackendType::Claude, SessionId::new("a").unwrap());
    for error in [
        repo.save_message(&task, Role::User, "lost").unwrap_err(),
        repo.save_session(&task, &binding).unwrap_err(),
        repo.delete_task(&task).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
    // Readers wait only for a change of the tables, and for no longer than the timeout.
    assert!(repo.get_history(&task).unwrap().is_empty());
    other
        .batch_execute("ROLLBACK; BEGIN; LOCK TABLE conversation_history")
        .unwrap();
    let error = repo.get_history(&task).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(repo.save_message(&task, Role::User, "stored").unwrap(), 1);
}

/// A statement that is not cached would be parsed and planned for every append.
#[test]
fn the_append_statement_is_prepared_once() {
    let database = database();
    let (_, task) = open_with_task(&database.url());
    let mut conn = Conn::establish(&database.url()).unwrap();
    for seq in 1..=3 {
        let messages = [NewMessage::new(Role::User, "x")];
        let mut append = Append::new("save_message", Target::new(&task, None), &messages);
        let now = || Ok(UtcMicros::new(chrono::Utc::now()).unwrap());
        let seqs = append_by_function(&mut conn, 1, &[&mut append], now).unwrap();
        assert_eq!(seqs, [[seq]]);
    }
    let prepared = "(SELECT count(*) FROM pg_prepared_statements \
        WHERE statement LIKE '%turnkeep_append%' AND generic_plans + custom_plans = 3)";
    let prepared: i64 = diesel::select(sql::<BigInt>(prepared))
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(prepared, 1);
}

/// Refused appends of a batch do not fail the others.
#[test]
fn appends_that_share_a_statement_keep_their_own_outcomes() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let key = |key: &str| MessageKey::new(key).unwrap();
    let message = |text: &'static str| NewMessage::new(Role::User, text);
    repo.save_messages(&task, &[message("first").key(key("k"))])
        .unwrap();
    let missing = TaskId::new("missing").unwrap();
    let mut other = Conn::establish(&database.url()).unwrap();
    // The leader waits for this lock, and the other appends queue up behind it.
    let lock = "BEGIN; LOCK TABLE conversation_history IN SHARE ROW EXCLUSIVE MODE";
    other.batch_execute(lock).unwrap();
    let (told, results) = mpsc::channel();
    thread::scope(|scope| {
        let leading = scope.spawn(|| repo.save_message(&task, Role::User, "leads").unwrap());
        wait_for(
            &database,
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
             WHERE NOT granted AND datname = current_database()",
            "1",
        );
        let store = match &*repo.store {
            crate::store::Store::Postgres(store) => store,
            crate::store::Store::Sqlite(_) => panic!("a file"),
        };
        let come = |name: &'static str, task: TaskId, messages: Vec<NewMessage<'static>>| {
            let (repo, told) = (&repo, told.clone());
            let queued = store.writer.queued();
            scope.spawn(move || {
                let result = repo.save_messages(&task, &messages);
                told.send((name, result.map_err(|error| error.to_string())))
                    .unwrap();
            });
            while store.writer.queued() == queued {
                thread::yield_now();
            }
        };
        come("plain", task.clone(), vec![message("a"), message("b")]);
        come("no task", missing, vec![message("x")]);
        come("repeat", task.clone(), vec![message("first").key(key("k"))]);
        come(
            "conflict",
            task.clone(),
            vec![message("other").key(key("k"))],
        );
        come("new key", task.clone(), vec![message("c").key(key("c"))]);
        other.batch_execute("ROLLBACK").unwrap();
        leading.join().unwrap();
    });
    drop(told);
    for (name, result) in results {
        match name {
            "plain" => assert_eq!(result.unwrap().len(), 2),
            "repeat" => assert_eq!(result.unwrap(), [1]),
            "new key" => assert_eq!(result.unwrap().len(), 1),
            "no task" => assert!(result.unwrap_err().contains("there is no task `missing`")),
            _ => assert!(result.unwrap_err().contains("belongs to turn 1")),
        }
    }
    let mut stored = contents(&repo, &task);
    let a = stored.iter().position(|text| text == "a").unwrap();
    assert_eq!(stored[a + 1], "b", "a call's messages stay together");
    stored.sort_unstable();
    assert_eq!(stored, ["a", "b", "c", "first", "leads"]);
}

#[test]
fn nobody_replaces_a_session_while_it_is_retired() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let session = |id: &str| SessionId::new(id).unwrap();
    let binding = |id: &str| NewSession::new(BackendType::Claude, session(id));
    repo.save_session(&task, &binding("dead")).unwrap();
    let mut other = Conn::establish(&database.url()).unwrap();
    other
        .batch_execute("BEGIN; UPDATE sessions SET session_id = 'live'")
        .unwrap();
    thread::scope(|scope| {
        let retiring = scope.spawn(|| repo.retire_session(&task, &session("dead"), "gone"));
        wait_for(
            &database,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
             AND datname = current_database()",
            "1",
        );
        other.batch_execute("COMMIT").unwrap();
        assert!(
            !retiring.join().unwrap().unwrap(),
            "another one is live now"
        );
    });
    assert_eq!(repo.get_session(&task).unwrap().session_id, session("live"));
}

/// Another call deletes dependencies of a plan, or writes them anew, while the plan is being saved.
#[test]
fn a_plan_is_saved_again_if_its_dependencies_change_meanwhile() {
    let database = database();
    let (repo, t) = open_with_task(&database.url());
    let x = save_task(&repo, "x");
    let mut with = NewTask::new(t.clone(), "T");
    let without = with.clone();
    with.depends_on = vec![x];
    let delete = "DELETE FROM task_dependencies";
    let anew = &format!("{delete}; INSERT INTO task_dependencies VALUES ('t', 'x')");
    for change in [delete, anew] {
        repo.save_task(&with).unwrap();
        let mut other = Conn::establish(&database.url()).unwrap();
        other.batch_execute(&format!("BEGIN; {change}")).unwrap();
        thread::scope(|scope| {
            let saving = scope.spawn(|| repo.save_task(&without));
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                WHERE wait_event_type = 'Lock' AND datname = current_database()";
            wait_for(&database, waiting, "1");
            other.batch_execute("COMMIT").unwrap();
            saving.join().unwrap().unwrap();
        });
        assert!(repo.get_task(&t).unwrap().depends_on.is_empty());
    }
}

/// The turns of a transaction that commits first are none of the binding's.
#[test]
fn a_binding_waits_for_the_turns_that_come_before_it() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let binding = NewSession::new(BackendType::Claude, SessionId::new("a").unwrap());
    thread::scope(|scope| {
        let appended = repo.transaction(|tx| {
            tx.save_message(&task, Role::User, "before")?;
            let saving = scope.spawn(|| repo.save_session(&task, &binding));
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                WHERE wait_event_type = 'Lock' AND datname = current_database()";
            while !saving.is_finished() && database.psql(waiting).unwrap().trim() != "1" {
                thread::sleep(Duration::from_millis(2));
            }
            Ok::<_, Error>(saving)
        });
        appended.unwrap().join().unwrap().unwrap();
    });
    assert_eq!(
        repo.save_message(&task, Role::Assistant, "after").unwrap(),
        2
    );
    let revisions = repo.list_session_revisions(&task).unwrap();
    assert_eq!(revisions[0].first_seq, 2);
}

/// The statement refuses falling times, and each of its other callers would write alone.
#[test]
fn an_append_whose_times_fall_shares_no_statement() {
    let time = |seconds| chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    let shares = |times: [i64; 3]| {
        let message = |seconds| NewMessage::new(Role::User, "x").timestamp(time(seconds));
        let task = TaskId::new("t").unwrap();
        let target = Target::new(&task, None);
        Postgres::is_shared(&Append::new("save_messages", target, &times.map(message)))
    };
    assert!(shares([1, 2, 2]));
    assert!(!shares([1, 3, 2]));
}

#[test]
fn servers_that_lose_or_mix_up_are_refused() {
    let server = Server::start(&[("fsync", "off")]).unwrap();
    let database = server.database().unwrap();
    let error = Repo::open(database.url()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("fsync is off"), "{error}");
    let relaxed = Repo::builder(database.url()).durability(crate::Durability::Normal);
    let repo = relaxed.open().unwrap();
    let task = save_task(&repo, "t");
    assert_eq!(repo.save_message(&task, Role::User, "x").unwrap(), 1);
}

/// All pending migrations are one transaction.
#[test]
fn migrations_that_fail_leave_nothing() {
    let database = database();
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    later::version("CREATE TABLE another (x int); SELECT 1 / 0", || {
        let error = Repo::open(database.url()).unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains("division by zero"), "{error}");
    });
    assert_eq!(database.psql(tables).unwrap().trim(), "0");
    later::version("CREATE TABLE another (x int)", || {
        assert!(Repo::open(database.url()).is_ok());
    });
    // The table of that version, and the one of the migrations.
    let all = turnkeep_schema::TABLES.len() + 2;
    assert_eq!(database.psql(tables).unwrap().trim(), all.to_string());
}

/// The name of the schema may need quotes.
#[test]
fn a_schema_may_have_any_name() {
    let database = database();
    database
        .psql("CREATE SCHEMA \"Odd-Name\"; CREATE SCHEMA \"UPPER\"; CREATE SCHEMA upper")
        .unwrap();
    database.psql("CREATE TABLE \"UPPER\".theirs ()").unwrap();
    let parameter = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    let url = |schema: &str| {
        let options = format!("options=-csearch_path%3D%22{schema}%22");
        format!("{}{parameter}{options}", database.url())
    };
    let (repo, task) = open_with_task(&url("Odd-Name"));
    assert_eq!(repo.save_message(&task, Role::User, "x").unwrap(), 1);
    drop(repo);
    let again = Repo::open(url("Odd-Name")).unwrap();
    assert_eq!(again.count_history(&task).unwrap(), 1);
    let error = Repo::open(url("UPPER")).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { .. }),
        "{error:?}"
    );
}

/// A server that refuses to write has answered, so the write is not stored and can be repeated.
#[test]
fn a_refusal_to_write_is_no_unknown_outcome() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    assert_eq!(repo.save_message(&task, Role::User, "a").unwrap(), 1);
    database
        .psql(
            "CREATE SEQUENCE times; \
             CREATE FUNCTION only_reads() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('times') = 1 THEN \
                     RAISE EXCEPTION 'only reads' USING ERRCODE = 'read_only_sql_transaction'; \
                 END IF; \
                 RETURN NULL; \
             END $$; \
             CREATE TRIGGER only_reads BEFORE INSERT ON conversation_history \
             EXECUTE FUNCTION only_reads()",
        )
        .unwrap();
    assert_eq!(repo.save_message(&task, Role::User, "b").unwrap(), 2);
    assert_eq!(contents(&repo, &task), ["a", "b"]);
    let asked = database.psql("SELECT last_value FROM times").unwrap();
    assert_eq!(asked.trim(), "2");
}

/// The commit of an append fails in a way that passes. Its repeat stores it.
#[test]
fn an_append_whose_commit_was_refused_is_repeated() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    assert_eq!(repo.save_message(&task, Role::User, "a").unwrap(), 1);
    database
        .psql(
            "CREATE SEQUENCE times; \
             CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('times') = 1 THEN \
                     RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; \
                 END IF; \
                 RETURN NULL; \
             END $$; \
             CREATE CONSTRAINT TRIGGER refuse_once AFTER INSERT ON conversation_history \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_once()",
        )
        .unwrap();
    // After such a time a transaction is begun for the statement.
    thread::sleep(MAX_SILENCE);
    assert_eq!(repo.save_message(&task, Role::User, "b").unwrap(), 2);
    assert_eq!(contents(&repo, &task), ["a", "b"]);
    let asked = database.psql("SELECT last_value FROM times").unwrap();
    assert_eq!(asked.trim(), "2");
}

/// The migration harness keeps only the text of an error.
#[test]
fn a_server_that_is_killed_in_a_migration_is_unavailable() {
    let server = Server::start(&[]).unwrap();
    let database = server.database().unwrap();
    // The migration waits to see whether there will be a table of that name.
    let mut other = Conn::establish(&database.url()).unwrap();
    other
        .batch_execute("BEGIN; CREATE TABLE tasks (id TEXT)")
        .unwrap();
    let error = thread::scope(|scope| {
        let opening = scope.spawn(|| Repo::open(database.url()).map(drop));
        let waiting = "SELECT count(*) FROM pg_stat_activity \
            WHERE wait_event = 'transactionid' AND datname = current_database()";
        wait_for(&database, waiting, "1");
        server.kill().unwrap();
        opening.join().unwrap().unwrap_err()
    });
    assert!(matches!(error.kind(), ErrorKind::Unavailable), "{error:?}");
    server.start_again().unwrap();
    let (repo, task) = open_with_task(&database.url());
    assert_eq!(repo.save_message(&task, Role::User, "x").unwrap(), 1);
}

/// An error that an administrator has to fix is not retryable, even if it appears after opening.
#[test]
fn a_misconfigured_server_is_not_tried_again() {
    let server = Server::start(&[]).unwrap();
    let database = server.database().unwrap();
    let error = Repo::open(server.url("no_such_database")).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NoConnection { .. }),
        "{error:?}"
    );

    let (_, task) = open_with_task(&database.url());
    let timeout = Duration::from_millis(500);
    let repo = Repo::builder(database.url()).timeout(timeout);
    let repo = repo.open().unwrap();
    database.psql("ALTER SYSTEM SET fsync = off").unwrap();
    database.psql("SELECT pg_reload_conf()").unwrap();
    wait_for(&database, "SHOW fsync", "off");
    terminate_all(&database);
    let error = repo.get_history(&task).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NoConnection { .. }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("fsync is off"), "{error}");
}

#[test]
fn no_password_is_ever_shown() {
    let address = "postgres://me:s3cret@127.0.0.1:1/db?password=0ther";
    let builder = Repo::builder(address);
    assert!(!format!("{builder:?}").contains("s3cret"));
    let error = builder.open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable), "{error:?}");
    assert!(error.is_retryable());
    let shown = format!(
        "{:#} {error:?}",
        anyhow::Error::from(Repo::open(address).unwrap_err())
    );
    assert!(shown.contains("127.0.0.1"), "{shown}");
    for secret in ["s3cret", "0ther"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// A claim skips locked tasks.
#[test]
fn a_task_that_others_have_locked_is_left_out() {
    let database = database();
    let (repo, _) = open_with_task(&database.url());
    save_task(&repo, "u");
    let mut other = Conn::establish(&database.url()).unwrap();
    other
        .batch_execute("BEGIN; SELECT FROM tasks WHERE id = 't' FOR UPDATE")
        .unwrap();
    let worker = WorkerId::new("w").unwrap();
    let claim = || {
        repo.claim_ready(&worker, 9, Duration::from_secs(60))
            .unwrap()
    };
    let claims = claim();
    assert_eq!((claims.len(), claims[0].task.id.as_str()), (1, "u"));
    assert!(claim().is_empty());
    other.batch_execute("ROLLBACK").unwrap();
    let claims = claim();
    assert_eq!((claims.len(), claims[0].task.id.as_str()), (1, "t"));
}

/// A statement outside of a transaction waits for locks by the session's lock timeout, so it is used only if
/// that much time is left.
#[test]
fn no_statement_outside_of_a_transaction_waits_too_long() {
    let database = database();
    let config = ConnectionConfig {
        address: Address::parse(Path::new(&database.url())).unwrap(),
        builder: Repo::builder(database.url()).timeout(Duration::from_secs(60)),
        search_path: OnceLock::new(),
        is_pooled: AtomicBool::new(false),
        generation: AtomicU64::new(0),
    };
    let mut connection = Connection::open(Arc::new(config)).unwrap();
    let waits = "current_setting('lock_timeout')::interval = '30 seconds'";
    let waits: bool = diesel::select(sql::<Bool>(waits))
        .get_result(connection.conn())
        .unwrap();
    assert!(waits, "half as long as a call");
    for (seconds, may) in [(60, true), (40, true), (29, false), (0, false)] {
        let deadline = Deadline::after(Duration::from_secs(seconds));
        assert_eq!(connection.has_time_for_locks(deadline), may, "{seconds}");
        connection.was_used();
        assert_eq!(connection.autocommits(deadline), may, "{seconds}");
    }
}

/// The first host of the address accepts connections and never answers. There is time for the second.
#[test]
fn a_host_that_is_silent_leaves_time_for_the_next() {
    let server = Server::start_on_tcp(&[]).unwrap();
    let database = server.database().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("@{},", listener.local_addr().unwrap());
    let (repo, task) = open_with_task(&database.url().replacen('@', &silent, 1));
    // On a connection of its own.
    assert_eq!(repo.save_message(&task, Role::User, "x").unwrap(), 1);
}

/// An open store keeps the durability that it was opened with.
#[test]
fn a_setting_of_the_server_makes_no_open_store_less_durable() {
    let server = Server::start(&[]).unwrap();
    let database = server.database().unwrap();
    let (repo, task) = open_with_task(&database.url());
    assert_eq!(repo.save_message(&task, Role::User, "one").unwrap(), 1);
    database
        .psql("ALTER SYSTEM SET synchronous_commit = off")
        .unwrap();
    database.psql("SELECT pg_reload_conf()").unwrap();
    wait_for(&database, "SHOW synchronous_commit", "off");
    let again = Repo::open(database.url()).unwrap();
    let relaxed = Repo::builder(database.url()).durability(Durability::Normal);
    let relaxed = relaxed.open().unwrap();
    // A store that is opened with this trigger takes no writes.
    database
        .psql(
            "CREATE SCHEMA test; CREATE TABLE test.found (setting TEXT); \
             CREATE FUNCTION test.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO test.found VALUES (current_setting('synchronous_commit')); \
                 RETURN NULL; \
             END $$; \
             CREATE TRIGGER look AFTER INSERT ON conversation_history \
             EXECUTE FUNCTION test.look()",
        )
        .unwrap();
    let messages = [NewMessage::new(Role::User, "in a transaction")];
    repo.save_message(&task, Role::User, "at once").unwrap();
    repo.save_messages_after(&task, Seq::new(2).ok(), &messages)
        .unwrap();
    again.save_message(&task, Role::User, "later").unwrap();
    relaxed.save_message(&task, Role::User, "relaxed").unwrap();
    let found = "SELECT string_agg(setting, ' ') FROM test.found";
    assert_eq!(database.psql(found).unwrap().trim(), "on on on off");
}

/// Sessions may be read-only by default, and the server refuses writes in the sessions of a viewer.
#[test]
fn the_sessions_of_a_viewer_are_read_only() {
    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let read_only = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET \
                     default_transaction_read_only = on', current_database()); END $$";
    database.psql(read_only).unwrap();
    let viewer = Repo::builder(database.url()).read_only().open().unwrap();
    assert_eq!(viewer.get_tasks().unwrap().len(), 1);
    let crate::store::Store::Postgres(store) = &*viewer.store else {
        panic!("not on a server")
    };
    let call = Operation::on_task("read", &task);
    let written = store.read(call, |conn| {
        let written = diesel::sql_query("UPDATE tasks SET name = 'x'").execute(conn);
        Ok(written.map_err(|error| error.to_string()))
    });
    let refused = written.unwrap().unwrap_err();
    assert!(refused.contains("read-only transaction"), "{refused}");
    assert_eq!(
        repo.get_task(&task).unwrap(),
        viewer.get_task(&task).unwrap()
    );
}

/// In a transaction each query sees what others have committed before it.
#[test]
fn a_recording_that_grows_while_it_is_read_is_not_damaged() {
    use diesel::connection::InstrumentationEvent;
    use turnkeep_model::RecordingName;

    let database = database();
    let (repo, task) = open_with_task(&database.url());
    let name = RecordingName::new("a").unwrap();
    repo.save_recording(&task, &name, 0, b"kept").unwrap();
    let number = repo.get_recordings(&task).unwrap()[0].number;
    let mut conn = Conn::establish(&database.url()).unwrap();
    let mut queries = 0;
    conn.set_instrumentation({
        let task = task.clone();
        move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::StartQuery { .. }) {
                queries += 1;
                if queries == 2 {
                    repo.save_recording(&task, &name, 4, b", added").unwrap();
                }
            }
        }
    });
    let call = Operation::on_task("read_recording", &task);
    let bytes = super::ops::recording::read(&mut conn, call, &task, number, 4);
    assert_eq!(bytes.unwrap(), b", added");
}
