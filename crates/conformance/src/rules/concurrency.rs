//! Several threads on one store, with one handle and with several.

use std::collections::{BTreeMap, HashSet};
use std::slice;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use turnkeep_repo::{
    BackendType, ErrorKind, MessageKey, NewMessage, NewTask, Result, Role, Seq, SessionId, TaskId,
    TaskStatus,
};

use crate::scene::{binding, contents, open_with_task, place, save_task};
use crate::{Harness, Store};

/// Opens `count` handles.
fn handles<H: Harness>(store: &H, count: usize) -> Result<Vec<H::Store>> {
    (0..count).map(|_| store.open()).collect()
}

/// Runs `act` with every handle at the same time, one thread each, and returns the results.
fn at_once<S: Store, T: Send>(handles: &[S], act: impl Fn(usize, &S) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(handles.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(handles)
            .map(|(number, handle)| {
                let (start, act) = (&start, &act);
                scope.spawn(move || {
                    start.wait();
                    act(number, handle)
                })
            })
            .collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.collect()
    })
}

/// Repeats `check` on two threads while `act` runs.
fn meanwhile(check: impl Fn() + Sync, act: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    check();
                }
            });
        }
        let acted = scope.spawn(act).join();
        done.store(true, Ordering::Relaxed);
        acted.unwrap();
    });
}

/// Threads that share a handle append without gaps, losses or duplicates, each in its own order.
pub fn threads_append_without_gap_or_loss<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let seqs: Vec<Seq> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (repo, task) = (repo.clone(), &task);
                scope.spawn(move || -> Vec<Seq> {
                    let append = |n| repo.save_message(task, Role::User, &format!("{writer}-{n}"));
                    (0..50).map(|number| append(number).unwrap()).collect()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| {
                let seqs = writer.join().unwrap();
                assert!(seqs.is_sorted(), "a thread's own appends keep their order");
                seqs
            })
            .collect()
    });
    assert_eq!(
        seqs.iter().collect::<HashSet<_>>().len(),
        400,
        "no seq is given out twice"
    );
    assert_eq!(contents(&repo, &task)?.len(), 400);
    Ok(())
}

/// Several handles with several threads each append to the same tasks without gaps, losses or
/// duplicates.
pub fn handles_append_without_gap_or_loss<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let mut handles = handles(&store, 8)?;
    handles.extend_from_within(..);
    handles.extend_from_within(..8);
    let tasks = [save_task(&handles[0], "a")?, save_task(&handles[0], "b")?];
    let acknowledged = at_once(&handles, |thread, repo| -> Vec<(usize, Seq, String)> {
        let append = |number: usize| {
            let (at, content) = (number % 2, format!("{thread}-{number}"));
            let seq = repo.save_message(&tasks[at], Role::User, &content);
            (at, seq.unwrap(), content)
        };
        (0..16).map(append).collect()
    });
    for (at, task) in tasks.iter().enumerate() {
        let mut told = BTreeMap::new();
        for thread in &acknowledged {
            let mine = thread.iter().filter(|(of, ..)| *of == at);
            assert!(mine.clone().is_sorted_by_key(|(_, seq, _)| seq));
            told.extend(mine.map(|(_, seq, content)| (seq.get(), content)));
        }
        let stored = contents(&handles[0], task)?;
        assert_eq!(stored.len(), 192);
        assert!(told.into_iter().eq((1..).zip(&stored)));
    }
    Ok(())
}

