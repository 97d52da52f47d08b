//! Turns that are hidden: undo, rewind, pop.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use turnkeep_repo::{
    ErrorKind, HistoryPage, MessageKey, NewMessage, NewTask, Result, Role, Seq, TaskId, Transaction,
};

use crate::scene::{open_with_task, place, save_task};
use crate::{Harness, Store};

/// Opens a store with a task of so many turns.
fn open_with_turns<H: Harness>(store: &H, turns: i64) -> anyhow::Result<(H::Store, TaskId)> {
    let (repo, task) = open_with_task(store, "t")?;
    let messages: Vec<_> = (1..=turns)
        .map(|seq| NewMessage::new(Role::User, format!("turn {seq}")))
        .collect();
    repo.save_messages(&task, &messages)?;
    Ok((repo, task))
}

fn visible(repo: &impl Store, task: &TaskId) -> Result<Vec<i64>> {
    let history = repo.get_history(task)?;
    assert_eq!(repo.count_history(task)?, history.len() as i64);
    Ok(history.iter().map(|turn| turn.seq.get()).collect())
}

/// The last words are undone, the conversation goes on, is rewound to an earlier point and goes on again, also
/// after a restart.
pub fn undo_rewind_and_pop<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 4)?;
    let other = save_task(&repo, "other")?;
    repo.save_message(&other, Role::User, "stays")?;
    // Pop: the last turn.
    assert_eq!(repo.hide_after(&task, place(3))?, 1);
    assert_eq!(visible(&repo, &task)?, [1, 2, 3]);
    assert_eq!(repo.save_message(&task, Role::User, "again")?, 5);
    assert_eq!(visible(&repo, &task)?, [1, 2, 3, 5]);
    // Rewind: to the second turn. Turn 4 is hidden already.
    assert_eq!(repo.hide_after(&task, place(2))?, 2);
    assert_eq!(visible(&repo, &task)?, [1, 2]);
    assert_eq!(repo.save_message(&task, Role::User, "another way")?, 6);
    drop(repo);
    let repo = store.open()?;
    assert_eq!(visible(&repo, &task)?, [1, 2, 6]);
    assert_eq!(repo.get_history(&task)?[2].content, "another way");
    // Clear.
    assert_eq!(repo.hide_after(&task, None)?, 3);
    assert_eq!(visible(&repo, &task)?, [0i64; 0]);
    assert!(repo.get_history_last(&task, 1)?.is_empty());
    assert_eq!(
        repo.save_message(&task, Role::User, "from the beginning")?,
        7
    );
    assert_eq!(visible(&repo, &task)?, [7]);
    assert_eq!(visible(&repo, &other)?, [1]);

    let all = repo.get_history_page(&task, HistoryPage::new(100).with_hidden())?;
    let all: Vec<&str> = all.iter().map(|turn| turn.content.as_str()).collect();
    let expected = [
        "turn 1",
        "turn 2",
        "turn 3",
        "turn 4",
        "again",
        "another way",
    ];
    assert_eq!(all[..6], expected);
    assert!(repo.delete_task(&task)?);
    save_task(&repo, "t")?;
    assert_eq!(repo.save_message(&task, Role::User, "new")?, 1);
    assert_eq!(
        visible(&repo, &task)?,
        [1],
        "retractions go with their task"
    );
    Ok(())
}

/// Pages and the last turns are slices of the visible history, for any bounds. A page is short only at the end.
pub fn pages_skip_hidden_turns<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 8)?;
    repo.hide_after(&task, place(6))?;
    repo.save_message(&task, Role::User, "9")?;
    repo.save_message(&task, Role::User, "10")?;
    repo.hide_after(&task, place(9))?;
    for seq in 11..=13 {
        assert_eq!(repo.save_message(&task, Role::User, "more")?, seq);
    }
    let expected = [1, 2, 3, 4, 5, 6, 9, 11, 12, 13];
    assert_eq!(visible(&repo, &task)?, expected);
    let seqs = |page| -> anyhow::Result<Vec<i64>> {
        let turns = repo.get_history_page(&task, page)?;
        Ok(turns.iter().map(|turn| turn.seq.get()).collect())
    };
    for after in 0..=14 {
        for limit in 0..=14 {
            let rest = expected.into_iter().filter(|seq| *seq > after);
            let slice: Vec<i64> = rest.take(limit as usize).collect();
            assert_eq!(
                seqs(HistoryPage::new(limit).after(place(after)))?,
                slice,
                "{limit} after {after}"
            );
            let all: Vec<i64> = (after + 1..=13).take(limit as usize).collect();
            assert_eq!(
                seqs(HistoryPage::new(limit).after(place(after)).with_hidden())?,
                all
            );
        }
    }
    for count in 0..=12 {
        let last = repo.get_history_last(&task, count)?;
        let last: Vec<i64> = last.iter().map(|turn| turn.seq.get()).collect();
        let start = expected.len().saturating_sub(count as usize);
        assert_eq!(last, expected[start..]);
    }
    assert_eq!(seqs(HistoryPage::new(u32::MAX).after(Seq::MAX))?, [0i64; 0]);
    assert_eq!(
        repo.get_history_last(&task, u32::MAX)?.len(),
        expected.len()
    );
    Ok(())
}

