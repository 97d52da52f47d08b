//! Callers that share a transaction do not harm each other. Each test has a whole batch wait in the
//! queue, by holding the file's lock as another process would.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use chrono::DateTime;
use diesel::connection::SimpleConnection;
use diesel::{Connection as _, RunQueryDsl as _};
use tempfile::TempDir;
use turnkeep_model::{
    BackendType, MessageKey, NewMessage, NewSession, NewTask, Role, Seq, SessionId, TaskId,
};

use super::*;
use crate::Repo;
use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
use crate::base::target::Target;
use crate::commit::group_commit::Writer;
use crate::commit::queue::{Admission, WaitResult};
use crate::sqlite::ops::append::Append;
use crate::sqlite::ops::task::DeleteTask;

/// A store with the task `t`, and a way to keep its file locked.
struct Scene {
    folder: TempDir,
    repo: Repo,
    task: TaskId,
}

impl Scene {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(settings: impl FnOnce(RepoBuilder) -> RepoBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let builder = Repo::builder(folder.path().join("store.db"));
        let repo = settings(builder.timeout(Duration::from_secs(60)))
            .open()
            .unwrap();
        let task = TaskId::new("t").unwrap();
        repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
        Self { folder, repo, task }
    }

    fn other_program(&self) -> Conn {
        let path = self.folder.path().join("store.db");
        let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        conn
    }

    fn execute(&self, sql: &str) {
        self.other_program().batch_execute(sql).unwrap();
    }

    /// Runs a statement on the writer's own connection.
    fn on_writer(&self, sql: &str) {
        let run = |conn: &mut Conn| Ok(conn.batch_execute(sql)?);
        self.repo.store.sqlite().writer.engine.lend(run).unwrap();
    }

    fn queued(&self) -> usize {
        self.repo.store.sqlite().writer.queued()
    }

    fn say(&self, content: &str) -> Result<Seq> {
        self.repo.save_message(&self.task, Role::User, content)
    }

    fn said(&self) -> Vec<String> {
        let history = self.repo.get_history(&self.task).unwrap();
        history.into_iter().map(|turn| turn.content).collect()
    }

    /// Runs the calls so that all of them wait at once, in this order, and then are written in one
    /// transaction. Returns what each returned, and how many transactions it took.
    fn at_once<T: Send + 'static>(&self, calls: Vec<Write<T>>) -> (Vec<thread::Result<T>>, u64) {
        let mut crowd = Crowd::gather(self, calls);
        let before = self.repo.stats().batches;
        crowd.let_go();
        let results = crowd.join();
        // One was the first one's, which waited for the lock and not in the queue.
        (results, self.repo.stats().batches - before - 1)
    }
}

type Write<T> = Box<dyn FnOnce(&Repo, &TaskId) -> T + Send>;

fn write<T>(call: impl FnOnce(&Repo, &TaskId) -> T + Send + 'static) -> Write<T> {
    Box::new(call)
}

