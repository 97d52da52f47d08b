//! Leases: claiming, renewing, losing and fencing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use turnkeep_repo::chrono::{DateTime, TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, Claim, Error, ErrorKind, Fence, HistoryPage, MessageKey, NewMessage, NewTask,
    Role, StatusUpdate, TaskId, TaskStatus, WorkerId,
};

use crate::scene::{binding, contents, open_with_task, place, save_task};
use crate::{Claimed, Harness, Options, Store, Worker};

pub(super) const LONG: Duration = Duration::from_secs(3_600);
/// Expires before the next call.
pub(super) const SHORT: Duration = Duration::from_micros(1);

pub(super) fn lease_lost(fence: i64, actual: i64) -> ErrorKind {
    let [fence, actual] = [fence, actual].map(|number| Fence::new(number).unwrap());
    ErrorKind::LeaseLost { fence, actual }
}

pub(super) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

pub(super) fn ids<R>(claims: &[Claim<R>]) -> Vec<&str> {
    claims.iter().map(|claim| claim.task.id.as_str()).collect()
}

/// Repeats `ask` until it returns a value, since the database clock may not have advanced yet.
pub(super) fn until<T>(mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
    }
    anyhow::bail!("nothing came of it in 20 seconds")
}

fn claim_one<S: Store>(repo: &S, lease: Duration) -> anyhow::Result<Claim<S::Handle>> {
    until(|| Ok(repo.claim_ready(&worker("w"), 1, lease)?.pop()))
}

/// The claims of a store.
type ClaimOf<H> = Claim<<<H as Harness>::Store as Store>::Handle>;

pub(super) fn claimed<'a, S: Store>(
    _: &S,
    claim: &'a Claim<S::Handle>,
) -> impl Claimed + use<'a, S> {
    S::fenced(claim)
}

/// A clock that advances by a second per write, which gives the tasks an order.
pub(super) fn ticking() -> Options {
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let seconds = Mutex::new(0);
    Options::new().clock(move || {
        let mut seconds = seconds.lock().unwrap();
        *seconds += 1;
        start + TimeDelta::seconds(*seconds)
    })
}

/// `claim_ready` returns ready tasks by creation, then by id, and sets them running.
pub fn claim_ready_returns_the_oldest_first<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    for id in ["b", "d", "a", "c"] {
        save_task(&repo, id)?;
    }
    repo.save_task(&NewTask::new("after".parse()?, "A").depends_on(["b".parse()?, "a".parse()?]))?;

    let before = Utc::now();
    let claims = repo.claim_ready(&worker("first"), 3, LONG)?;
    assert_eq!(ids(&claims), ["b", "d", "a"]);
    for claim in &claims {
        assert_eq!(claim.worker, worker("first"));
        assert_eq!(claim.fence, 1);
        assert_eq!(claim.task.status, TaskStatus::Running);
        assert_eq!(claim.task.worker.as_ref(), Some(&claim.worker));
        assert_eq!(claim.task.fence, claim.fence);
        assert_eq!(claim.task.lease_ends_at, Some(claim.lease_ends_at));
        assert_eq!(claim.task.lease_length.map(Duration::from), Some(LONG));
        assert!(claim.task.updated_at > claim.task.created_at);
        assert_eq!(claim.task, repo.get_task(&claim.task.id)?);
        // The database clock may have a resolution of a millisecond.
        let begin = claim.lease_ends_at - TimeDelta::hours(1);
        let slack = TimeDelta::milliseconds(1);
        assert!((before - slack..=Utc::now() + slack).contains(&begin));
    }

    assert_eq!(ids(&repo.claim_ready(&worker("second"), 9, LONG)?), ["c"]);
    assert!(repo.claim_ready(&worker("third"), 9, LONG)?.is_empty());
    for id in ["a", "b"] {
        repo.update_task_status(&id.parse()?, TaskStatus::Completed)?;
    }
    let claims = repo.claim_ready(&worker("third"), 9, LONG)?;
    assert_eq!(ids(&claims), ["after"]);
    assert_eq!(claims[0].task.depends_on, ["a".parse()?, "b".parse()?]);
    Ok(())
}