/// A hidden turn keeps its seq, which `save_messages_after` counts, and its key, by which it is found and not
/// stored again.
pub fn hidden_turns_keep_their_seqs_and_keys<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 1)?;
    let key = MessageKey::new("k")?;
    let keyed = [NewMessage::new(Role::Assistant, "wrong").key(key.clone())];
    assert_eq!(repo.save_messages(&task, &keyed)?, [2]);
    assert_eq!(repo.hide_after(&task, place(1))?, 1);
    assert_eq!(
        repo.save_messages(&task, &keyed)?,
        [2],
        "the hidden turn again"
    );
    let found = repo.find_turn_by_key(&task, &key)?;
    assert_eq!(
        found.map(|turn| (turn.seq.get(), turn.content)),
        Some((2, "wrong".into()))
    );
    assert_eq!(visible(&repo, &task)?, [1]);
    let next = [NewMessage::new(Role::Assistant, "right")];
    let error = repo
        .save_messages_after(&task, place(1), &next)
        .unwrap_err();
    let conflict = ErrorKind::SeqConflict {
        expected: place(1),
        actual: place(2),
    };
    assert_eq!(error.kind(), &conflict);
    let saved = repo.save_missing_messages(&task, &keyed)?;
    assert!(!saved[0].is_new && saved[0].seq == 2, "{saved:?}");
    assert_eq!(repo.last_seq(&task)?, place(2));
    assert_eq!(repo.save_messages_after(&task, place(2), &next)?, [3]);
    assert_eq!(visible(&repo, &task)?, [1, 3]);
    Ok(())
}

/// A call that finds no visible turn to hide changes nothing, and an unknown task is refused.
pub fn hiding_nothing_records_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 3)?;
    for after in [3, 4, Seq::MAX.get()] {
        assert_eq!(repo.hide_after(&task, place(after))?, 0);
    }
    assert_eq!(repo.save_message(&task, Role::User, "4")?, 4);
    assert_eq!(
        visible(&repo, &task)?,
        [1, 2, 3, 4],
        "no later turn is hidden"
    );
    assert_eq!(repo.hide_after(&task, place(2))?, 2);
    assert_eq!(repo.hide_after(&task, place(2))?, 0, "the same again");
    assert_eq!(repo.hide_after(&task, place(3))?, 0);
    assert_eq!(repo.hide_after(&task, None)?, 2);
    let error = repo.hide_after(&TaskId::new("none")?, None).unwrap_err();
    assert_eq!(error.to_string(), "hide_after: there is no task `none`");
    let empty = save_task(&repo, "empty")?;
    assert_eq!(repo.hide_after(&empty, None)?, 0);
    assert_eq!(repo.last_seq(&empty)?, None);
    assert_eq!(repo.last_seq(&TaskId::new("none")?)?, None);
    Ok(())
}

/// A rewind and the new turns are one transaction, which sees its own retraction.
pub fn a_transaction_can_hide_and_go_on<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 3)?;
    let id = task.clone();
    let rewind = move |tx: &Transaction<'_>| -> Result<_> {
        assert_eq!(tx.hide_after(&id, place(1))?, 2);
        assert_eq!(tx.save_message(&id, Role::User, "otherwise")?, 4);
        assert_eq!(tx.count_history(&id)?, 2);
        assert_eq!(tx.last_seq(&id)?, place(4));
        let seqs = tx
            .get_history(&id)?
            .iter()
            .map(|turn| turn.seq.get())
            .collect();
        Ok((seqs, tx.get_history_last(&id, 1)?[0].seq.get()))
    };
    let (seqs, last): (Vec<i64>, i64) = repo.transaction(rewind)?;
    assert_eq!((seqs, last), (vec![1, 4], 4));
    assert_eq!(visible(&repo, &task)?, [1, 4]);
    let id = task.clone();
    let undone: anyhow::Result<()> = repo.transaction(move |tx| {
        assert_eq!(tx.hide_after(&id, None)?, 2);
        anyhow::bail!("changed its mind")
    });
    assert!(undone.is_err());
    assert_eq!(visible(&repo, &task)?, [1, 4]);
    Ok(())
}