/// A handle that has appended to histories goes on wherever others have left them: grown, deleted and saved again.
/// Alone and in a crowd.
pub fn an_append_follows_what_others_have_done<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let [mine, other] = [store.open()?, store.open()?];
    let tasks = ["a", "b", "c", "d"].map(|id| save_task(&mine, id).unwrap());
    let key = |key: &str| MessageKey::new(key).unwrap();
    let say = |repo: &H::Store, task, content| repo.save_message(task, Role::User, content);
    let append = |expected: i64| -> anyhow::Result<()> {
        let seqs = at_once(&vec![mine.clone(); 4], |place, repo| {
            say(repo, &tasks[place], "crowd")
        });
        for (seq, task) in seqs.into_iter().zip(&tasks) {
            assert_eq!(seq?, expected);
            assert_eq!(say(&mine, task, "alone")?, expected + 1);
        }
        Ok(())
    };
    append(1)?;
    append(3)?;
    for task in &tasks {
        say(&other, task, "grown")?;
    }
    append(6)?;
    for task in &tasks {
        let messages = ["k", "l"].map(|text| NewMessage::new(Role::User, text).key(key(text)));
        assert_eq!(other.save_messages(task, &messages)?, [8, 9]);
        let again = NewMessage::new(Role::User, "k").key(key("k"));
        assert_eq!(mine.save_messages(task, slice::from_ref(&again))?, [8]);
        let changed = NewMessage::new(Role::User, "another").key(key("l"));
        let error = mine.save_messages(task, &[changed]).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::KeyConflict { seq, .. } if *seq == 9),
            "{error:?}"
        );
    }
    append(10)?;
    for repo in [&other, &mine] {
        for task in &tasks {
            assert!(repo.delete_task(task)?);
            let error = say(&mine, task, "deleted").unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
            save_task(repo, task.as_str())?;
        }
        append(1)?;
        for task in &tasks {
            assert!(repo.delete_task(task)?);
            save_task(repo, task.as_str())?;
            say(&other, task, "new")?;
        }
        append(2)?;
    }
    for task in &tasks {
        assert_eq!(contents(&mine, task)?, ["new", "crowd", "alone"]);
    }
    Ok(())
}

/// One of several writers with the same expected last seq appends. The others get the actual last
/// seq.
pub fn one_writer_wins_an_expected_seq<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 2)?;
    let task = save_task(&handles[0], "t")?;
    for last in 0..25 {
        let answers = at_once(&handles, |writer, repo| {
            let message = NewMessage::new(Role::User, format!("{last} by {writer}"));
            repo.save_messages_after(&task, place(last), &[message])
        });
        let stored = contents(&handles[0], &task)?;
        assert_eq!(stored.len() as i64, last + 1);
        let mut winners = 0;
        for (writer, answer) in answers.iter().enumerate() {
            match answer {
                Ok(seqs) => {
                    winners += 1;
                    assert_eq!(*seqs, [last + 1]);
                    assert_eq!(stored.last(), Some(&format!("{last} by {writer}")));
                }
                Err(error) => assert_eq!(
                    *error.kind(),
                    ErrorKind::SeqConflict {
                        expected: place(last),
                        actual: place(last + 1)
                    }
                ),
            }
        }
        assert_eq!(winners, 1);
    }
    Ok(())
}

/// Handles that save the same key concurrently get one turn; a different message is refused.
pub fn a_message_key_is_unique_across_handles<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 4)?;
    let task = save_task(&handles[0], "t")?;
    for round in 1..=15 {
        let key = MessageKey::new(format!("k{round}"))?;
        let text = |writer: usize| ["one", "two"][usize::from(writer == 3)];
        let answers = at_once(&handles, |writer, repo| {
            let message = NewMessage::new(Role::User, text(writer)).key(key.clone());
            repo.save_messages(&task, &[message])
        });
        let history = handles[0].get_history(&task)?;
        assert_eq!(history.len(), round, "one turn a round");
        let turn = history.last().unwrap();
        assert_eq!(turn.message_key.as_ref(), Some(&key));
        for (writer, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(seqs) => {
                    assert_eq!(seqs, [turn.seq]);
                    assert_eq!(turn.content, text(writer));
                }
                Err(error) => {
                    let (key, seq) = (key.clone(), turn.seq);
                    assert_eq!(*error.kind(), ErrorKind::KeyConflict { key, seq });
                    assert_ne!(turn.content, text(writer));
                }
            }
        }
    }
    Ok(())
}