/// `claim_ready` returns at most `limit` tasks, and at most 1,000.
pub fn claim_ready_returns_at_most_1000<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    thread::scope(|scope| {
        for part in 0..16 {
            let repo = &repo;
            scope.spawn(move || {
                (0..63).for_each(|n| drop(save_task(repo, &format!("{part}-{n}")).unwrap()));
            });
        }
    });
    assert!(repo.claim_ready(&worker("w"), 0, LONG)?.is_empty());
    assert_eq!(repo.claim_ready(&worker("w"), 1, LONG)?.len(), 1);
    assert_eq!(repo.claim_ready(&worker("w"), u32::MAX, LONG)?.len(), 1_000);
    assert_eq!(repo.claim_ready(&worker("w"), u32::MAX, LONG)?.len(), 7);
    Ok(())
}

/// `claim_ready` gives out eligible tasks with all dependencies done, before pending ones.
pub fn claim_ready_includes_eligible_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, pending) = open_with_task(&store, "pending")?;
    let [eligible, blocked] = ["eligible", "blocked"].map(|id| TaskId::new(id).unwrap());
    for (id, depends_on) in [(&eligible, vec![]), (&blocked, vec![pending.clone()])] {
        let task = NewTask::new(id.clone(), "E").status(TaskStatus::Eligible);
        repo.save_task(&task.depends_on(depends_on))?;
    }
    let claim = || repo.claim_ready(&worker("w"), 1, LONG);
    assert_eq!(claim()?[0].task.id, eligible);
    assert_eq!(claim()?[0].task.id, pending);
    assert!(claim()?.is_empty());
    repo.update_task_status(&pending, TaskStatus::Completed)?;
    assert_eq!(claim()?[0].task.id, blocked);
    Ok(())
}

/// `claim` takes a ready task or one with an expired lease, and returns `None` for any other.
pub fn claim_takes_a_task_that_could_start_now<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let (parser, tests) = (save_task(&repo, "parser")?, TaskId::new("tests")?);
    repo.save_task(&NewTask::new(tests.clone(), "T").depends_on([parser.clone()]))?;
    let claim = |task: &TaskId, name, lease| repo.claim(task, &worker(name), lease);

    assert!(
        claim(&tests, "w", LONG)?.is_none(),
        "it waits for the parser"
    );
    let first = claim(&parser, "w", SHORT)?.unwrap();
    assert_eq!((first.fence.get(), &first.worker), (1, &worker("w")));
    assert_eq!(first.task, repo.get_task(&parser)?);
    assert_eq!(first.task.status, TaskStatus::Running);
    let second = until(|| Ok(claim(&parser, "x", LONG)?))?;
    assert_eq!(second.fence, 2);
    assert!(claim(&parser, "w", LONG)?.is_none());
    let lost = claimed(&repo, &first).save_message(Role::User, "x");
    assert!(matches!(
        lost.unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));

    for status in [
        TaskStatus::Failed,
        TaskStatus::Skipped,
        TaskStatus::Completed,
    ] {
        repo.update_task_status(&parser, status)?;
        assert!(claim(&parser, "w", LONG)?.is_none(), "{status}");
    }
    let next = claim(&tests, "w", LONG)?.unwrap();
    assert_eq!(next.task.depends_on, [parser]);
    repo.update_task_status(&tests, TaskStatus::Pending)?;
    assert!(repo.claim_task(&tests)?);
    assert!(
        claim(&tests, "w", LONG)?.is_none(),
        "claimed without a lease"
    );

    let missing = claim(&"none".parse()?, "w", LONG).unwrap_err();
    assert_eq!(
        (missing.operation(), missing.kind()),
        ("claim", &ErrorKind::TaskNotFound)
    );
    Ok(())
}