/// Callers that wait while another program has the lock.
struct Crowd<T> {
    lock: Option<Conn>,
    first: JoinHandle<()>,
    callers: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Crowd<T> {
    fn gather(scene: &Scene, calls: Vec<Write<T>>) -> Self {
        let mut lock = scene.other_program();
        lock.batch_execute("BEGIN IMMEDIATE").unwrap();
        let retries = scene.repo.stats().lock_retries;
        let repo = scene.repo.clone();
        let first = thread::spawn(move || {
            let first = TaskId::new("first").unwrap();
            repo.save_task(&NewTask::new(first, "First")).unwrap();
        });
        wait_until(|| scene.repo.stats().lock_retries > retries);
        let mut callers = Vec::new();
        for call in calls {
            let (repo, task) = (scene.repo.clone(), scene.task.clone());
            callers.push(thread::spawn(move || call(&repo, &task)));
            wait_until(|| scene.queued() == callers.len());
        }
        let lock = Some(lock);
        Self {
            lock,
            first,
            callers,
        }
    }

    fn let_go(&mut self) {
        self.lock = None;
    }

    fn join(self) -> Vec<thread::Result<T>> {
        self.first.join().unwrap();
        self.callers.into_iter().map(JoinHandle::join).collect()
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

fn key(text: &str) -> MessageKey {
    MessageKey::new(text).unwrap()
}

fn says(content: &'static str) -> Write<Result<Vec<Seq>>> {
    write(move |repo, task| Ok(vec![repo.save_message(task, Role::User, content)?]))
}

/// A message that does not ask the clock.
fn says_with_time(content: &'static str) -> Write<Result<Vec<Seq>>> {
    write(move |repo, task| {
        let message = NewMessage::new(Role::User, content).timestamp(DateTime::UNIX_EPOCH);
        repo.save_messages(task, &[message])
    })
}

#[test]
fn those_who_wait_share_one_transaction_in_their_order() {
    let scene = Scene::new();
    let (results, batches) = scene.at_once(vec![says("a"), says("b"), says("c")]);
    let seqs: Vec<_> = results.into_iter().map(|r| r.unwrap().unwrap()).collect();
    assert_eq!(seqs, [[1], [2], [3]]);
    assert_eq!(batches, 1);
    assert_eq!(scene.said(), ["a", "b", "c"]);
}

#[test]
fn a_refused_write_fails_alone() {
    let scene = Scene::new();
    let taken = NewMessage::new(Role::User, "taken").key(key("k"));
    scene.repo.save_messages(&scene.task, &[taken]).unwrap();
    let (results, batches) = scene.at_once(vec![
        says("a"),
        write(|repo, _| {
            let unknown = TaskId::new("unknown").unwrap();
            Ok(vec![repo.save_message(&unknown, Role::User, "no")?])
        }),
        says("b"),
        // Fails at its second statement: the first has to be undone.
        write(|repo, task| {
            let conflict = NewMessage::new(Role::User, "another").key(key("k"));
            let messages = [NewMessage::new(Role::User, "half"), conflict];
            repo.save_messages(task, &messages)
        }),
        write(|repo, task| {
            repo.save_messages_after(
                task,
                Seq::new(7).ok(),
                &[NewMessage::new(Role::User, "late")],
            )
        }),
        // A new task with a dependency that is missing.
        write(|repo, _| {
            let mut task = NewTask::new(TaskId::new("half").unwrap(), "Half");
            task.depends_on = vec![TaskId::new("unknown").unwrap()];
            repo.save_task(&task).map(|()| vec![])
        }),
        says("c"),
    ]);
    let results: Vec<_> = results.into_iter().map(|r| r.unwrap()).collect();
    assert!(matches!(&results[0], Ok(seqs) if *seqs == [2]));
    let error = |index: usize| results[index].as_ref().unwrap_err();
    assert_eq!(*error(1).kind(), ErrorKind::TaskNotFound);
    assert_eq!(error(1).task_id().unwrap().as_str(), "unknown");
    assert!(matches!(&results[2], Ok(seqs) if *seqs == [3]));
    assert!(matches!(
        error(3).kind(),
        ErrorKind::KeyConflict { seq, .. } if *seq == 1
    ));
    assert!(matches!(
        error(4).kind(),
        ErrorKind::SeqConflict {
            expected: Some(expected),
            actual: Some(actual)
        } if *expected == 7 && *actual == 3
    ));
    assert!(matches!(
        error(5).kind(),
        ErrorKind::DependencyNotFound { .. }
    ));
    assert!(matches!(&results[6], Ok(seqs) if *seqs == [4]));
    assert_eq!(batches, 1);
    assert_eq!(scene.said(), ["taken", "a", "b", "c"]);
    assert!(scene.repo.get_task(&TaskId::new("half").unwrap()).is_err());
}

/// It waited like all others, and then there were none: nothing else ends what it has begun.
#[test]
fn a_refused_write_that_is_alone_in_its_transaction_leaves_no_trace() {
    let scene = Scene::new();
    let taken = NewMessage::new(Role::User, "taken").key(key("k"));
    scene.repo.save_messages(&scene.task, &[taken]).unwrap();
    let (results, batches) = scene.at_once(vec![write(|repo, task| {
        let conflict = NewMessage::new(Role::User, "another").key(key("k"));
        let messages = [NewMessage::new(Role::User, "half"), conflict];
        repo.save_messages(task, &messages)
    })]);
    for result in results {
        let error = result.unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::KeyConflict { .. }),
            "{error:?}"
        );
    }
    assert_eq!(batches, 0, "nothing is committed for it");
    assert_eq!(scene.said(), ["taken"]);
    assert_eq!(scene.say("next").unwrap(), 2);
}

#[test]
fn sessions_and_tasks_share_it_too() {
    let scene = Scene::new();
    let binding = NewSession::new(BackendType::Claude, SessionId::new("s").unwrap());
    scene.repo.save_session(&scene.task, &binding).unwrap();
    let session = SessionId::new("s").unwrap();
    let (results, batches) = scene.at_once(vec![
        write(|repo: &Repo, task: &TaskId| {
            let id = SessionId::new("s2").unwrap();
            let binding = NewSession::new(BackendType::Codex, id);
            repo.save_session(task, &binding).map(|_| ())
        }),
        write(move |repo, task| {
            // No longer the current one by now.
            repo.retire_session(task, &session, "dead")
                .map(|retired| assert!(!retired))
        }),
        write(|repo, _| repo.save_task(&NewTask::new(TaskId::new("u").unwrap(), "U"))),
        write(|repo, task| repo.claim_task(task).map(|claimed| assert!(claimed))),
        write(|repo, task| repo.claim_task(task).map(|claimed| assert!(!claimed))),
        write(|repo, _| {
            let ids = repo.requeue_running()?;
            assert_eq!(ids.len(), 1);
            Ok(())
        }),
        write(|repo, task| repo.update_task_status(task, turnkeep_model::TaskStatus::Completed)),
        write(|repo, _| {
            let id = TaskId::new("u").unwrap();
            repo.delete_task(&id).map(|deleted| assert!(deleted))
        }),
    ]);
    assert!(results.into_iter().all(|r| r.unwrap().is_ok()));
    assert_eq!(batches, 2, "the deletion has its own");
    let session = scene.repo.get_session(&scene.task).unwrap();
    assert_eq!(session.session_id.as_str(), "s2");
}

/// Nothing is acknowledged before COMMIT said so: here it refuses.
#[test]
fn a_failed_commit_fails_all() {
    let scene = Scene::new();
    scene.execute(
        "CREATE TABLE late (id TEXT REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER later AFTER INSERT ON conversation_history WHEN NEW.content = 'bad'
         BEGIN INSERT INTO late VALUES ('unknown'); END",
    );
    let (results, _) = scene.at_once(vec![says("a"), says("bad"), says("b")]);
    for result in results {
        let error = result.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Database), "{error:?}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "FOREIGN KEY constraint failed");
    }
    assert!(scene.said().is_empty());
    assert_eq!(scene.say("c").unwrap(), 1, "the store works on");
}

