//! Appending and reading turns, with one caller.

use std::slice;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, TimeDelta, Utc};
use turnkeep_repo::{
    ConversationTurn, ErrorKind, HistoryPage, MessageKey, Metadata, NewMessage, Role, Seq, TaskId,
};

use crate::scene::{contents, open_with_task, place, save_task};
use crate::{Harness, Options, Store, Worker};

fn key(text: &str) -> MessageKey {
    MessageKey::new(text).unwrap()
}

fn seqs(turns: &[ConversationTurn]) -> Vec<i64> {
    turns.iter().map(|turn| turn.seq.get()).collect()
}

/// Turns read back as they were saved, numbered from 1, after a restart too.
pub fn save_and_get_history<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for (number, role) in Role::ALL.iter().enumerate() {
        assert_eq!(
            repo.save_message(&task, *role, &format!("text {number}"))?,
            number as i64 + 1
        );
    }
    let time: DateTime<Utc> = "1969-07-20T20:17:40.123456Z".parse()?;
    let message = NewMessage::new(Role::User, "with everything")
        .timestamp(time)
        .key(key("k"));
    assert_eq!(repo.save_messages(&task, &[message])?, [5]);
    drop(repo);

    let history = store.open()?.get_history(&task)?;
    assert_eq!(seqs(&history), [1, 2, 3, 4, 5]);
    for (turn, role) in history.iter().zip(Role::ALL) {
        assert_eq!(turn.role, *role);
        assert_eq!(turn.task_id, task);
        assert_eq!(turn.message_key, None);
        assert!(
            (Utc::now() - turn.timestamp).abs() < TimeDelta::days(1),
            "the clock's time"
        );
    }
    assert_eq!(history[2].content, "text 2");
    assert_eq!(history[4].timestamp, time);
    assert_eq!(history[4].message_key, Some(key("k")));
    Ok(())
}

/// A task without turns, or an unknown task, has an empty history.
pub fn get_history_empty<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for task in [&task, &TaskId::new("none")?] {
        assert!(repo.get_history(task)?.is_empty());
        assert!(repo.get_history_last(task, 5)?.is_empty());
        assert!(repo.get_history_page(task, HistoryPage::new(5))?.is_empty());
        assert_eq!(repo.count_history(task)?, 0);
    }
    assert!(repo.save_messages(&task, &[])?.is_empty());
    Ok(())
}

/// Interleaved appends to two tasks keep both histories separate and in order.
pub fn get_history_ordering<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let (a, b) = (save_task(&repo, "a")?, save_task(&repo, "b")?);
    for number in 1..=50 {
        let task = if number % 3 == 0 { &b } else { &a };
        repo.save_message(task, Role::User, &number.to_string())?;
    }
    let expected = |wanted: fn(&i32) -> bool| -> Vec<String> {
        (1..=50)
            .filter(wanted)
            .map(|number| number.to_string())
            .collect()
    };
    assert_eq!(contents(&repo, &a)?, expected(|number| number % 3 != 0));
    assert_eq!(contents(&repo, &b)?, expected(|number| number % 3 == 0));
    Ok(())
}

/// A clock that steps back, in this process or another, does not change the order. Its time is
/// stored unchanged.
pub fn order_ignores_the_clock<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let now = Utc::now();
    for (hours, text) in [(0, "first"), (-5, "second"), (3, "third"), (-5, "fourth")] {
        let message = NewMessage::new(Role::User, text).timestamp(now + TimeDelta::hours(hours));
        repo.save_messages(&task, &[message])?;
    }
    drop(repo);
    // A clock that steps back within a process …
    for second in [2_000_000_000, 1_000_000_000] {
        let time = DateTime::from_timestamp(second, 0).unwrap();
        let repo = store.open_with(Options::new().clock(move || time))?;
        repo.save_message(&task, Role::User, &second.to_string())?;
    }
    // … and between processes.
    for second in ["3000000000", "5"] {
        Worker::start(&store, &["append-at", "t", second, second])?.finish()?;
    }
    let repo = store.open()?;
    assert_eq!(
        contents(&repo, &task)?,
        [
            "first",
            "second",
            "third",
            "fourth",
            "2000000000",
            "1000000000",
            "3000000000",
            "5"
        ]
    );
    let last = repo.get_history_last(&task, 1)?;
    assert_eq!(
        last[0].timestamp,
        DateTime::from_timestamp(5, 0).unwrap(),
        "stored as it was"
    );
    Ok(())
}