/// `reclaim` gives a worker its own running tasks, each with a new fence, and no task of another worker.
pub fn reclaim_returns_the_tasks_of_a_worker_with_new_fences<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    for id in ["b", "a", "over", "ended", "other", "free"] {
        save_task(&repo, id)?;
    }
    let writes = |id: &str| Ok::<_, Error>(NewTask::new(id.parse()?, "T").writes_files(["f"]));
    repo.save_task(&writes("taken")?)?;
    let claim = |id: &str, name, lease| -> anyhow::Result<ClaimOf<H>> {
        Ok(repo.claim(&id.parse()?, &worker(name), lease)?.unwrap())
    };
    let before = claim("a", "w", LONG)?;
    for (id, name, lease) in [("b", "w", LONG), ("over", "w", SHORT), ("ended", "w", LONG)] {
        let _ = claim(id, name, lease)?;
    }
    let _ = claim("other", "x", LONG)?;
    repo.update_task_status(&"ended".parse()?, TaskStatus::Completed)?;
    // Another task gets the file once the lease is over.
    let taken = claim("taken", "w", SHORT)?;
    repo.save_task(&writes("next")?)?;
    let _ = until(|| Ok(repo.claim(&"next".parse()?, &worker("x"), LONG)?))?;

    let again = repo.reclaim(&worker("w"), LONG)?;
    assert_eq!(ids(&again), ["b", "a", "over"]);
    for claim in &again {
        assert_eq!((claim.fence.get(), &claim.worker), (2, &worker("w")));
        assert_eq!(claim.task, repo.get_task(&claim.task.id)?);
    }
    let stale = claimed(&repo, &before).save_message(Role::User, "x");
    assert!(matches!(
        stale.unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));
    claimed(&repo, &again[1]).save_message(Role::User, "x")?;
    assert_eq!(repo.get_task(&taken.task.id)?.fence, 1);
    assert_eq!(ids(&repo.reclaim(&worker("x"), LONG)?), ["other", "next"]);
    assert!(repo.reclaim(&worker("nobody"), LONG)?.is_empty());
    assert!(matches!(
        repo.reclaim(&worker("w"), Duration::ZERO)
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput { field: "lease", .. }
    ));
    Ok(())
}

/// Of several threads that claim one task exactly one gets it.
pub fn threads_claim_one_task_once<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for round in 1..=10 {
        let claims: Vec<ClaimOf<H>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| repo.claim(&task, &worker("w"), LONG).unwrap()))
                .collect();
            let claims = threads.into_iter().map(|thread| thread.join().unwrap());
            claims.flatten().collect()
        });
        assert_eq!((claims.len(), claims[0].fence.get()), (1, round));
        repo.update_task_status(&task, TaskStatus::Pending)?;
    }
    Ok(())
}

/// A lease must be a microsecond to 24 hours long.
pub fn lease_length_is_bounded<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let day = Duration::from_secs(24 * 60 * 60);
    for lease in [
        Duration::ZERO,
        Duration::from_nanos(999),
        day + Duration::from_nanos(1),
        Duration::MAX,
    ] {
        for error in [
            repo.claim_ready(&worker("w"), 1, lease).unwrap_err(),
            repo.claim(&task, &worker("w"), lease).unwrap_err(),
        ] {
            assert!(matches!(
                error.kind(),
                ErrorKind::InvalidInput { field: "lease", .. }
            ));
        }
    }
    assert_eq!(repo.get_task(&task)?.fence, 0);
    assert_eq!(
        repo.claim_ready(&worker("w"), 1, Duration::ZERO)
            .unwrap_err()
            .to_string(),
        "claim_ready: invalid lease: must be a microsecond to 24 hours long"
    );
    let _ = claim_one(&repo, SHORT)?;
    let claim = claim_one(&repo, day)?;
    assert!(claim.lease_ends_at > Utc::now() + TimeDelta::hours(23));
    Ok(())
}

/// `claim_ready` returns a task whose lease has expired, with a new fence.
pub fn an_expired_lease_can_be_claimed<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let old = save_task(&repo, "old")?;
    save_task(&repo, "new")?;
    assert_eq!(repo.claim_ready(&worker("first"), 2, SHORT)?.len(), 2);
    repo.update_task_status(&old, TaskStatus::Pending)?;
    let second = until(|| {
        let claim = repo.claim_ready(&worker("second"), 1, LONG)?.remove(0);
        if claim.task.id == old {
            // The other lease has not expired yet.
            repo.update_task_status(&old, TaskStatus::Pending)?;
            return Ok(None);
        }
        Ok(Some(claim))
    })?;
    assert_eq!(second.fence, 2);
    assert_eq!(second.task.worker, Some(worker("second")));
    assert_eq!(ids(&repo.claim_ready(&worker("third"), 2, LONG)?), ["old"]);
    assert!(repo.claim_ready(&worker("fourth"), 2, LONG)?.is_empty());

    claimed(&repo, &second).renew(SHORT)?;
    repo.update_task_status(&old, TaskStatus::Pending)?;
    let both = until(|| {
        let claims = repo.claim_ready(&worker("fifth"), 2, LONG)?;
        if claims.len() == 1 {
            repo.update_task_status(&old, TaskStatus::Pending)?;
            return Ok(None);
        }
        Ok(Some(claims))
    })?;
    assert_eq!(ids(&both), ["old", "new"], "in the order of all");
    Ok(())
}