/// The last turn of a history is the one that is stored.
#[test]
fn what_is_rolled_back_is_not_remembered() {
    let scene = Scene::new();
    let remembered = || {
        let slot = scene.repo.store.sqlite().writer.engine.slot.lock();
        slot.connection.as_ref().unwrap().last_turns.len()
    };
    scene.say("a").unwrap();
    assert_eq!(remembered(), 1);
    let calls = vec![
        write(|repo, task| repo.save_message(task, Role::User, "b").is_err()),
        write(|repo, _| {
            repo.save_task(&NewTask::new(TaskId::new("u").unwrap(), "U"))
                .is_err()
        }),
    ];
    scene.execute(
        "CREATE TABLE late (id TEXT REFERENCES sessions (task_id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER later AFTER INSERT ON tasks WHEN NEW.id = 'u'
         BEGIN INSERT INTO late VALUES ('unknown'); END",
    );
    let (results, _) = scene.at_once(calls);
    assert!(results.into_iter().all(|failed| failed.unwrap()));
    assert_eq!(remembered(), 0);
    assert_eq!(scene.say("c").unwrap(), 2);
}

/// Deferred ones would come up at COMMIT and fail strangers.
#[test]
fn foreign_keys_are_checked_at_once() {
    #[derive(diesel::QueryableByName)]
    struct Deferred {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        tables: i64,
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        asked_for: i64,
    }

    let scene = Scene::new();
    let look = |conn: &mut Conn| {
        let query = diesel::sql_query(
            "SELECT (SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%DEFERR%') AS tables, \
             (SELECT defer_foreign_keys FROM pragma_defer_foreign_keys) AS asked_for",
        );
        Ok(query.get_result::<Deferred>(conn)?)
    };
    let deferred = scene.repo.store.sqlite().writer.engine.lend(look).unwrap();
    assert_eq!((deferred.tables, deferred.asked_for), (0, 0));
}

#[test]
fn a_full_disk_fails_all_and_then_works_again() {
    let scene = Scene::new();
    scene.on_writer("PRAGMA max_page_count = 1");
    let huge = write(|repo: &Repo, task: &TaskId| {
        let huge = "x".repeat(1_000_000);
        Ok(vec![repo.save_message(task, Role::User, &huge)?])
    });
    let (results, _) = scene.at_once(vec![says("a"), huge, says("b")]);
    for result in results {
        let error = result.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Full), "{error:?}");
        assert_eq!(
            error.to_string(),
            "save_message: no space left to store task `t`"
        );
    }
    assert!(scene.said().is_empty(), "none went in by itself");
    scene.on_writer("PRAGMA max_page_count = 1000000");
    assert_eq!(scene.say("c").unwrap(), 1);
}

/// An I/O error says nothing about which write met it, and may have rolled back under the others.
#[test]
fn an_io_error_fails_all_and_the_connection_is_replaced() {
    let scene = Scene::new();
    scene.say("0").unwrap();
    scene.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON conversation_history WHEN NEW.content = 'bad'
         BEGIN SELECT RAISE(ROLLBACK, 'disk I/O error'); END",
    );
    scene.on_writer("CREATE TEMP TABLE mark (x)");
    let (results, _) = scene.at_once(vec![says("a"), says("bad"), says("b")]);
    for result in results {
        let error = result.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
    }
    assert_eq!(scene.said(), ["0"], "none went in by itself");
    assert_eq!(scene.say("c").unwrap(), 2);
    scene.on_writer("CREATE TEMP TABLE mark (x)");
}

/// Another program's trigger may end the transaction: what it refused fails, and the others, whose
/// work went with it, are done again.
#[test]
fn an_unknown_error_fails_the_one_that_met_it() {
    let scene = Scene::new();
    // Then the appends need no read.
    scene.say("0").unwrap();
    scene.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON conversation_history WHEN NEW.content = 'bad'
         BEGIN SELECT RAISE(ROLLBACK, 'we don''t like that'); END",
    );
    let (results, batches) = scene.at_once(vec![says("a"), says("bad"), says("b")]);
    let stored: Vec<_> = results
        .into_iter()
        .map(|result| match result.unwrap() {
            Ok(seqs) => Some(seqs[0].get()),
            Err(error) if *error.kind() == ErrorKind::Database => None,
            Err(error) => panic!("{error:?}"),
        })
        .collect();
    assert_eq!(stored, [Some(2), None, Some(3)]);
    assert_eq!(scene.said(), ["0", "a", "b"]);
    assert_eq!(batches, 1);
    scene.say("bad").unwrap_err();
    assert_eq!(scene.said(), ["0", "a", "b"]);
}

