//! Tests that read the state of a connection or change its settings.

use diesel::Connection as _;
use diesel::connection::SimpleConnection;
use diesel::prelude::{QueryableByName, RunQueryDsl as _};
use parking_lot::Mutex;
use turnkeep_model::{NewTask, Role, TaskId};

use super::*;
use crate::Repo;
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;

fn store(folder: &tempfile::TempDir) -> (Repo, TaskId) {
    let repo = Repo::open(folder.path().join("store.db")).unwrap();
    let task = TaskId::new("t").unwrap();
    repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    (repo, task)
}

/// Runs a statement on the writer's own connection, outside of any transaction.
fn on_writer(repo: &Repo, sql: &str) {
    let run = |conn: &mut Conn| Ok(conn.batch_execute(sql)?);
    repo.store.sqlite().writer.engine.lend(run).unwrap();
}

#[test]
fn a_full_disk_is_full_and_then_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, task) = store(&folder);
    repo.save_message(&task, Role::User, "before").unwrap();
    on_writer(&repo, "PRAGMA max_page_count = 1");
    let huge = "x".repeat(1_000_000);
    let batch = [
        turnkeep_model::NewMessage::new(Role::User, "small"),
        turnkeep_model::NewMessage::new(Role::User, huge.as_str()),
    ];
    for _ in 0..2 {
        let error = repo.save_messages(&task, &batch).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Full), "{error:?}");
        assert_eq!(
            error.to_string(),
            "save_messages: no space left to store task `t`"
        );
    }
    assert_eq!(repo.count_history(&task).unwrap(), 1, "all or none");
    on_writer(&repo, "PRAGMA max_page_count = 1000000");
    assert_eq!(repo.save_messages(&task, &batch).unwrap(), [2, 3]);
}

/// SQLite falls back to read-only when it can't open a file for a moment. The connection
/// must not be lent again.
#[test]
fn a_read_only_connection_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, task) = store(&folder);
    on_writer(&repo, "PRAGMA query_only = ON");
    let error = repo.save_message(&task, Role::User, "refused").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ReadOnly), "{error:?}");
    assert_eq!(
        error.to_string(),
        "save_message: task `t` can't be written, the store, its file or its folder is read-only"
    );
    assert_eq!(repo.save_message(&task, Role::User, "stored").unwrap(), 1);
}

#[test]
fn a_writer_that_can_not_be_opened_again_says_why_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, task) = store(&folder);
    on_writer(&repo, "PRAGMA query_only = ON");
    repo.save_message(&task, Role::User, "refused").unwrap_err();
    let journal = folder.path().join("store.db-journal");
    std::fs::write(&journal, "of another program").unwrap();
    let error = repo.save_message(&task, Role::User, "refused").unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::UnsafeFile { .. }),
        "{error:?}"
    );
    std::fs::remove_file(&journal).unwrap();
    assert_eq!(repo.save_message(&task, Role::User, "stored").unwrap(), 1);
}

/// A store in memory that lost its only connection says so instead of starting empty.
#[test]
fn a_lost_store_in_memory_is_not_replaced() {
    let repo = crate::base::options::RepoBuilder::new(None)
        .timeout(Duration::from_secs(1))
        .open()
        .unwrap();
    assert!(repo.get_tasks().unwrap().is_empty());
    repo.store.sqlite().writer.engine.close();
    let error = repo.get_tasks().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NoConnection { .. }),
        "{error:?}"
    );
}

/// A thread that has written for futures may tidy up after their store was closed.
#[test]
fn a_closed_file_is_not_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, _) = store(&folder);
    let engine = &repo.store.sqlite().writer.engine;
    engine.close();
    let error = engine.lend(|_| Ok(())).unwrap_err();
    assert!(
        matches!(error, QueryError::Unusable(ErrorKind::NoConnection { .. })),
        "{error:?}"
    );
    let files = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(files.count(), 1, "no log");
}

#[test]
fn nothing_is_opened_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, task) = store(&folder);
    let readers = repo.store.sqlite().readers.as_ref().unwrap();
    assert_eq!(readers.open_connections(), 0, "only writes so far");
    repo.count_history(&task).unwrap();
    assert_eq!(readers.open_connections(), 1);
}

#[test]
fn a_program_that_only_reads_or_only_writes_has_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let connections = |repo: &Repo| {
        let alive = repo.store.sqlite().config.alive.lock();
        alive.as_ref().map_or(0, Arc::strong_count) - 1
    };
    let (repo, task) = store(&folder);
    repo.save_message(&task, Role::User, "1").unwrap();
    assert_eq!(connections(&repo), 1);
    drop(repo);
    let repo = Repo::open(path).unwrap();
    repo.get_tasks().unwrap();
    assert_eq!(repo.count_history(&task).unwrap(), 1);
    assert_eq!(connections(&repo), 1);
    repo.save_message(&task, Role::User, "2").unwrap();
    assert_eq!(connections(&repo), 2);
}