/// `save_message` and `save_messages` fail with `TaskNotFound` for an unknown task.
pub fn message_for_an_unknown_task_is_refused<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let task = TaskId::new("none")?;
    let error = repo.save_message(&task, Role::User, "lost?").unwrap_err();
    assert_eq!(error.to_string(), "save_message: there is no task `none`");
    assert!(matches!(error.kind(), ErrorKind::TaskNotFound));
    let keyed = [NewMessage::new(Role::User, "x").key(key("k"))];
    assert!(matches!(
        repo.save_messages(&task, &keyed).unwrap_err().kind(),
        ErrorKind::TaskNotFound
    ));
    assert!(repo.get_history(&task)?.is_empty());
    Ok(())
}

/// A repeated message key returns the seq of the stored turn. With a different message it is
/// refused.
pub fn message_keys_are_idempotent<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let message = |text: &'static str| NewMessage::new(Role::User, text).key(key("k"));
    assert_eq!(repo.save_messages(&task, &[message("hello")])?, [1]);
    repo.save_message(&task, Role::Assistant, "between")?;
    let later = message("hello").timestamp(DateTime::UNIX_EPOCH);
    assert_eq!(
        repo.save_messages(&task, &[later])?,
        [1],
        "the time does not count"
    );
    assert_eq!(
        repo.save_messages(&task, &[message("hello"), message("hello")])?,
        [1, 1]
    );
    assert_eq!(contents(&repo, &task)?, ["hello", "between"]);

    // Keys are per task.
    let other = save_task(&repo, "other")?;
    assert_eq!(repo.save_messages(&other, &[message("else")])?, [1]);

    let fresh = NewMessage::new(Role::User, "fresh").key(key("new"));
    for conflicting in [
        message("goodbye"),
        NewMessage::new(Role::Assistant, "hello").key(key("k")),
        message("hello").metadata("{}".parse()?),
    ] {
        let error = repo
            .save_messages(&task, &[fresh.clone(), conflicting])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "save_messages: in task `t` the message key `k` belongs to turn 1, which says something else"
        );
        assert!(matches!(
            error.kind(),
            ErrorKind::KeyConflict { seq, .. } if *seq == 1
        ));
    }
    assert_eq!(contents(&repo, &task)?, ["hello", "between"], "all or none");
    Ok(())
}

/// The metadata of a turn are kept byte for byte, up to their limit, by every append and for every read. They are
/// part of the message that a key recognises, and no debug output or error shows them.
pub fn metadata_of_turns_are_kept<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let json = " {\"z\" : 1.0e5,\t\"a\":[ -0, {\"a\":\"secret \\\\u0000 \\u00e9é\"} ]} ";
    let most = format!("{{\"k\":\"{}\"}}", "é".repeat(Metadata::MAX_BYTES / 2 - 4));
    assert_eq!(most.len(), Metadata::MAX_BYTES);
    let message = |json: &str| -> anyhow::Result<_> {
        Ok(NewMessage::new(Role::Tool, "said").metadata(json.parse()?))
    };
    let plain = NewMessage::new(Role::Tool, "said");
    let batch = [message(json)?, plain.clone(), message(&most)?];
    assert_eq!(repo.save_messages(&task, &batch)?, [1, 2, 3]);
    // With a key, an expected seq and in a transaction, statements of their own.
    let keyed = message(json)?.key(key("k"));
    assert_eq!(repo.save_messages(&task, slice::from_ref(&keyed))?, [4]);
    assert_eq!(
        repo.save_messages_after(&task, place(4), &[message("{}")?])?,
        [5]
    );
    let (id, last) = (task.clone(), message("{\"tx\":1}")?);
    repo.transaction(move |tx| tx.save_messages(&id, &[last]).map(drop))?;

    // The same with the same key is a repeat; with other metadata, or none, it is a conflict.
    assert_eq!(repo.save_messages(&task, slice::from_ref(&keyed))?, [4]);
    for other in [
        message("{}")?.key(key("k")),
        message(json.trim())?.key(key("k")),
        plain.clone().key(key("k")),
    ] {
        let error = repo
            .save_messages(&task, slice::from_ref(&other))
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::KeyConflict { seq, .. } if *seq == 4),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("secret"));
        let twice = [plain.clone().key(key("new")), other.clone().key(key("new"))];
        let outcome = repo.save_messages(&task, &twice);
        assert_eq!(outcome.is_ok(), other.metadata.is_none());
        let kept = repo.save_missing_messages(&task, &[other])?;
        assert!(kept[0].seq == 4 && !kept[0].is_new);
    }
    drop(repo);

    let repo = store.open()?;
    let history = repo.get_history(&task)?;
    let stored: Vec<_> = history
        .iter()
        .map(|turn| turn.metadata.as_ref().map(Metadata::as_str))
        .collect();
    let expected = [
        Some(json),
        None,
        Some(&*most),
        Some(json),
        Some("{}"),
        Some("{\"tx\":1}"),
        None,
    ];
    assert_eq!(stored, expected);
    let page = HistoryPage::new(2).after(place(2));
    assert_eq!(repo.get_history_page(&task, page)?, history[2..4]);
    assert_eq!(repo.get_history_last(&task, 4)?, history[3..]);
    let found = repo.find_turn_by_key(&task, &key("k"))?;
    assert_eq!(found.as_ref(), Some(&history[3]));
    let new = repo.wait_for_turns(&task, place(5), Duration::ZERO)?;
    assert_eq!(new, history[5..]);
    let shown = format!("{history:?} {batch:?} {keyed:?}");
    assert!(!shown.contains("secret"), "{shown}");
    Ok(())
}