/// With the transaction goes what the trigger looked at, so that a second try would be stored by itself.
#[test]
fn an_append_is_not_tried_again_after_an_unknown_error() {
    let scene = Scene::new();
    scene.say("0").unwrap();
    scene.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON conversation_history
         WHEN EXISTS (SELECT 1 FROM conversation_history WHERE content = 'a')
         BEGIN SELECT RAISE(ROLLBACK, 'we don''t like that'); END",
    );
    let (results, _) = scene.at_once(vec![says("a"), says("b"), says("c")]);
    let are_stored: Vec<_> = results.into_iter().map(|r| r.unwrap().is_ok()).collect();
    assert_eq!(are_stored, [true, false, false]);
    assert_eq!(scene.said(), ["0", "a"]);
}

/// SQLite has rolled back, and further statements would be committed one by one.
#[test]
fn an_error_of_the_database_ends_a_transaction() {
    for (text, kind) in [
        ("we don''t like that", ErrorKind::Database),
        ("disk I/O error", ErrorKind::Io),
    ] {
        let scene = Scene::new();
        scene.execute(&format!(
            "CREATE TRIGGER theirs BEFORE INSERT ON conversation_history WHEN NEW.content = 'bad'
             BEGIN SELECT RAISE(ROLLBACK, '{text}'); END"
        ));
        scene.on_writer("CREATE TEMP TABLE mark (x)");
        let save = |tx: &crate::Transaction<'_>, content: &str| {
            tx.save_message(&scene.task, Role::User, content)
        };
        let swallowed: Result<()> = scene.repo.transaction(|tx| {
            save(tx, "before")?;
            assert_eq!(*save(tx, "bad").unwrap_err().kind(), kind);
            assert_eq!(*save(tx, "after").unwrap_err().kind(), kind);
            Ok(())
        });
        let error = swallowed.unwrap_err();
        assert_eq!((error.operation(), error.kind()), ("transaction", &kind));
        assert!(scene.said().is_empty(), "none went in by itself");

        let own: anyhow::Result<()> = scene.repo.transaction(|tx| {
            save(tx, "bad").map_err(|_| anyhow::anyhow!("of the caller"))?;
            Ok(())
        });
        assert_eq!(own.unwrap_err().to_string(), "of the caller");
        assert_eq!(scene.say("c").unwrap(), 1);
        if kind == ErrorKind::Io {
            // The connection was replaced.
            scene.on_writer("CREATE TEMP TABLE mark (x)");
        }
    }
}

/// A clock that panics after some calls.
fn breaking_clock() -> (
    Arc<AtomicI64>,
    impl Fn() -> DateTime<chrono::Utc> + Send + Sync,
) {
    let calls_left = Arc::new(AtomicI64::new(i64::MAX));
    let left = Arc::clone(&calls_left);
    let clock = move || {
        assert!(left.fetch_sub(1, Ordering::Relaxed) > 0, "broken clock");
        DateTime::UNIX_EPOCH
    };
    (calls_left, clock)
}

/// What a write does before it panics is rolled back with all the others', which are then done
/// without it. Only the caller of the write panics.
#[test]
fn a_panic_harms_no_other() {
    let (calls_left, clock) = breaking_clock();
    let scene = Scene::with(|builder| builder.clock(clock));
    let mut crowd = Crowd::gather(
        &scene,
        vec![
            says_with_time("a"),
            says("panics"),
            says_with_time("b"),
            says("panics too"),
            says_with_time("c"),
        ],
    );
    // One for the first one, which is no part of it.
    calls_left.store(1, Ordering::Relaxed);
    crowd.let_go();
    let results = crowd.join();
    let panicked: Vec<_> = results.iter().map(|result| result.is_err()).collect();
    assert_eq!(panicked, [false, true, false, true, false]);
    for result in results.into_iter().flatten() {
        result.unwrap();
    }
    assert_eq!(scene.said(), ["a", "b", "c"]);
    calls_left.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(scene.say("d").unwrap(), 4);
}

/// Diesel knows nothing of the transaction, so the guard has to end it.
#[test]
fn a_panic_of_a_lone_write_leaves_no_lock_and_no_trace() {
    let (calls_left, clock) = breaking_clock();
    let scene = Scene::with(|builder| builder.clock(clock));
    calls_left.store(1, Ordering::Relaxed);
    let (repo, task) = (scene.repo.clone(), scene.task.clone());
    let panics = thread::spawn(move || {
        let messages = ["half", "panics"].map(|text| NewMessage::new(Role::User, text));
        repo.save_messages(&task, &messages)
    });
    assert!(panics.join().is_err());
    let mut other = scene.other_program();
    other.batch_execute("PRAGMA busy_timeout = 0").unwrap();
    other.batch_execute("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    calls_left.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(scene.say("works").unwrap(), 1);
}

/// Waits in its transaction until another write is queued.
struct Meet(Arc<Writer<Sqlite>>);

impl crate::commit::write::Write<Conn> for Meet {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_store("meet")
    }

    fn run(&mut self, _: &mut Conn, _: &Clock) -> Result<(), QueryError> {
        wait_until(|| self.0.queued() == 1);
        Ok(())
    }
}