/// Messages with keys can be retried by another handle and after a restart. Stored ones keep their
/// seq.
pub fn keyed_messages_can_be_retried<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    let messages: Vec<NewMessage<'_>> = (1..=6)
        .map(|number| {
            let key = format!("k{number}").parse().unwrap();
            NewMessage::new(Role::Assistant, number.to_string()).key(key)
        })
        .collect();
    assert_eq!(first.save_messages(&task, &messages[..3])?, [1, 2, 3]);
    let second = store.open()?;
    assert_eq!(second.save_messages(&task, &messages[1..4])?, [2, 3, 4]);
    assert_eq!(first.save_messages(&task, &messages[..4])?, [1, 2, 3, 4]);
    drop((first, second));
    let third = store.open()?;
    let mixed = [&messages[5], &messages[0], &messages[4], &messages[5]].map(Clone::clone);
    assert_eq!(third.save_messages(&task, &mixed)?, [5, 1, 6, 5]);
    assert_eq!(contents(&third, &task)?, ["1", "2", "3", "4", "6", "5"]);
    Ok(())
}

/// Of callers that save other messages under the same keys at the same time, one stores each key. The others
/// get its turn.
pub fn missing_messages_are_stored_once<H: Harness>() -> anyhow::Result<()> {
    const ROUNDS: usize = 20;
    let store = H::new()?;
    let (first, second) = (store.open()?, store.open()?);
    let task = save_task(&first, "t")?;
    // Callers of one handle share transactions.
    let callers = [&first, &first, &first, &second].map(Clone::clone);
    let answers = at_once(&callers, |caller, repo| {
        let save = |round: usize| {
            let message = |key: String| {
                let said = format!("{key} by {caller}");
                NewMessage::new(Role::Assistant, said).key(key.parse().unwrap())
            };
            let messages = [message(format!("a{round}")), message(format!("b{round}"))];
            let saved = repo.save_missing_messages(&task, &messages[..1 + round % 2]);
            saved.unwrap()
        };
        (0..ROUNDS).map(save).collect::<Vec<_>>()
    });
    let history = first.get_history(&task)?;
    assert_eq!(history.len(), ROUNDS + ROUNDS / 2);
    let mut stored = HashSet::new();
    for (caller, rounds) in answers.iter().enumerate() {
        for (round, messages) in rounds.iter().enumerate() {
            for (message, key) in messages.iter().zip(["a", "b"]) {
                let turn = &history[usize::try_from(message.seq.get())? - 1];
                assert!(turn.content.starts_with(&format!("{key}{round} by ")));
                let is_mine = turn.content.ends_with(&format!(" {caller}"));
                assert_eq!(message.is_new, is_mine, "{}", turn.content);
                assert!(!is_mine || stored.insert(message.seq));
            }
        }
    }
    assert_eq!(stored.len(), history.len());
    Ok(())
}

/// Of concurrent dependencies that would form a cycle, one is refused.
pub fn concurrent_dependencies_form_no_cycle<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 3)?;
    for round in 0..30 {
        let size = 2 + round % 2;
        let ids: Vec<TaskId> = ["a", "b", "c"][..size]
            .iter()
            .map(|id| save_task(&handles[0], id))
            .collect::<anyhow::Result<_>>()?;
        let answers = at_once(&handles[..size], |at, repo| {
            let next = ids[(at + 1) % size].clone();
            repo.save_task(&NewTask::new(ids[at].clone(), "A task").depends_on([next]))
        });
        let refused: Vec<usize> = (0..size).filter(|at| answers[*at].is_err()).collect();
        assert_eq!(refused.len(), 1, "round {round}: {answers:?}");
        for (at, (id, answer)) in ids.iter().zip(answers).enumerate() {
            let stored = handles[0].get_task(id)?.depends_on;
            match answer {
                Ok(()) => assert_eq!(stored, [ids[(at + 1) % size].clone()]),
                Err(error) if matches!(error.kind(), ErrorKind::DependencyCycle { .. }) => {
                    assert!(stored.is_empty())
                }
                Err(other) => panic!("unexpected {other:?}"),
            }
        }
    }
    Ok(())
}