/// A follower gets the turns that are visible when it asks, also behind more hidden ones than a call returns, and
/// goes on from a seq that is hidden meanwhile.
pub fn a_follower_skips_hidden_turns<H: Harness>() -> anyhow::Result<()> {
    const LONG: Duration = Duration::from_secs(60);
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 600)?;
    let other = store.open()?;
    let new = |after: i64, timeout| -> Result<Vec<i64>> {
        let turns = other.wait_for_turns(&task, place(after), timeout)?;
        Ok(turns.iter().map(|turn| turn.seq.get()).collect())
    };
    assert_eq!(new(598, Duration::ZERO)?, [599, 600]);
    assert_eq!(repo.hide_after(&task, place(2))?, 598);
    assert_eq!(new(0, Duration::ZERO)?, [1, 2]);
    assert_eq!(new(2, Duration::ZERO)?, [0i64; 0]);
    assert_eq!(
        new(600, Duration::ZERO)?,
        [0i64; 0],
        "its seq is no conflict"
    );
    for after in [2, 300, 600] {
        let seq = thread::scope(|scope| {
            let follower = scope.spawn(|| new(after, LONG));
            let seq = repo.save_message(&task, Role::User, "more");
            assert_eq!(follower.join().unwrap()?, [seq.as_ref().unwrap().get()]);
            seq
        })?;
        assert_eq!(new(after, Duration::ZERO)?, [seq.get()]);
        assert_eq!(repo.hide_after(&task, place(2))?, 1);
    }
    Ok(())
}

/// Appends and retractions at the same time: each turn is hidden by one retraction or visible at the end.
pub fn each_turn_is_hidden_once<H: Harness>() -> anyhow::Result<()> {
    const TURNS: i64 = 40;
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 0)?;
    let other = store.open()?;
    let hidden = AtomicI64::new(0);
    thread::scope(|scope| {
        for repo in [&repo, &other] {
            let (task, hidden) = (&task, &hidden);
            scope.spawn(move || {
                for _ in 0..TURNS {
                    repo.save_message(task, Role::User, "x").unwrap();
                }
            });
            scope.spawn(move || {
                for _ in 0..TURNS / 2 {
                    hidden.fetch_add(
                        repo.hide_after(task, Some(Seq::MIN)).unwrap(),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    let visible = visible(&repo, &task)?;
    assert_eq!(visible[0], 1);
    assert_eq!(repo.last_seq(&task)?, place(2 * TURNS));
    assert_eq!(hidden.into_inner() + visible.len() as i64, 2 * TURNS);
    Ok(())
}

/// A reader sees the turns before a retraction or the ones after it.
pub fn readers_see_whole_retractions<H: Harness>() -> anyhow::Result<()> {
    const ROUNDS: usize = 30;
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 1)?;
    let other = store.open()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in [&repo, &other] {
            let (task, done) = (&task, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let history = reader.get_history(task).unwrap();
                    let seqs: Vec<i64> = history.iter().map(|turn| turn.seq.get()).collect();
                    // The first turn, and the turns of one round as far as they are stored.
                    assert!(seqs.len() <= 3, "{seqs:?}");
                    assert_eq!(seqs.first(), Some(&1));
                    assert!(
                        seqs[1..].windows(2).all(|it| it[0] + 1 == it[1]),
                        "{seqs:?}"
                    );
                    assert!(seqs.get(1).is_none_or(|seq| seq % 2 == 0), "{seqs:?}");
                }
            });
        }
        let written = scope.spawn(|| {
            for _ in 0..ROUNDS {
                for content in ["a", "b"] {
                    repo.save_message(&task, Role::User, content).unwrap();
                }
                assert_eq!(repo.hide_after(&task, place(1)).unwrap(), 2);
            }
        });
        let written = written.join();
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    assert_eq!(visible(&repo, &task)?, [1]);
    Ok(())
}

/// A reader beside a delete sees a whole history or none. The task comes back each time, with more hidden turns.
pub fn readers_see_no_part_of_a_deleted_history<H: Harness>() -> anyhow::Result<()> {
    const ROUNDS: usize = 40;
    let store = H::new()?;
    let (repo, task) = open_with_turns(&store, 0)?;
    let other = store.open()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in [&repo, &other] {
            let (task, done) = (&task, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let history = reader.get_history(task).unwrap();
                    let contents: Vec<&str> = history.iter().map(|it| &*it.content).collect();
                    assert!(matches!(contents[..], [] | [_, _]), "{contents:?}");
                    assert_eq!(contents.first(), contents.last(), "of two tasks");
                }
            });
        }
        let written = scope.spawn(|| -> Result<()> {
            for round in 1..=ROUNDS {
                repo.delete_task(&task)?;
                let id = task.clone();
                repo.transaction(move |tx| -> Result<()> {
                    let message = NewMessage::new(Role::User, round.to_string());
                    tx.save_task(&NewTask::new(id.clone(), "T"))?;
                    tx.save_messages(&id, &vec![message.clone(); round + 1])?;
                    tx.hide_after(&id, Some(Seq::MIN))?;
                    tx.save_messages(&id, &[message])?;
                    Ok(())
                })?;
            }
            Ok(())
        });
        let written = written.join();
        done.store(true, Ordering::Relaxed);
        written.unwrap()
    })?;
    Ok(())
}
