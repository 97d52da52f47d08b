//! Files that are kept byte for byte.

use std::io::Read;
use std::thread;

use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{
    ErrorKind, RecordingFile, RecordingName, RecordingNumber, Result, Role, TaskId,
};

use crate::scene::{contents, open_with_task, save_task};
use crate::{Harness, Options, Store, Worker};

const MIB: usize = RecordingFile::MAX_CHUNK_BYTES;

fn name() -> RecordingName {
    RecordingName::new("projects/-srv-app/s.jsonl").unwrap()
}

/// Text that differs everywhere, so that a byte at a wrong place is noticed.
fn text(length: usize) -> Vec<u8> {
    let lines = (0_u64..).flat_map(|line| {
        let number = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{{\"type\":\"assistant\",\"line\":{line},\"hash\":\"{number:x}\"}}\n").into_bytes()
    });
    lines.take(length).collect()
}

/// Reads a file chunk by chunk.
fn read(repo: &impl Store, task: &TaskId, number: RecordingNumber) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = repo.read_recording(task, number, bytes.len() as u64)?;
        assert!(chunk.len() <= MIB);
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(chunk);
    }
}

/// Returns the number and the bytes of each kept file, in order.
fn read_all(repo: &impl Store, task: &TaskId) -> Result<Vec<(i64, Vec<u8>)>> {
    let files = repo.get_recordings(task)?.into_iter().map(|file| {
        let bytes = read(repo, task, file.number)?;
        assert_eq!(file.length, bytes.len() as u64);
        assert_eq!(&file.task_id, task);
        Ok((file.number.get(), bytes))
    });
    files.collect()
}

/// A file grows in steps of any size and is read from any place. Repeats and older copies add nothing.
pub fn a_file_grows<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let file = text(5 * MIB);
    let mut length = 0;
    assert_eq!(repo.save_recording(&task, &name(), 0, b"")?, 0);
    assert_eq!(read_all(&repo, &task)?, [(1, vec![])]);
    for step in [
        1,
        100,
        0,
        3_000,
        20_000,
        1,
        17_000,
        5,
        300_000,
        MIB - 340_107,
        1,
        MIB - 2,
        1,
        MIB,
        MIB + 1,
        2_000,
    ] {
        let end = file.len().min(length + step);
        let kept = repo.save_recording(&task, &name(), length as u64, &file[length..end])?;
        assert_eq!(kept, end as u64);
        length = end;
        assert!(
            read(&repo, &task, RecordingNumber::MIN)? == file[..length],
            "after a step of {step}"
        );
    }
    let before = repo.get_recordings(&task)?;
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].length, length as u64);
    assert!(before[0].stored_bytes < before[0].length / 2);
    assert_eq!(before[0].name, name());
    for (offset, end) in [
        (0, 0),
        (0, 10),
        (0, MIB + 5),
        (MIB - 1, MIB + 1),
        (length - 1, length),
        (length, length),
        (0, length),
    ] {
        let again = repo.save_recording(&task, &name(), offset as u64, &file[offset..end])?;
        assert_eq!(again, length as u64, "{offset}..{end}");
    }
    assert_eq!(repo.get_recordings(&task)?, before);
    // What overlaps is compared, the rest is added.
    assert_eq!(
        repo.save_recording(&task, &name(), 50, &file[50..length + 7])?,
        length as u64 + 7
    );
    for offset in [
        0,
        1,
        99,
        16 * 1024,
        MIB - 1,
        MIB,
        MIB + 1,
        length,
        length + 6,
    ] {
        let bytes = repo.read_recording(&task, RecordingNumber::MIN, offset as u64)?;
        assert!(!bytes.is_empty() && file[offset..length + 7].starts_with(&bytes));
    }
    for offset in [length as u64 + 7, u64::MAX] {
        assert!(
            repo.read_recording(&task, RecordingNumber::MIN, offset)?
                .is_empty()
        );
    }
    let mut bytes = Vec::new();
    let mut reader = repo.repo().recording_reader(&task, RecordingNumber::MIN);
    assert_eq!(reader.read(&mut [])?, 0);
    reader.read_to_end(&mut bytes)?;
    assert!(bytes == file[..length + 7]);
    drop(repo);
    assert!(read(&store.open()?, &task, RecordingNumber::MIN)? == bytes);
    store.check()
}