/// The callers of the last transaction come back while the next one runs.
#[test]
fn a_write_that_comes_while_others_run_shares_their_transaction() {
    let scene = Scene::new();
    let writer = Arc::clone(&scene.repo.store.sqlite().writer);
    let deadline = Deadline::after(Duration::from_secs(60));
    let Admission::Alone(lead, _) = writer.queue.admit(Meet(Arc::clone(&writer)), deadline) else {
        panic!("nobody writes");
    };
    let first = {
        let writer = Arc::clone(&writer);
        thread::spawn(move || writer.write(Meet(Arc::clone(&writer))))
    };
    wait_until(|| scene.queued() == 1);
    let before = scene.repo.stats().batches;
    drop(lead);
    wait_until(|| scene.queued() == 0);
    assert_eq!(scene.say("meanwhile").unwrap(), 1);
    first.join().unwrap().unwrap();
    assert_eq!(scene.repo.stats().batches, before + 1);
}

/// A leader that comes to grief leaves its followers an error, and someone else the lead.
#[test]
fn a_leader_that_panics_abandons_nobody_for_ever() {
    let scene = Scene::new();
    let writer = &scene.repo.store.sqlite().writer;
    let deadline = Deadline::after(Duration::from_secs(60));
    let write = DeleteTask {
        id: scene.task.clone(),
    };
    let Admission::Alone(mut lead, _) = writer.queue.admit(write, deadline) else {
        panic!("nobody writes");
    };
    let followers: Vec<_> = ["a", "b"]
        .into_iter()
        .enumerate()
        .map(|(number, text)| {
            let (repo, task) = (scene.repo.clone(), scene.task.clone());
            let follower = thread::spawn(move || repo.save_message(&task, Role::User, text));
            wait_until(|| scene.queued() == number + 1);
            follower
        })
        .collect();
    let taken = lead.take(true);
    let late = {
        let (repo, task) = (scene.repo.clone(), scene.task.clone());
        thread::spawn(move || repo.save_message(&task, Role::User, "late"))
    };
    wait_until(|| scene.queued() == 1);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _unwound = (taken, lead);
        panic!("in the middle of it");
    }));
    assert!(panics.is_err());
    for follower in followers {
        let error = follower.join().unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::OutcomeUnknown),
            "{error:?}"
        );
        assert!(error.may_be_stored());
        assert_eq!(
            format!("{:#}", anyhow::Error::from(error)),
            "save_message: whether task `t` was stored is not known: \
             the thread that wrote for several callers panicked"
        );
    }
    assert_eq!(late.join().unwrap().unwrap(), 1);
    assert_eq!(scene.said(), ["late"]);
}

/// Who gives up while it waits is taken out: nothing of it is stored afterwards.
#[test]
fn a_deadline_that_passes_in_the_queue_is_busy_and_stores_nothing() {
    let scene = Scene::with(|builder| builder.timeout(Duration::from_millis(200)));
    let mut lock = scene.other_program();
    lock.batch_execute("BEGIN IMMEDIATE").unwrap();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (repo, task) = (scene.repo.clone(), scene.task.clone());
            thread::spawn(move || repo.save_message(&task, Role::User, "too late"))
        })
        .collect();
    for caller in callers {
        let error = caller.join().unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
    assert_eq!(scene.queued(), 0);
    assert_eq!(scene.repo.stats().busy, 3);
    drop(lock);
    assert_eq!(scene.say("in time").unwrap(), 1);
    assert_eq!(scene.said(), ["in time"]);
}

/// The same while the leader blocks.
#[test]
fn a_deadline_that_passes_behind_a_slow_write_is_busy_and_stores_nothing() {
    let (blocks, reached, go_on, clock) = blocking_clock();
    let scene = Scene::with(|builder| builder.timeout(Duration::from_millis(200)).clock(clock));
    blocks.store(true, Ordering::Relaxed);
    let (repo, task) = (scene.repo.clone(), scene.task.clone());
    let first = thread::spawn(move || repo.save_message(&task, Role::User, "slow"));
    reached.recv().unwrap();
    let error = scene.say("too late").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    go_on.send(()).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), 1);
    assert_eq!(scene.say("in time").unwrap(), 2);
    assert_eq!(scene.said(), ["slow", "in time"]);
}

/// Returns a clock that blocks once after `blocks` is set: it sends `reached`, and waits for `go_on`.
fn blocking_clock() -> (
    Arc<AtomicBool>,
    Receiver<()>,
    Sender<()>,
    impl Fn() -> DateTime<chrono::Utc> + Send + Sync,
) {
    let (reach, reached) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let blocks = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&blocks);
    let channels = parking_lot::Mutex::new((reach, may_go_on));
    let clock = move || {
        if is_asked.swap(false, Ordering::Relaxed) {
            let channels = channels.lock();
            channels.0.send(()).unwrap();
            channels.1.recv().unwrap();
        }
        DateTime::UNIX_EPOCH
    };
    (blocks, reached, go_on, clock)
}