#[test]
fn every_connection_is_set_up() {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = diesel::sql_types::Text)]
        answer: String,
    }

    let folder = tempfile::tempdir().unwrap();
    let (repo, _) = store(&folder);
    let look = |conn: &mut Conn| {
        let answers: Vec<Answer> = diesel::sql_query(
            "SELECT 'keys ' || foreign_keys AS answer FROM pragma_foreign_keys \
             UNION ALL SELECT 'journal ' || journal_mode FROM pragma_journal_mode \
             UNION ALL SELECT 'sync ' || synchronous FROM pragma_synchronous \
             UNION ALL SELECT 'trusted ' || trusted_schema FROM pragma_trusted_schema \
             UNION ALL SELECT 'log ' || journal_size_limit FROM pragma_journal_size_limit \
             UNION ALL SELECT 'fullfsync ' || fullfsync FROM pragma_fullfsync",
        )
        .load(conn)
        .unwrap();
        let answers: Vec<_> = answers.iter().map(|row| row.answer.as_str()).collect();
        assert_eq!(
            answers,
            [
                "keys 1",
                "journal wal",
                "sync 2",
                "trusted 0",
                "log 67108864",
                "fullfsync 1",
            ]
        );
        Ok(())
    };
    let call = Operation::on_store("test");
    let store = repo.store.sqlite();
    store.writer.engine.lend(look).unwrap();
    store.read(call, look).unwrap();
}

/// What Diesel can't prove to be always the same text it prepares anew at each call, and says
/// nothing. Of every hot call each statement must have been put into the cache the first time.
#[test]
fn hot_statements_are_prepared_once() {
    use diesel::connection::{CacheSize, Instrumentation, InstrumentationEvent};
    use turnkeep_model::{BackendType, MessageKey, NewMessage, NewSession, SessionId};

    /// The texts that ran, and the texts in the cache.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<(Vec<String>, Vec<String>)>>);

    impl Instrumentation for Seen {
        fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
            let mut seen = self.0.lock();
            match event {
                InstrumentationEvent::StartQuery { query, .. } => {
                    let text = query.to_string();
                    let text = text.split(" -- binds").next().unwrap_or_default().trim();
                    seen.0.push(text.to_owned());
                }
                InstrumentationEvent::CacheQuery { sql, .. } => {
                    seen.1.push(sql.trim().to_owned());
                }
                _ => {}
            }
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::open(folder.path().join("store.db")).unwrap();
    let task = TaskId::new("t").unwrap();
    let seen = Seen::default();
    let watch = |conn: &mut Conn| {
        conn.set_instrumentation(seen.clone());
        // Opening the store has run some statements.
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        conn.set_prepared_statement_cache_size(CacheSize::Unbounded);
        Ok(())
    };
    let call = Operation::on_store("test");
    let store = repo.store.sqlite();
    store.writer.engine.lend(watch).unwrap();
    store.read(call, watch).unwrap();
    // If the first read waited for its connection, the second sets the timeout of the connection back.
    store.read(call, |_| Ok(())).unwrap();
    repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    seen.0.lock().0.clear();
    let calls: [(&str, &dyn Fn(usize)); 6] = [
        ("save_message", &|_| {
            repo.save_message(&task, Role::User, "x").unwrap();
        }),
        ("save_messages with a key", &|round| {
            let key = MessageKey::new(format!("k{round}")).unwrap();
            let message = NewMessage::new(Role::User, "x").key(key);
            repo.save_messages(&task, &[message]).unwrap();
        }),
        ("save_session", &|round| {
            let id = SessionId::new(format!("s{round}")).unwrap();
            let binding = NewSession::new(BackendType::Claude, id);
            repo.save_session(&task, &binding).unwrap();
        }),
        ("get_session", &|_| {
            repo.get_session(&task).unwrap();
        }),
        ("get_history", &|_| {
            repo.get_history(&task).unwrap();
        }),
        ("get_history_last", &|_| {
            repo.get_history_last(&task, 1).unwrap();
        }),
    ];
    for (name, call) in calls {
        for round in 0..3 {
            call(round);
            let mut seen = seen.0.lock();
            let executed = std::mem::take(&mut seen.0);
            assert!(!executed.is_empty(), "{name} runs statements");
            for statement in executed {
                let times = seen.1.iter().filter(|cached| **cached == statement).count();
                // A text that a reader and the writer both run is in the cache of each.
                assert!(
                    (1..=2).contains(&times),
                    "{name}: cached {times} times: {statement}"
                );
            }
        }
    }
}

/// In exclusive locking mode nobody else gets in, not even to read.
#[test]
fn a_file_that_another_keeps_to_itself_is_busy_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(store(&folder));
    let mut other = crate::sqlite::Conn::establish(path.to_str().unwrap()).unwrap();
    other
        .batch_execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        .unwrap();
    let repo = Repo::builder(&path).timeout(Duration::from_secs(1));
    let error = repo.clone().open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    assert!(error.to_string().contains("store.db"), "{error}");
    drop(other);
    assert_eq!(repo.open().unwrap().get_tasks().unwrap().len(), 1);
}

/// A store in memory has one connection, which the transaction holds.
#[test]
fn a_read_beside_a_transaction_in_memory_is_busy() {
    let timeout = Duration::from_millis(50);
    let repo = RepoBuilder::new(None).timeout(timeout).open().unwrap();
    let task = TaskId::new("t").unwrap();
    let beside = repo.transaction(|tx| {
        tx.save_task(&NewTask::new(task.clone(), "T"))?;
        Ok::<_, Error>(repo.get_task(&task))
    });
    let error = beside.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    assert_eq!(repo.get_task(&task).unwrap().id, task);
}