/// Leases use the clock of the database. The clock of a handle only stamps rows.
pub fn leases_use_the_database_clock<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let open_at = |time: &str| -> anyhow::Result<H::Store> {
        let time: DateTime<Utc> = time.parse()?;
        Ok(store.open_with(Options::new().clock(move || time))?)
    };
    let claim = claim_one(&repo, LONG)?;
    let late = open_at("2999-01-01T00:00:00Z")?;
    assert!(late.claim_ready(&worker("late"), 1, LONG)?.is_empty());
    assert!(late.requeue_running()?.is_empty());
    let ends_at = claimed(&late, &late.get_claim(&task, claim.fence)?).renew(SHORT)?;
    assert!(ends_at < claim.lease_ends_at, "counted from now");
    let early = open_at("1999-01-01T00:00:00Z")?;
    assert_eq!(claim_one(&early, LONG)?.fence, 2);
    assert_eq!(early.get_task(&task)?.updated_at.to_rfc3339()[..4], *"1999");
    Ok(())
}

/// `renew` extends a lease until another worker claims the task or a status ends the lease.
pub fn renew_fails_once_the_lease_is_lost<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let claim = claim_one(&repo, SHORT)?;
    let mut expected = repo.get_task(&task)?;
    let ends_at = claimed(&repo, &claim).renew(LONG)?;
    assert!(ends_at > claim.lease_ends_at);
    let after = repo.get_task(&task)?;
    assert_eq!(after.lease_ends_at, Some(ends_at));
    assert_eq!(after.lease_length.map(Duration::from), Some(LONG));
    expected.lease_ends_at = Some(ends_at);
    expected.lease_length = after.lease_length;
    assert_eq!(after, expected, "nothing else has changed");
    assert!(repo.claim_ready(&worker("other"), 1, LONG)?.is_empty());

    claimed(&repo, &claim).renew(SHORT)?;
    let other = claim_one(&repo, LONG)?;
    let lost = claimed(&repo, &claim).renew(LONG).unwrap_err();
    assert_eq!(*lost.kind(), lease_lost(1, 2));
    assert_eq!(lost.operation(), "renew");
    assert_eq!(lost.task_id(), Some(&task));
    assert!(!lost.is_retryable());
    assert_eq!(
        lost.to_string(),
        "renew: the lease 1 of task `t` is over, its fence is 2 now"
    );
    assert_eq!(
        repo.get_task(&task)?.lease_ends_at,
        Some(other.lease_ends_at)
    );

    // A status ends the lease, so it cannot be renewed.
    repo.update_task_status(&task, TaskStatus::Completed)?;
    let over = claimed(&repo, &other).renew(LONG);
    assert_eq!(*over.unwrap_err().kind(), lease_lost(2, 2));
    assert_eq!(repo.get_task(&task)?.lease_ends_at, None);
    repo.delete_task(&task)?;
    let gone = claimed(&repo, &other).renew(LONG);
    assert!(matches!(gone.unwrap_err().kind(), ErrorKind::TaskNotFound));
    Ok(())
}