/// A write that has begun is waited for whatever the deadline: Busy would say that it is not stored. One that has not
/// begun by its deadline is Busy.
#[test]
fn a_write_that_has_begun_gets_its_real_outcome() {
    let timeout = Duration::from_millis(500);
    let (blocks, reached, go_on, clock) = blocking_clock();
    let scene = Scene::with(|builder| builder.timeout(timeout).clock(clock));
    let calls = vec![says_with_time("a"), says("slow"), says_with_time("b")];
    let mut crowd = Crowd::gather(&scene, calls);
    // The first one asks as well.
    blocks.store(true, Ordering::Relaxed);
    crowd.let_go();
    reached.recv().unwrap();
    blocks.store(true, Ordering::Relaxed);
    go_on.send(()).unwrap();
    reached.recv().unwrap();
    assert_eq!(scene.queued(), 0);
    thread::sleep(timeout);
    go_on.send(()).unwrap();
    let results: Vec<_> = crowd.join().into_iter().map(|it| it.unwrap()).collect();
    assert_eq!(results[0].as_ref().unwrap(), &[1]);
    assert_eq!(results[1].as_ref().unwrap(), &[2]);
    let error = results[2].as_ref().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    assert_eq!(error.operation(), "save_messages");
    assert_eq!(scene.said(), ["a", "slow"]);
}

/// So the transaction of a write ends soon, whatever comes after it.
#[test]
fn a_transaction_runs_no_further_write_after_a_tenth_of_the_timeout() {
    let timeout = Duration::from_secs(3);
    let (blocks, reached, go_on, clock) = blocking_clock();
    let scene = Scene::with(|builder| builder.timeout(timeout).clock(clock));
    let calls = vec![says("slow"), says_with_time("a"), says_with_time("b")];
    let before = scene.repo.stats().batches;
    let mut crowd = Crowd::gather(&scene, calls);
    blocks.store(true, Ordering::Relaxed);
    crowd.let_go();
    reached.recv().unwrap();
    blocks.store(true, Ordering::Relaxed);
    go_on.send(()).unwrap();
    reached.recv().unwrap();
    let late = {
        let (repo, task) = (scene.repo.clone(), scene.task.clone());
        thread::spawn(move || repo.save_message(&task, Role::User, "late"))
    };
    wait_until(|| scene.queued() == 1);
    thread::sleep(timeout / 10);
    go_on.send(()).unwrap();
    for (number, result) in crowd.join().into_iter().enumerate() {
        assert_eq!(result.unwrap().unwrap(), [number as i64 + 1]);
    }
    assert_eq!(late.join().unwrap().unwrap(), 4);
    assert_eq!(scene.said(), ["slow", "a", "b", "late"]);
    assert_eq!(scene.repo.stats().batches, before + 3);
}

/// A deletion may take seconds: writes that have run do not wait for it, and the others keep their deadlines.
#[test]
fn a_write_does_not_wait_for_a_deletion_behind_it() {
    let delete = |id: &'static str| {
        write(move |repo: &Repo, _: &TaskId| {
            assert!(!repo.delete_task(&TaskId::new(id).unwrap())?);
            Ok(vec![])
        })
    };
    let scene = Scene::new();
    let calls = vec![says("a"), delete("x"), delete("y"), says("b"), says("c")];
    let (results, batches) = scene.at_once(calls);
    assert!(results.into_iter().all(|it| it.unwrap().is_ok()));
    assert_eq!(batches, 2, "the first append, and the rest");
    assert_eq!(scene.said(), ["a", "b", "c"]);
}

#[test]
fn a_write_behind_a_deletion_gives_up_at_its_deadline() {
    let timeout = Duration::from_millis(500);
    let (blocks, reached, go_on, clock) = blocking_clock();
    let scene = Scene::with(|builder| builder.timeout(timeout).clock(clock));
    let (send, results) = channel();
    let calls = vec![
        write(|repo, task| assert!(repo.remove_task(task).unwrap())),
        write(move |repo, task| {
            let said = repo.save_message(task, Role::User, "too late");
            send.send(said.map_err(|error| error.kind().clone()))
                .unwrap();
        }),
    ];
    let mut crowd = Crowd::gather(&scene, calls);
    blocks.store(true, Ordering::Relaxed);
    crowd.let_go();
    reached.recv().unwrap();
    blocks.store(true, Ordering::Relaxed);
    go_on.send(()).unwrap();
    reached.recv().unwrap();
    // Only ends the test when it would hang.
    let result = results.recv_timeout(20 * timeout).unwrap();
    assert!(matches!(result, Err(ErrorKind::Busy { .. })), "{result:?}");
    go_on.send(()).unwrap();
    assert!(crowd.join().into_iter().all(|it| it.is_ok()));
    assert!(scene.repo.get_task(&scene.task).is_err());
}

/// The clock is read at the write, not before the wait, so a later write has a later time.
#[test]
fn times_go_with_the_order_of_writes() {
    let ticks = AtomicI64::new(0);
    let clock = move || {
        let tick = ticks.fetch_add(1, Ordering::Relaxed);
        DateTime::from_timestamp_micros(tick).unwrap()
    };
    let scene = Scene::with(|builder| builder.clock(clock));
    thread::scope(|scope| {
        for thread in 0..8 {
            let scene = &scene;
            scope.spawn(move || {
                for number in 0..50 {
                    scene.say(&format!("{thread} {number:02}")).unwrap();
                }
            });
        }
    });
    let history = scene.repo.get_history(&scene.task).unwrap();
    assert_eq!(history.len(), 400);
    assert!(history.is_sorted_by_key(|turn| turn.seq));
    assert!(history.is_sorted_by(|one, next| one.timestamp < next.timestamp));
    for thread in 0..8 {
        let own = history
            .iter()
            .filter(|turn| turn.content.starts_with(&format!("{thread} ")));
        assert!(own.map(|turn| &turn.content).is_sorted(), "thread {thread}");
    }
}