/// The time of the last bytes stays when the clock is set back.
pub fn the_time_of_a_file_is_not_set_back<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for (second, offset) in [(2_000_000_000, 0), (1_000_000_000, 4)] {
        let time = DateTime::from_timestamp(second, 0).unwrap();
        let repo = store.open_with(Options::new().clock(move || time))?;
        let task = save_task(&repo, "t")?;
        repo.save_recording(&task, &name(), offset, b"line")?;
        let file = &repo.get_recordings(&task)?[0];
        assert_eq!(file.length, offset + 4);
        assert_eq!(file.updated_at.timestamp(), 2_000_000_000);
    }
    Ok(())
}

/// A rewritten file begins with the kept bytes before its offset. Its earlier state stays until the next one.
pub fn a_rewritten_file_gets_a_new_number<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = RecordingName::new("other")?;
    repo.save_recording(&task, &name(), 0, b"first state")?;
    assert_eq!(repo.save_recording(&task, &other, 0, b"other")?, 5);
    assert_eq!(
        repo.save_recording(&task, &name(), 6, b"draft, and more")?,
        21
    );
    let [first, second] = ["first state", "first draft, and more"].map(|it| it.as_bytes().to_vec());
    assert_eq!(
        read_all(&repo, &task)?,
        [(1, first), (2, b"other".to_vec()), (3, second.clone())]
    );
    // The last number is the one that grows, and that a repeat is compared with.
    assert_eq!(repo.save_recording(&task, &name(), 0, &second)?, 21);
    assert_eq!(repo.save_recording(&task, &name(), 21, b".")?, 22);
    assert_eq!(repo.save_recording(&task, &name(), 0, b"third")?, 5);
    let state = read_all(&repo, &task)?;
    let second = b"first draft, and more.".to_vec();
    assert_eq!(
        state,
        [(2, b"other".to_vec()), (3, second), (4, b"third".to_vec())]
    );
    let gone = repo
        .read_recording(&task, RecordingNumber::MIN, 0)
        .unwrap_err();
    assert!(matches!(gone.kind(), ErrorKind::RecordingNotFound { number } if *number == 1));
    assert_eq!(
        gone.to_string(),
        "read_recording: task `t` has no recording 1"
    );

    // Across chunks: the whole ones before the offset, a part of the next one, and the new bytes.
    let mut file = text(3 * MIB);
    repo.save_recording(&task, &other, 5, &file)?;
    file.splice(..0, *b"other");
    for offset in [MIB + 70_000, MIB, 2 * MIB - 1, 3] {
        file[offset] ^= 1;
        let kept = repo.save_recording(&task, &other, offset as u64, &file[offset..])?;
        assert_eq!(kept, file.len() as u64);
        let last = repo.get_recordings(&task)?.pop().unwrap();
        assert!(read(&repo, &task, last.number)? == file, "from {offset} on");
    }
    let files = repo.get_recordings(&task)?;
    let numbers: Vec<i64> = files.iter().map(|file| file.number.get()).collect();
    assert_eq!(numbers, [3, 4, 7, 8]);
    store.check()
}

/// Refused calls keep nothing and change nothing.
pub fn refused_bytes_change_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let gap = |offset, bytes: &[u8]| {
        repo.save_recording(&task, &name(), offset, bytes)
            .unwrap_err()
    };
    for offset in [1, u64::MAX] {
        assert_eq!(
            gap(offset, b"x").kind(),
            &ErrorKind::RecordingGap { length: 0 }
        );
        assert_eq!(
            gap(offset, b"").kind(),
            &ErrorKind::RecordingGap { length: 0 }
        );
    }
    assert!(repo.get_recordings(&task)?.is_empty());
    let most = text(RecordingFile::MAX_SAVED_BYTES);
    assert_eq!(
        repo.save_recording(&task, &name(), 0, &most)?,
        most.len() as u64
    );
    let length = most.len() as u64;
    let error = gap(length + 1, b"x");
    assert_eq!(error.kind(), &ErrorKind::RecordingGap { length });
    assert_eq!(
        error.to_string(),
        format!(
            "save_recording: of the file for task `t` {length} bytes are kept, and the new ones do not follow"
        )
    );
    assert_eq!(error.task_id(), Some(&task));
    let too_many = vec![0; most.len() + 1];
    for offset in [0, length, u64::MAX] {
        let error = gap(offset, &too_many);
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { field: "bytes", .. }),
            "{error:?}"
        );
    }
    let none = TaskId::new("none")?;
    for error in [
        repo.save_recording(&none, &name(), 0, b"x").unwrap_err(),
        repo.delete_recordings(&none).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
    }
    assert!(repo.get_recordings(&none)?.is_empty());
    let error = repo
        .read_recording(&none, RecordingNumber::MIN, 0)
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::RecordingNotFound { .. }),
        "{error:?}"
    );
    assert!(read_all(&repo, &task)? == [(1, most)]);
    Ok(())
}