type FencedWrite<T> = (&'static str, fn(T) -> Result<(), Error>);

/// Every fenced write.
fn fenced_writes<T: Claimed>() -> Vec<FencedWrite<T>> {
    vec![
        ("save_session", |task| {
            let session = binding(BackendType::Claude, "s", None).unwrap();
            task.save_session(&session).map(drop)
        }),
        ("save_message", |task| {
            assert_eq!(task.save_message(Role::User, "said")?, 1);
            Ok(())
        }),
        ("save_messages", |task| {
            let message = [NewMessage::new(Role::User, "second")];
            assert_eq!(task.save_messages(&message)?, [2]);
            Ok(())
        }),
        ("save_messages_after", |task| {
            let message = [NewMessage::new(Role::User, "third")];
            assert_eq!(task.save_messages_after(place(2), &message)?, [3]);
            Ok(())
        }),
        ("save_missing_messages", |task| {
            let message = [NewMessage::new(Role::User, "fourth").key("k".parse()?)];
            assert!(task.save_missing_messages(&message)?[0].is_new);
            Ok(())
        }),
        ("hide_after", |task| {
            assert_eq!(task.hide_after(place(2))?, 2);
            Ok(())
        }),
        ("save_recording", |task| {
            assert_eq!(task.save_recording(&"a".parse()?, 0, b"line")?, 4);
            let files = task.get_recordings()?;
            assert_eq!(task.read_recording(files[0].number, 0)?, b"line");
            Ok(())
        }),
        ("delete_recordings", |task| {
            assert_eq!(task.delete_recordings()?, 1);
            Ok(())
        }),
        ("retire_session", |task| {
            assert!(task.retire_session(&"s".parse()?, "dead")?);
            Ok(())
        }),
        ("renew", |task| task.renew(LONG * 2).map(drop)),
        ("update_task_status", |task| {
            task.update_task_status(StatusUpdate::failed("red"))
        }),
    ]
}

/// Everything that can be read of a task.
fn everything(repo: &impl Store, task: &TaskId) -> anyhow::Result<String> {
    Ok(format!(
        "{:?} {:?} {:?} {:?} {:?}",
        repo.get_task(task)?,
        repo.get_task(task)?.error,
        repo.get_recordings(task)?,
        repo.list_session_revisions(task)?,
        repo.get_history(task)?,
    ))
}

/// `release` sets the task pending and ends the claim.
pub fn release_gives_the_task_back<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(ticking())?;
    let task = save_task(&repo, "t")?;
    let claim = claim_one(&repo, LONG)?;
    assert!(!claimed(&repo, &claim).lost()?);
    claimed(&repo, &claim).release()?;
    assert!(claimed(&repo, &claim).lost()?);
    let released = repo.get_task(&task)?;
    assert_eq!(
        (released.status, released.fence.get()),
        (TaskStatus::Pending, 2)
    );
    assert_eq!((released.worker, released.lease_ends_at), (None, None));
    assert!(released.status_changed_at > claim.task.status_changed_at);
    for refused in [
        claimed(&repo, &claim).release(),
        claimed(&repo, &claim)
            .save_message(Role::User, "x")
            .map(drop),
        repo.get_claim(&task, claim.fence).map(drop),
        repo.get_claim(&task, Fence::new(2)?).map(drop),
    ] {
        let kind = refused.unwrap_err();
        assert!(matches!(
            kind.kind(),
            ErrorKind::LeaseLost { actual, .. } if *actual == 2
        ));
    }
    let next = claim_one(&repo, LONG)?;
    assert_eq!(next.fence, 3);
    claimed(&repo, &next).update_task_status(TaskStatus::Completed)?;
    let late = claimed(&repo, &next).release().unwrap_err();
    assert_eq!(late.operation(), "release");
    assert_eq!(repo.get_task(&task)?.status, TaskStatus::Completed);
    Ok(())
}

/// `lost` is true once the lease is over, and when a later claim, a status or the deletion has ended it.
pub fn lost_follows_clock_and_fence<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let claim = claim_one(&repo, SHORT)?;
    let lost = |claim: &ClaimOf<H>| claimed(&repo, claim).lost();
    until(|| Ok(lost(&claim)?.then_some(())))?;
    claimed(&repo, &claim).renew(LONG)?;
    assert!(!lost(&claim)?);
    let again = repo.reclaim(&worker("w"), LONG)?.remove(0);
    assert_eq!((lost(&claim)?, lost(&again)?), (true, false));
    let same = repo.get_claim(&task, again.fence)?;
    assert_eq!(
        (same.task.clone(), same.lease_ends_at),
        (again.task.clone(), again.lease_ends_at)
    );
    claimed(&repo, &same).update_task_status(TaskStatus::Failed)?;
    assert!(lost(&again)?);
    repo.delete_task(&task)?;
    assert!(lost(&again)?);
    Ok(())
}

/// A claim reads everything of its task.
pub fn a_claim_reads_its_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let claim = claim_one(&repo, LONG)?;
    // The claim keeps the store open.
    let repo = store.open()?;
    let claim = claimed(&repo, &claim);
    assert_eq!(claim.find_session()?, None);
    let session = claim.save_session(&binding(BackendType::Claude, "s", None)?)?;
    claim.save_message(Role::User, "Why?")?;
    let key = MessageKey::new("k")?;
    claim.save_messages(&[NewMessage::new(Role::Assistant, "So.").key(key.clone())])?;
    assert_eq!(claim.get_task()?, repo.get_task(&task)?);
    assert_eq!(claim.get_session()?, session);
    assert_eq!(
        claim.get_session_for_backend(&BackendType::Claude)?,
        session
    );
    assert_eq!(
        claim.list_session_revisions()?,
        repo.list_session_revisions(&task)?
    );
    let history = repo.get_history(&task)?;
    assert_eq!(claim.get_history()?, history);
    assert_eq!(claim.get_history_last(1)?, history[1..]);
    assert_eq!(claim.get_history_page(HistoryPage::new(1))?, history[..1]);
    assert_eq!(claim.count_history()?, 2);
    assert_eq!(claim.find_turn_by_key(&key)?.as_ref(), history.last());
    assert_eq!(claim.wait_for_turns(place(1), Duration::MAX)?, history[1..]);
    assert_eq!(claim.wait_for_turns(place(2), Duration::ZERO)?, []);
    Ok(())
}