#[test]
fn a_transaction_is_capped_in_writes_and_in_bytes() {
    let scene = Scene::new();
    let many = (0..300).map(|_| says("small")).collect();
    let (results, batches) = scene.at_once(many);
    assert!(results.into_iter().all(|r| r.unwrap().is_ok()));
    assert_eq!(batches, 2, "256 and the rest");

    let megabyte = || {
        write(|repo: &Repo, task: &TaskId| {
            let content = "x".repeat(1024 * 1024);
            Ok(vec![repo.save_message(task, Role::User, &content)?])
        })
    };
    let (results, batches) = scene.at_once((0..9).map(|_| megabyte()).collect());
    assert!(
        results
            .into_iter()
            .all(|r: thread::Result<Result<_>>| r.unwrap().is_ok())
    );
    assert_eq!(batches, 3, "4 MiB each and the rest");
    assert_eq!(scene.repo.count_history(&scene.task).unwrap(), 309);
}

/// A leader waits inside the write transaction for the callers of the last one.
#[test]
fn a_transaction_that_did_not_begin_has_no_followers() {
    let scene = Scene::new();
    let queue = &scene.repo.store.sqlite().writer.queue;
    let admit = || {
        let deadline = Deadline::after(Duration::from_secs(60));
        let id = scene.task.clone();
        queue.admit(
            Append::new("save_message", Target::new(&id, None), &[]),
            deadline,
        )
    };
    let Admission::Alone(lead, _) = admit() else {
        panic!("nobody writes");
    };
    let (Admission::Queued(None, first), Admission::Queued(None, second)) = (admit(), admit())
    else {
        panic!("somebody writes");
    };
    drop(lead);
    let WaitResult::Lead(mut lead) = first.wait() else {
        panic!("nobody else is there to lead");
    };
    assert_eq!(lead.take(false).len(), 2);
    assert!(lead.take(false).is_empty());
    drop(lead);
    // They are expected again for a millisecond, in which these two may come.
    let (lead, _waiter) = match admit() {
        Admission::Alone(lead, _) => (lead, None),
        Admission::Queued(lead, waiter) => (lead.unwrap(), Some(waiter)),
    };
    drop(lead.take_late(false));
    drop(lead);
    assert!(matches!(admit(), Admission::Alone(..)));
    drop(second);
}

/// Whose own write still waits when it panics must not be told to lead by its own unwinding.
#[test]
fn a_leader_that_panics_before_its_own_write_gives_the_lead_away() {
    let scene = Scene::new();
    let queue = &scene.repo.store.sqlite().writer.queue;
    let deadline = Deadline::after(Duration::from_secs(60));
    let write = || DeleteTask {
        id: scene.task.clone(),
    };
    let Admission::Alone(lead, _) = queue.admit(write(), deadline) else {
        panic!("nobody writes");
    };
    let Admission::Queued(None, place) = queue.admit(write(), deadline) else {
        panic!("somebody writes");
    };
    drop(lead);
    let WaitResult::Lead(lead) = place.wait() else {
        panic!("nobody else is there to lead");
    };
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _unwound = (lead, place);
        panic!("before the batch was taken");
    }));
    assert!(panics.is_err());
    assert_eq!(scene.queued(), 0);
    assert_eq!(scene.say("works").unwrap(), 1);
}

/// A constraint of another program may end the transaction, or leave half a statement, and looks
/// like a refusal.
#[test]
fn a_constraint_nobody_knows_fails_the_one_that_met_it() {
    for resolution in ["ROLLBACK", "FAIL"] {
        let scene = Scene::new();
        scene.say("0").unwrap();
        scene.execute(&format!(
            "CREATE TABLE theirs (x UNIQUE); INSERT INTO theirs VALUES (1);
             CREATE TRIGGER theirs AFTER INSERT ON conversation_history WHEN NEW.content = 'bad'
             BEGIN INSERT OR {resolution} INTO theirs VALUES (1); END",
        ));
        let (results, _) = scene.at_once(vec![says("a"), says("bad"), says("b"), says("c")]);
        let are_stored: Vec<_> = results.into_iter().map(|r| r.unwrap().is_ok()).collect();
        assert_eq!(are_stored, [true, false, true, true], "{resolution}");
        assert_eq!(scene.said(), ["0", "a", "b", "c"], "{resolution}");
        scene.say("bad").unwrap_err();
        assert_eq!(scene.said(), ["0", "a", "b", "c"], "{resolution}");
    }
}

/// After a panic the connection is in the pool, where closing has to look as well: it waits for all
/// connections, at most for the timeout.
#[test]
fn a_store_is_closed_after_a_panic() {
    let (calls_left, clock) = breaking_clock();
    let scene = Scene::with(|builder| builder.timeout(Duration::from_secs(600)).clock(clock));
    calls_left.store(0, Ordering::Relaxed);
    let (repo, task) = (scene.repo.clone(), scene.task.clone());
    let panics = thread::spawn(move || repo.save_message(&task, Role::User, "x"));
    assert!(panics.join().is_err());
    let (closed, is_closed) = std::sync::mpsc::channel();
    let repo = scene.repo;
    thread::spawn(move || {
        drop(repo);
        closed.send(()).unwrap();
    });
    // Only ends the test when it would hang.
    is_closed.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(!scene.folder.path().join("store.db-wal").exists());
}