/// `save_missing_messages` stores the messages with new keys or none, keeps the stored turns of the others, and
/// tells which is which.
pub fn save_missing_messages_keeps_stored_turns<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let message = |id, text: &'static str| NewMessage::new(Role::Assistant, text).key(key(id));
    let saved = |messages: &[NewMessage<'_>]| -> anyhow::Result<Vec<(i64, bool)>> {
        let saved = repo.save_missing_messages(&task, messages)?;
        Ok(saved.iter().map(|it| (it.seq.get(), it.is_new)).collect())
    };
    assert_eq!(saved(&[])?, []);
    assert_eq!(saved(&[message("a", "I am look")])?, [(1, true)]);
    let no_key = NewMessage::new(Role::User, "no key");
    // A recording that is read again after the agent has gone on.
    let again = [
        message("a", "I am looking."),
        no_key.clone(),
        message("b", "Done."),
        message("b", "Done!"),
        NewMessage::new(Role::Tool, "I am look").key(key("a")),
    ];
    assert_eq!(
        saved(&again)?,
        [(1, false), (2, true), (3, true), (3, true), (1, false)]
    );
    assert_eq!(contents(&repo, &task)?, ["I am look", "no key", "Done."]);
    assert_eq!(saved(&again[2..4])?, [(3, false), (3, false)]);
    let error = repo.save_messages(&task, &again).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::KeyConflict { seq, .. } if *seq == 1),
        "{error:?}"
    );

    let too_late = no_key.timestamp(DateTime::<Utc>::MAX_UTC);
    let error = saved(&[message("c", "new"), too_late]).unwrap_err();
    assert!(error.to_string().starts_with("save_missing_messages: "));
    assert_eq!(repo.find_turn_by_key(&task, &key("c"))?, None);
    for messages in [&again[..1], &again[2..4]] {
        let missing = repo.save_missing_messages(&TaskId::new("none")?, messages);
        assert!(matches!(
            missing.unwrap_err().kind(),
            ErrorKind::TaskNotFound
        ));
    }
    let id = task.clone();
    let in_transaction = repo.transaction(move |tx| -> turnkeep_repo::Result<_> {
        let first = tx.save_missing_messages(&id, &[message("t", "x")])?;
        Ok([first, tx.save_missing_messages(&id, &[message("t", "y")])?].concat())
    })?;
    let in_transaction = in_transaction.iter().map(|it| (it.seq.get(), it.is_new));
    assert!(in_transaction.eq([(4, true), (4, false)]));
    Ok(())
}

/// `find_turn_by_key` returns the turn of the task that has the key, also within a transaction that wrote it.
pub fn find_turn_by_key_is_per_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let (other, unknown) = (save_task(&repo, "other")?, TaskId::new("none")?);
    let message = |text, id| NewMessage::new(Role::Assistant, text).key(key(id));
    repo.save_message(&task, Role::User, "no key")?;
    repo.save_messages(&task, &[message("mine", "k"), message("upper", "K")])?;
    repo.save_messages(
        &other,
        &[message("theirs", "k"), message("only theirs", "o")],
    )?;

    let found = repo.find_turn_by_key(&task, &key("k"))?;
    assert_eq!(found.as_ref(), repo.get_history(&task)?.get(1));
    assert_eq!(found.map(|turn| turn.content).as_deref(), Some("mine"));
    for (task, absent) in [(&task, "o"), (&task, "kk"), (&unknown, "k")] {
        assert_eq!(repo.find_turn_by_key(task, &key(absent))?, None, "{absent}");
    }

    let id = task.clone();
    let in_transaction = repo.transaction(move |tx| -> turnkeep_repo::Result<_> {
        let message = NewMessage::new(Role::User, "new").key(key("n"));
        tx.save_messages(&id, &[message])?;
        tx.find_turn_by_key(&id, &key("n"))
    })?;
    assert_eq!(in_transaction.map(|turn| turn.seq), place(4));
    assert!(repo.delete_task(&task)?);
    assert_eq!(repo.find_turn_by_key(&task, &key("k"))?, None);
    Ok(())
}