/// Every fenced write fails with a stale fence and succeeds with the current one.
pub fn a_stale_fence_refuses_every_write<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let lost = claim_one(&repo, SHORT)?;
    let held = claim_one(&repo, LONG)?;
    for (name, write) in fenced_writes() {
        let before = everything(&repo, &task)?;
        let error = write(claimed(&repo, &lost)).unwrap_err();
        assert_eq!((error.operation(), error.kind()), (name, &lease_lost(1, 2)));
        assert_eq!(error.task_id(), Some(&task));
        assert_eq!(everything(&repo, &task)?, before, "{name}");
        write(claimed(&repo, &held))?;
        assert_ne!(everything(&repo, &task)?, before, "{name}");
    }
    repo.delete_task(&task)?;
    for (name, write) in fenced_writes() {
        let error = write(claimed(&repo, &held)).unwrap_err();
        assert_eq!(
            (error.operation(), error.kind()),
            (name, &ErrorKind::TaskNotFound)
        );
    }
    Ok(())
}

/// A stale fence is reported before a wrong last seq, and for an empty batch.
pub fn the_fence_is_checked_before_the_seq<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let lost = claim_one(&repo, SHORT)?;
    let held = claim_one(&repo, LONG)?;
    let message = [NewMessage::new(Role::User, "x")];
    let error = claimed(&repo, &lost).save_messages_after(place(7), &message);
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));
    let error = claimed(&repo, &held).save_messages_after(place(7), &message);
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::SeqConflict { expected, actual: None } if *expected == place(7)
    ));
    let error = claimed(&repo, &lost).save_messages(&[]);
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));
    assert_eq!(repo.count_history(&task)?, 0);
    Ok(())
}