/// Files go without their task's words, and with their task.
pub fn dropped_files_leave_the_words<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = save_task(&repo, "u")?;
    repo.save_message(&task, Role::User, "said")?;
    for task in [&task, &other] {
        for (name, bytes) in [("a", "1"), ("a", "2"), ("b", "3")] {
            repo.save_recording(task, &name.parse()?, 0, bytes.as_bytes())?;
        }
    }
    assert_eq!(repo.delete_recordings(&task)?, 2);
    assert_eq!(repo.delete_recordings(&task)?, 0);
    assert!(repo.get_recordings(&task)?.is_empty());
    assert_eq!(contents(&repo, &task)?, ["said"]);
    let kept = [(1, b"1".to_vec()), (2, b"2".to_vec()), (3, b"3".to_vec())];
    assert_eq!(read_all(&repo, &other)?, kept);
    assert!(repo.delete_task(&other)?);
    save_task(&repo, "u")?;
    assert!(repo.get_recordings(&other)?.is_empty());
    assert_eq!(repo.save_recording(&other, &"a".parse()?, 0, b"new")?, 3);
    assert_eq!(read_all(&repo, &other)?, [(1, b"new".to_vec())]);
    store.check()
}

/// A transaction sees its own bytes, and an error undoes them.
pub fn a_transaction_keeps_files<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let id = task.clone();
    repo.save_recording(&task, &name(), 0, b"kept")?;
    let undone: anyhow::Result<()> = repo.transaction(move |tx| {
        assert_eq!(tx.save_recording(&id, &name(), 4, b" and more")?, 13);
        assert_eq!(tx.save_recording(&id, &name(), 0, b"other")?, 5);
        assert_eq!(tx.get_recordings(&id)?.len(), 2);
        let gap = tx.save_recording(&id, &name(), 9, b"x").unwrap_err();
        assert!(matches!(gap.kind(), ErrorKind::RecordingGap { length: 5 }));
        assert_eq!(
            tx.read_recording(&id, RecordingNumber::MIN, 5)?,
            b"and more"
        );
        assert_eq!(tx.delete_recordings(&id)?, 1);
        anyhow::bail!("changed its mind")
    });
    assert_eq!(undone.unwrap_err().to_string(), "changed its mind");
    assert_eq!(read_all(&repo, &task)?, [(1, b"kept".to_vec())]);
    let id = task.clone();
    repo.transaction(move |tx| {
        tx.save_message(&id, Role::User, "said")?;
        tx.save_recording(&id, &name(), 4, b" and more")
    })?;
    assert_eq!(read_all(&repo, &task)?, [(1, b"kept and more".to_vec())]);
    assert_eq!(contents(&repo, &task)?, ["said"]);
    Ok(())
}

/// Several writers that keep one file at the same time keep it once.
pub fn writers_of_one_file_keep_it_once<H: Harness>() -> anyhow::Result<()> {
    const STEP: usize = 7_000;
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = store.open()?;
    let file = text(40 * STEP);
    thread::scope(|scope| {
        for repo in [&repo, &other, &repo, &other] {
            let (task, file) = (&task, &file);
            scope.spawn(move || {
                for (step, bytes) in file.chunks(STEP).enumerate() {
                    let offset = (step * STEP) as u64;
                    let length = repo.save_recording(task, &name(), offset, bytes).unwrap();
                    assert!(length >= offset + STEP as u64);
                }
            });
        }
    });
    assert!(read_all(&repo, &task)? == [(1, file)]);
    store.check()
}

/// Acknowledged bytes survive `kill -9`.
pub fn kill_nine_loses_no_acknowledged_bytes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    let mut acknowledged = 0;
    for round in 0..6 {
        let mut worker = Worker::start(&store, &["record", "t"])?;
        for _ in 0..=round {
            acknowledged = worker
                .line()?
                .expect("the worker goes on until killed")
                .parse()?;
        }
        worker.kill()?;
        let files = read_all(&store.open()?, &task)?;
        let [(1, bytes)] = &files[..] else {
            panic!("{} files", files.len());
        };
        assert!(bytes.len() >= acknowledged);
        let lines = bytes.split_inclusive(|it| *it == b'\n').zip(1..);
        for (line, number) in lines {
            assert_eq!(line, format!("line {number}\n").as_bytes());
        }
    }
    store.check()
}