/// Concurrent bindings all become revisions, without gaps. Only the current one is not retired.
pub fn concurrent_bindings_are_all_recorded<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 4)?;
    let task = save_task(&handles[0], "t")?;
    let saved = at_once(&handles, |handle, repo| {
        let save = |number: usize| {
            let session = format!("{handle}-{number}");
            let new = binding(BackendType::Claude, &session, None).unwrap();
            let saved = repo.save_session(&task, &new).unwrap();
            assert_eq!(saved.session_id.as_str(), session);
            session
        };
        (0..15).map(save).collect::<Vec<_>>()
    });
    let revisions = handles[0].list_session_revisions(&task)?;
    assert_eq!(revisions.len(), 60);
    let numbers = revisions.iter().map(|revision| revision.revision);
    assert!(numbers.eq(1..=60));
    let recorded: Vec<&str> = revisions.iter().map(|r| r.session_id.as_str()).collect();
    for thread in &saved {
        let in_order = recorded.iter().filter(|id| thread.iter().any(|s| s == *id));
        assert!(in_order.eq(thread), "each once, in the thread's order");
    }
    let (open, retired) = revisions.split_last().unwrap();
    assert!(retired.iter().all(|revision| revision.retired_at.is_some()));
    assert_eq!(open.retired_at, None);
    let current = handles[0].get_session(&task)?;
    assert_eq!(current.session_id, open.session_id);
    Ok(())
}

/// One of several concurrent `retire_session` calls succeeds.
pub fn one_caller_retires_a_binding<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 4)?;
    let task = save_task(&handles[0], "t")?;
    let id = SessionId::new("s")?;
    for round in 1..=15 {
        handles[0].save_session(&task, &binding(BackendType::Codex, "s", None)?)?;
        let answers = at_once(&handles, |handle, repo| {
            let retired = repo.retire_session(&task, &id, &handle.to_string());
            retired.unwrap()
        });
        let winner = answers.iter().position(|retired| *retired).unwrap();
        assert_eq!(answers.iter().filter(|retired| **retired).count(), 1);
        let revisions = handles[0].list_session_revisions(&task)?;
        assert_eq!(revisions.len(), round);
        let reason = revisions[round - 1].retired_reason.as_deref();
        assert_eq!(reason, Some(&*winner.to_string()));
    }
    Ok(())
}

/// Several handles can save the same new task concurrently.
pub fn a_new_task_can_be_saved_concurrently<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 4)?;
    let first = save_task(&handles[0], "first")?;
    for round in 0..15 {
        let id = TaskId::new(format!("t{round}"))?;
        let task = NewTask::new(id.clone(), "New").depends_on([first.clone()]);
        for answer in at_once(&handles, |_, repo| repo.save_task(&task)) {
            answer?;
        }
        let stored = handles[0].get_task(&id)?;
        assert_eq!(stored.depends_on, slice::from_ref(&first));
        assert_eq!(stored.status, TaskStatus::Pending);
        assert_eq!(handles[0].get_tasks()?.len(), round + 2);
    }
    Ok(())
}

/// One of several handles claims a task.
pub fn claim_task_has_one_winner_across_handles<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 8)?;
    let task = save_task(&handles[0], "t")?;
    for _ in 0..15 {
        handles[0].update_task_status(&task, TaskStatus::Pending)?;
        let answers = at_once(&handles, |_, repo| repo.claim_task(&task).unwrap());
        assert_eq!(answers.iter().filter(|won| **won).count(), 1);
        assert_eq!(handles[0].get_task(&task)?.status, TaskStatus::Running);
    }
    Ok(())
}