/// A claim cannot come between the fence check and the write: either the write is stored or the
/// other worker gets the task.
pub fn fence_check_and_write_are_atomic<H: Harness>() -> anyhow::Result<()> {
    for is_append in [true, false] {
        let store = H::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        // Both leases have expired, so the other worker can claim the task at any time.
        let _ = claim_one(&repo, SHORT)?;
        let claim = claim_one(&repo, SHORT)?;
        let other = store.open_with(Options::new().timeout(Duration::from_millis(20)))?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::clone(&asked);
        // The store calls the clock between the fence check and the write.
        let repo = store.open_with(Options::new().clock(move || {
            let answer = other.claim_ready(&worker("other"), 1, LONG);
            answers.lock().unwrap().push(answer);
            Utc::now()
        }))?;
        let written = match is_append {
            true => claimed(&repo, &claim)
                .save_message(Role::User, "in time")
                .map(drop),
            false => claimed(&repo, &claim).update_task_status(StatusUpdate::failed("in time")),
        };
        let mut given = 0;
        for answer in std::mem::take(&mut *asked.lock().unwrap()) {
            match answer {
                Ok(claims) => given += claims.len(),
                Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let stored = repo.get_task(&task)?;
        let is_written = stored.error.is_some() || repo.count_history(&task)? == 1;
        match written {
            Ok(()) => assert!(is_written && given == 0),
            Err(error) if matches!(error.kind(), ErrorKind::LeaseLost { .. }) => {
                assert!(!is_written && given == 1)
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    Ok(())
}

/// Any status but running ends the lease. The fence stays valid for last messages.
pub fn any_status_but_running_ends_the_lease<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let claim = claim_one(&repo, LONG)?;
    repo.update_task_status(&task, StatusUpdate::from(TaskStatus::Running))?;
    let running = repo.get_task(&task)?;
    assert_eq!(running.worker, Some(worker("w")));
    assert_eq!(running.lease_ends_at, Some(claim.lease_ends_at));

    for status in TaskStatus::ALL {
        if *status == TaskStatus::Running {
            continue;
        }
        let last = repo.get_task(&task)?.fence;
        repo.update_task_status(&task, TaskStatus::Pending)?;
        let claim = claim_one(&repo, LONG)?;
        assert_eq!(claim.fence, last.get() + 1);
        claimed(&repo, &claim).update_task_status(*status)?;
        let ended = repo.get_task(&task)?;
        assert_eq!(ended.status, *status);
        assert_eq!((ended.worker, ended.lease_ends_at), (None, None));
        assert_eq!(ended.fence, claim.fence);
        // The fence is still valid for messages.
        claimed(&repo, &claim).save_message(Role::Assistant, "Bye.")?;
    }
    Ok(())
}

/// `requeue_running` of an expired lease and `claim_task` increment the fence.
pub fn requeue_and_claim_task_invalidate_the_fence<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let says = |claim: &ClaimOf<H>| claimed(&repo, claim).save_message(Role::User, "x");

    // Without a lease the fence stays 0.
    assert!(repo.claim_task(&task)?);
    assert_eq!(repo.get_task(&task)?.fence, 0);
    assert_eq!(repo.requeue_running()?, std::slice::from_ref(&task));
    assert_eq!(repo.get_task(&task)?.fence, 0);

    let first = claim_one(&repo, LONG)?;
    assert!(repo.requeue_running()?.is_empty(), "someone works on it");
    assert!(!repo.claim_task(&task)?);
    assert_eq!(repo.get_task(&task)?.fence, 1);
    says(&first)?;
    claimed(&repo, &first).renew(SHORT)?;
    until(|| Ok(repo.requeue_running()?.pop()))?;
    let requeued = repo.get_task(&task)?;
    assert_eq!(requeued.status, TaskStatus::Pending);
    assert_eq!((requeued.worker, requeued.lease_ends_at), (None, None));
    assert_eq!(requeued.fence, 2);
    assert!(matches!(
        says(&first).unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));

    let second = claim_one(&repo, LONG)?;
    assert_eq!(second.fence, 3);
    repo.update_task_status(&task, TaskStatus::Eligible)?;
    says(&second)?;
    assert!(repo.claim_task(&task)?);
    let taken = repo.get_task(&task)?;
    assert_eq!(taken.status, TaskStatus::Running);
    assert_eq!((taken.worker, taken.lease_ends_at), (None, None));
    assert_eq!(taken.fence, 4);
    assert!(matches!(
        says(&second).unwrap_err().kind(),
        ErrorKind::LeaseLost { .. }
    ));
    assert!(
        repo.claim_ready(&worker("w"), 1, LONG)?.is_empty(),
        "there is no lease that could end"
    );
    assert_eq!(repo.requeue_running()?, std::slice::from_ref(&task));
    assert_eq!(repo.get_task(&task)?.fence, 5);
    Ok(())
}

/// `save_task` does not change worker, fence or lease.
pub fn save_task_keeps_the_lease<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let claim = claim_one(&repo, LONG)?;
    repo.save_task(&NewTask::new(task.clone(), "Another name"))?;
    let saved = repo.get_task(&task)?;
    assert_eq!(saved.name, "Another name");
    assert_eq!(saved.worker, Some(claim.worker.clone()));
    assert_eq!(saved.fence, claim.fence);
    assert_eq!(saved.lease_ends_at, Some(claim.lease_ends_at));
    claimed(&repo, &claim).save_message(Role::User, "x")?;
    Ok(())
}

/// Concurrent threads claim disjoint sets of tasks.
pub fn threads_claim_disjoint_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for number in 0..60 {
        save_task(&repo, &format!("t{number}"))?;
    }
    let claims: Vec<ClaimOf<H>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|number| {
                let repo = repo.clone();
                scope.spawn(move || {
                    let name = worker(&format!("w{number}"));
                    let mut mine = Vec::new();
                    loop {
                        let claims = repo.claim_ready(&name, 3, LONG).unwrap();
                        if claims.is_empty() {
                            return mine;
                        }
                        assert!(claims.len() <= 3);
                        assert!(claims.iter().all(|claim| claim.worker == name));
                        mine.extend(claims);
                    }
                })
            })
            .collect();
        let mine = workers.into_iter().map(|worker| worker.join().unwrap());
        mine.flatten().collect()
    });
    let tasks: BTreeSet<&str> = ids(&claims).into_iter().collect();
    assert_eq!((claims.len(), tasks.len()), (60, 60));
    for claim in &claims {
        assert_eq!(claim.fence, 1);
        let stored = repo.get_task(&claim.task.id)?;
        assert_eq!(stored.worker.as_ref(), Some(&claim.worker));
    }
    Ok(())
}