#[test]
fn a_wait_for_another_process_is_counted_and_is_no_commit() {
    let scene = Scene::new();
    scene.say("0").unwrap();
    // The second one needs a transaction: the other program has appended, too.
    for others in [
        "",
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', NULL, NULL)",
    ] {
        let mut lock = scene.other_program();
        lock.batch_execute(&format!("BEGIN IMMEDIATE; {others}"))
            .unwrap();
        let (begun, retries) = (Instant::now(), scene.repo.stats().lock_retries);
        let (writer, task) = (
            Arc::clone(&scene.repo.store.sqlite().writer),
            scene.task.clone(),
        );
        let append = thread::spawn(move || {
            let message = NewMessage::new(Role::User, "said");
            let mut append = Append::new("save_message", Target::new(&task, None), &[message]);
            let deadline = Deadline::after(Duration::from_secs(60));
            writer
                .engine
                .run_leading(deadline, &mut append)
                .ok()
                .flatten()
                .unwrap()
                .1
        });
        wait_until(|| scene.repo.stats().lock_retries > retries + 1_000);
        let waited = begun.elapsed();
        lock.batch_execute("COMMIT").unwrap();
        let committed = append.join().unwrap();
        assert!(committed.lock_retries > 1_000);
        assert!(
            committed.commit < waited,
            "{:?} of {waited:?}",
            committed.commit
        );
    }
    assert_eq!(scene.said(), ["0", "said", "x", "said"]);
}

/// Nothing but fairness rests on the lock that processes take in turn.
#[cfg(unix)]
#[test]
fn a_lock_that_is_never_given_back_stops_nobody() {
    let scene = Scene::with(|builder| builder.timeout(Duration::from_secs(20)));
    let log = std::fs::File::open(scene.folder.path().join("store.db-wal")).unwrap();
    rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut crowd = Crowd::gather(&scene, vec![says("a")]);
    crowd.let_go();
    for result in crowd.join() {
        result.unwrap().unwrap();
    }
    assert_eq!(scene.said(), ["a"]);
}

/// Who has met others takes the lock, and gives it back with each transaction.
#[cfg(unix)]
#[test]
fn the_lock_is_taken_while_there_are_others_and_not_kept() {
    use rustix::fs::{FlockOperation, flock};

    let is_locked = Arc::new(AtomicBool::new(false));
    let log_path = Arc::new(parking_lot::Mutex::new(None));
    let (locked, path) = (Arc::clone(&is_locked), Arc::clone(&log_path));
    let clock = move || {
        if let Some(path) = &*path.lock() {
            let log = std::fs::File::open(path).unwrap();
            let lock = flock(&log, FlockOperation::NonBlockingLockExclusive);
            locked.store(lock.is_err(), Ordering::Relaxed);
        }
        DateTime::UNIX_EPOCH
    };
    for (yields, is_taken) in [(true, true), (false, false)] {
        let clock = clock.clone();
        let scene = Scene::with(|builder| builder.yield_to_other_processes(yields).clock(clock));
        let path = scene.folder.path().join("store.db-wal");
        *log_path.lock() = Some(path.clone());
        scene.say("alone").unwrap();
        assert!(!is_locked.load(Ordering::Relaxed), "nobody is there");
        let mut crowd = Crowd::<()>::gather(&scene, vec![]);
        crowd.let_go();
        crowd.join();
        assert_eq!(is_locked.load(Ordering::Relaxed), is_taken);
        let log = std::fs::File::open(path).unwrap();
        flock(&log, FlockOperation::NonBlockingLockExclusive).unwrap();
        *log_path.lock() = None;
    }
}

#[cfg(unix)]
#[test]
fn a_panic_gives_the_lock_back() {
    let (calls_left, clock) = breaking_clock();
    let scene = Scene::with(|builder| builder.clock(clock));
    let mut crowd = Crowd::<()>::gather(&scene, vec![]);
    crowd.let_go();
    crowd.join();
    calls_left.store(0, Ordering::Relaxed);
    let (repo, task) = (scene.repo.clone(), scene.task.clone());
    let panics = thread::spawn(move || repo.save_message(&task, Role::User, "x"));
    assert!(panics.join().is_err());
    let log = std::fs::File::open(scene.folder.path().join("store.db-wal")).unwrap();
    rustix::fs::flock(&log, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
}

/// Nobody is told that it was stored, in a shared transaction either.
#[test]
#[cfg(unix)]
fn a_file_that_is_gone_fails_all_that_share_a_transaction() {
    let scene = Scene::new();
    let mut crowd = Crowd::gather(&scene, vec![says("a"), says("b"), says("c")]);
    let path = scene.folder.path().join("store.db");
    let elsewhere = scene.folder.path().join("elsewhere.db");
    std::fs::rename(&path, &elsewhere).unwrap();
    crowd.let_go();
    assert!(crowd.first.join().is_err(), "it unwraps");
    for caller in crowd.callers {
        let error = caller.join().unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::FileLost { .. }),
            "{error:?}"
        );
        assert!(error.to_string().starts_with("save_message: "), "{error}");
    }
    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(scene.say("next").unwrap(), 1, "nothing of them is stored");
}