/// `save_messages_after` refuses a wrong last seq, even if every key is already stored.
pub fn expected_last_seq_is_checked_before_keys<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let message = NewMessage::new(Role::User, "x").key(key("k"));
    let batch = [message.clone(), NewMessage::new(Role::User, "y")];
    assert_eq!(repo.save_messages_after(&task, None, &batch)?, [1, 2]);
    for expected in [0, 1, 3, Seq::MAX.get()] {
        let error = repo
            .save_messages_after(&task, place(expected), std::slice::from_ref(&message))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("save_messages_after: the last turn of task `t` is 2, not {expected}")
        );
        assert!(matches!(
            error.kind(),
            ErrorKind::SeqConflict { actual, .. } if *actual == place(2)
        ));
    }
    assert_eq!(repo.count_history(&task)?, 2);
    assert_eq!(repo.save_messages_after(&task, place(2), &[message])?, [1]);
    Ok(())
}

/// `save_messages` stores all messages or none.
pub fn a_batch_is_atomic<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let good: Vec<_> = (0..100)
        .map(|n| NewMessage::new(Role::User, n.to_string()))
        .collect();
    assert_eq!(
        repo.save_messages(&task, &good)?,
        (1..=100).collect::<Vec<_>>()
    );
    let far_future = DateTime::<Utc>::MAX_UTC;
    let bad = [
        good[0].clone(),
        NewMessage::new(Role::User, "z").timestamp(far_future),
    ];
    let error = repo.save_messages(&task, &bad).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::InvalidInput {
            field: "timestamp",
            ..
        }
    ));
    assert_eq!(repo.count_history(&task)?, 100);

    // A batch larger than one packet is atomic too.
    let long = NewMessage::new(Role::User, "x".repeat(17 * 1024 * 1024));
    let error = repo.save_messages(&task, &[long, bad[1].clone()]);
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::InvalidInput { .. }
    ));
    assert_eq!(repo.count_history(&task)?, 100);
    Ok(())
}

/// Pages and the last turns are slices of the history, for any bounds.
pub fn pages_and_last_turns_are_slices_of_the_history<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    // Neighbours in the index, whose turns must not show up.
    for id in ["s", "u"] {
        let neighbour = save_task(&repo, id)?;
        repo.save_message(&neighbour, Role::User, "not mine")?;
    }
    for number in 1..=10 {
        repo.save_message(&task, Role::User, &number.to_string())?;
    }
    let page = |after, limit| -> anyhow::Result<Vec<i64>> {
        let page = HistoryPage::new(limit).after(place(after));
        Ok(seqs(&repo.get_history_page(&task, page)?))
    };
    assert_eq!(page(0, 3)?, [1, 2, 3]);
    assert_eq!(page(3, 3)?, [4, 5, 6]);
    assert_eq!(page(8, 5)?, [9, 10]);
    assert_eq!(page(10, 5)?, [0i64; 0]);
    assert_eq!(page(0, 0)?, [0i64; 0]);
    assert_eq!(page(Seq::MAX.get(), u32::MAX)?, [0i64; 0]);
    assert_eq!(page(0, u32::MAX)?.len(), 10);
    let last =
        |count| -> anyhow::Result<Vec<i64>> { Ok(seqs(&repo.get_history_last(&task, count)?)) };
    assert_eq!(last(0)?, [0i64; 0]);
    assert_eq!(last(1)?, [10]);
    assert_eq!(last(3)?, [8, 9, 10]);
    assert_eq!(last(u32::MAX)?.len(), 10);
    assert_eq!(repo.count_history(&task)?, 10);
    Ok(())
}

/// After another handle deletes and recreates a task, appends continue its new history.
pub fn appends_follow_a_history_that_was_recreated<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for content in ["1", "2", "3"] {
        repo.save_message(&task, Role::User, content)?;
    }
    let elsewhere = store.open()?;
    assert!(elsewhere.delete_task(&task)?);
    save_task(&elsewhere, "t")?;
    elsewhere.save_message(&task, Role::User, "new 1")?;
    assert_eq!(repo.save_message(&task, Role::User, "new 2")?, 2);
    assert_eq!(repo.save_message(&task, Role::User, "new 3")?, 3);
    for number in 4..=9 {
        elsewhere.save_message(&task, Role::User, &format!("new {number}"))?;
    }
    assert_eq!(repo.save_message(&task, Role::User, "new 10")?, 10);
    assert_eq!(contents(&repo, &task)?.len(), 10);
    Ok(())
}