/// Among concurrent writes to one task, only those with a stale fence fail.
pub fn a_stale_fence_is_refused_among_concurrent_writes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let (lost, held) = (&claim_one(&repo, SHORT)?, &claim_one(&repo, LONG)?);
    let (repo, task) = (&repo, &task);
    thread::scope(|scope| {
        for writer in 0..9 {
            scope.spawn(move || {
                for _ in 0..20 {
                    let stored = match writer % 3 {
                        0 => repo.save_message(task, Role::User, "none"),
                        1 => {
                            let task = claimed(repo, held);
                            task.save_message(Role::User, "held")
                        }
                        _ => {
                            let task = claimed(repo, lost);
                            let refused = task.save_message(Role::User, "lost").unwrap_err();
                            assert!(
                                matches!(refused.kind(), ErrorKind::LeaseLost { .. }),
                                "{refused:?}"
                            );
                            continue;
                        }
                    };
                    stored.unwrap();
                }
            });
        }
    });
    let said = contents(repo, task)?;
    let count = |content| said.iter().filter(|said| *said == content).count();
    assert_eq!((count("none"), count("held"), said.len()), (60, 60, 120));
    Ok(())
}

/// A claim that has appended appends no more once another handle has claimed the task anew.
pub fn a_lost_claim_does_not_go_on_with_its_history<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let lost = claim_one(&repo, LONG)?;
    for seq in 1..=3 {
        assert_eq!(claimed(&repo, &lost).save_message(Role::User, "x")?, seq);
    }
    let other = store.open()?;
    let held = &other.reclaim(&worker("w"), LONG)?[0];
    for seq in 4..=6 {
        let refused = claimed(&repo, &lost)
            .save_message(Role::User, "lost")
            .unwrap_err();
        assert_eq!(refused.kind(), &lease_lost(1, 2));
        assert_eq!(repo.save_message(&task, Role::User, "x")?, 2 * seq - 4);
        assert_eq!(
            claimed(&other, held).save_message(Role::User, "x")?,
            2 * seq - 3
        );
    }
    assert_eq!(contents(&repo, &task)?, ["x"; 9]);
    Ok(())
}

/// Each claim of a task gets the next fence, without duplicates or gaps.
pub fn fences_are_unique<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for number in 0..4 {
        save_task(&repo, &format!("t{number}"))?;
    }
    let claims: Vec<ClaimOf<H>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                let repo = repo.clone();
                scope.spawn(move || {
                    let (mut mine, start) = (Vec::new(), Instant::now());
                    while mine.len() < 30 {
                        assert!(start.elapsed() < Duration::from_secs(60));
                        mine.extend(repo.claim_ready(&worker("w"), 2, SHORT).unwrap());
                        let Some(claim) = mine.last() else {
                            continue;
                        };
                        match claimed(&repo, claim).save_message(Role::User, "mine") {
                            Ok(_) => {}
                            Err(error) if matches!(error.kind(), ErrorKind::LeaseLost { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    mine
                })
            })
            .collect();
        let mine = workers.into_iter().map(|worker| worker.join().unwrap());
        mine.flatten().collect()
    });
    let mut fences: BTreeMap<&str, Vec<Fence>> = BTreeMap::new();
    for claim in &claims {
        let fences = fences.entry(claim.task.id.as_str()).or_default();
        fences.push(claim.fence);
    }
    for (task, mut fences) in fences {
        fences.sort_unstable();
        let expected: Vec<i64> = (1..).take(fences.len()).collect();
        assert_eq!(fences, expected, "{task}");
        assert_eq!(
            repo.get_task(&task.parse()?)?.fence,
            expected.len() as i64,
            "{task}"
        );
    }
    Ok(())
}

/// Concurrent processes claim disjoint sets of tasks.
pub fn processes_claim_disjoint_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for number in 0..40 {
        save_task(&repo, &format!("t{number}"))?;
    }
    let mut workers = (0..4)
        .map(|number| Worker::start(&store, &["claim-ready", &format!("w{number}"), "3"]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for worker in &mut workers {
        assert_eq!(worker.line()?.as_deref(), Some("open"));
    }
    workers.iter_mut().for_each(|worker| worker.go());
    let mut owners = BTreeMap::new();
    for (number, process) in workers.into_iter().enumerate() {
        for task in process.finish()? {
            let before = owners.insert(task.clone(), worker(&format!("w{number}")));
            assert_eq!(before, None, "{task} was given to two");
        }
    }
    assert_eq!(owners.len(), 40);
    for task in repo.get_tasks()? {
        assert_eq!(task.worker.as_ref(), owners.get(task.id.as_str()));
        assert_eq!(task.fence, 1);
    }
    Ok(())
}