/// Messages and bindings saved while their task is deleted leave no rows behind.
pub fn a_concurrent_delete_leaves_no_rows<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let handles = handles(&store, 3)?;
    for round in 0..15 {
        let task = save_task(&handles[0], "t")?;
        at_once(&handles, |handle, repo| {
            let refused = match handle {
                0 => (0..4).try_for_each(|_| repo.save_message(&task, Role::User, "x").map(drop)),
                1 => (0..4).try_for_each(|number| {
                    let new = binding(BackendType::Goose, &number.to_string(), None).unwrap();
                    repo.save_session(&task, &new).map(drop)
                }),
                _ => repo.delete_task(&task).map(|deleted| assert!(deleted)),
            };
            if let Err(error) = refused {
                assert_eq!(*error.kind(), ErrorKind::TaskNotFound, "round {round}");
            }
        });
        assert!(handles[0].get_tasks()?.is_empty());
        assert!(handles[0].list_sessions()?.is_empty());
        save_task(&handles[0], "t")?;
        assert_eq!(handles[0].count_history(&task)?, 0);
        assert!(handles[0].list_session_revisions(&task)?.is_empty());
        assert_eq!(handles[0].save_message(&task, Role::User, "new")?, 1);
        assert!(handles[0].delete_task(&task)?);
    }
    Ok(())
}

/// A reader sees all messages of a batch or none.
pub fn readers_see_whole_batches<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (writer, task) = open_with_task(&store, "t")?;
    let reader = store.open()?;
    let check = || {
        assert_eq!(contents(&reader, &task).unwrap().len() % 3, 0);
        assert_eq!(reader.count_history(&task).unwrap() % 3, 0);
        let last = reader.get_history_last(&task, 3).unwrap();
        assert!(last.iter().all(|turn| turn.content == last[0].content));
    };
    let append = || {
        for number in 0..50 {
            let message = NewMessage::new(Role::User, number.to_string());
            let batch = [message.clone(), message.clone(), message];
            writer.save_messages(&task, &batch).unwrap();
        }
    };
    meanwhile(check, append);
    assert_eq!(reader.count_history(&task)?, 150);
    Ok(())
}

/// A reader sees a task with the dependencies of the same version.
pub fn readers_see_whole_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (writer, task) = open_with_task(&store, "t")?;
    let plan = ["a", "b"].map(|id| {
        let other = save_task(&writer, id).unwrap();
        NewTask::new(task.clone(), id).depends_on([other])
    });
    writer.save_task(&plan[0])?;
    let reader = store.open()?;
    let check = || {
        let listed = reader.get_tasks().unwrap();
        let listed = listed.into_iter().find(|stored| stored.id == task);
        for stored in [reader.get_task(&task).unwrap(), listed.unwrap()] {
            let waits_for: Vec<&str> = stored.depends_on.iter().map(AsRef::as_ref).collect();
            assert_eq!(waits_for, [stored.name.as_str()]);
        }
    };
    let save = || {
        for number in 0..60 {
            writer.save_task(&plan[number % 2]).unwrap();
        }
    };
    meanwhile(check, save);
    Ok(())
}

/// Opening and closing a handle does not disturb another handle of the store.
pub fn handles_open_and_close_beside_others<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    first.save_message(&task, Role::User, "1")?;
    // Closing a file drops all POSIX locks of the process on it. The second handle must not do that.
    for number in 2..=20 {
        let second = store.open()?;
        second.save_message(&task, Role::User, &number.to_string())?;
        drop(second);
        assert_eq!(
            first.save_message(&task, Role::User, "again")?,
            number * 2 - 1
        );
    }
    assert_eq!(contents(&first, &task)?.len(), 39);
    Ok(())
}

/// A clone keeps working after the original handle is dropped.
pub fn a_clone_outlives_its_handle<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    let clones = vec![first.clone(); 4];
    assert_eq!(first.save_message(&task, Role::User, "by the first")?, 1);
    drop(first);
    let seqs: HashSet<Seq> = thread::scope(|scope| {
        let task = &task;
        let threads: Vec<_> = clones
            .into_iter()
            // Each thread drops its clone; the last one closes the store.
            .map(|repo| scope.spawn(move || repo.save_message(task, Role::User, "by a clone")))
            .collect();
        let seqs = threads.into_iter().map(|thread| thread.join().unwrap());
        seqs.collect::<Result<_>>()
    })?;
    assert_eq!(
        seqs,
        HashSet::from_iter([2, 3, 4, 5].into_iter().filter_map(place))
    );
    assert_eq!(contents(&store.open()?, &task)?.len(), 5);
    Ok(())
}
