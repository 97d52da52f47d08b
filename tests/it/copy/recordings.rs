//! Copying recordings and removed sessions.

use turnkeep_admin::{CopyStage, Error, copy};
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{BackendType, ErrorKind, Repo, SessionId, TaskId};

use super::scene::{fill, fill_recordings, name, noise};
use super::{Place, TempStore, copy_all, from_each_to_each, id, read_all, written};
use crate::sql::Sql as _;
use crate::support::{Harness as _, binding, save_task};

from_each_to_each![
    recordings_are_copied_byte_for_byte,
    a_grown_recording_gets_its_tail,
    superseded_recordings_are_dropped,
    other_bytes_are_a_conflict,
    recordings_of_the_destination_alone_are_left_alone,
    recordings_may_change_meanwhile,
    a_clock_that_was_set_back_is_no_conflict,
    the_later_removal_of_a_session_stays,
];

const MIB: usize = 1024 * 1024;

fn recordings_are_copied_byte_for_byte(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    fill_recordings(&source)?;
    let report = copy_all(&source, &destination)?;
    assert_eq!(from.rows()?, to.rows()?);
    assert_eq!(written(&report)[6..], [5, 1 + 7 + 3 + 3, 2]);
    let writes = destination.stats().writes;
    assert_eq!(written(&copy_all(&source, &destination)?), [0; 9]);
    assert_eq!(destination.stats().writes, writes);
    Ok(())
}

/// Steps of every size: in the last chunk, to its end, and beyond.
fn a_grown_recording_gets_its_tail(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let task = save_task(&source, "t")?;
    let file = noise(1, 4 * MIB);
    let mut length = 0;
    for step in [10, 10, 20_000, 20_000, MIB - 40_020, 1, 2 * MIB, 7] {
        let end = length + step;
        source.save_recording(&task, &name("a"), length as u64, &file[length..end])?;
        length = end;
        let report = copy_all(&source, &destination)?;
        assert_eq!(from.rows()?, to.rows()?);
        assert!(written(&report)[7] <= 3, "{step}: {report:?}");
    }
    // In one step, from a copy whose last mebibyte has several chunks.
    source.save_recording(&task, &name("a"), length as u64, &file[length..])?;
    copy_all(&source, &destination)?;
    assert_eq!(from.rows()?, to.rows()?);
    assert_eq!(written(&copy_all(&source, &destination)?), [0; 9]);
    Ok(())
}

fn superseded_recordings_are_dropped(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let task = save_task(&source, "t")?;
    for version in 1..=5 {
        source.save_recording(&task, &name("a"), 0, &noise(version, 100))?;
        source.save_recording(&task, &name("b"), 0, b"stays")?;
        // Some versions are never copied.
        if version != 4 {
            copy_all(&source, &destination)?;
            assert_eq!(from.rows()?, to.rows()?, "{version}");
        }
    }
    Ok(())
}

#[track_caller]
fn conflicts(from: &Repo, to: &Repo, reason: &str) {
    let before = read_all(to).expect("readable");
    match copy(from, to, |_| ()).unwrap_err() {
        Error::Conflict {
            task_id,
            reason: found,
            ..
        } => {
            assert_eq!((task_id, &*found), (id("t"), reason));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read_all(to).expect("readable"), before);
}

fn other_bytes_are_a_conflict(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let task = save_task(&source, "t")?;
    source.save_recording(&task, &name("a"), 0, &noise(1, 100))?;
    copy_all(&source, &destination)?;

    // Both go on.
    destination.save_recording(&task, &name("a"), 100, b"there")?;
    conflicts(
        &source,
        &destination,
        "has more of recording 1 at the destination",
    );
    source.save_recording(&task, &name("a"), 100, b"from here")?;
    conflicts(
        &source,
        &destination,
        "has another recording 1 at the destination",
    );
    // Both keep another file.
    destination.delete_recordings(&task)?;
    copy_all(&source, &destination)?;
    source.save_recording(&task, &name("b"), 0, b"of the source")?;
    destination.save_recording(&task, &name("c"), 0, b"there")?;
    conflicts(
        &source,
        &destination,
        "has another recording 2 at the destination",
    );
    // The destination has kept one meanwhile that is later than the new one.
    destination.save_recording(&task, &name("d"), 0, b"there")?;
    destination.delete_recordings(&task)?;
    source.delete_recordings(&task)?;
    source.save_recording(&task, &name("a"), 0, b"a")?;
    destination.save_recording(&task, &name("a"), 0, b"1")?;
    destination.save_recording(&task, &name("a"), 0, b"2")?;
    destination.save_recording(&task, &name("a"), 0, b"3")?;
    let reason = "has a recording 2 of its own at the destination, which lacks recording 1";
    conflicts(&source, &destination, reason);
    Ok(())
}

fn recordings_of_the_destination_alone_are_left_alone(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let task = save_task(&source, "t")?;
    source.save_recording(&task, &name("a"), 0, &noise(1, 2 * MIB))?;
    copy(&source, &destination, |_| ())?;
    source.delete_recordings(&task)?;
    let report = copy(&source, &destination, |_| ())?;
    assert_eq!(written(&report), [0; 9]);
    assert_eq!((report[6].left_alone, report[7].left_alone), (1, 2));
    assert_eq!(destination.get_recordings(&task)?.len(), 1);
    Ok(())
}

/// Between the list of the recordings and their chunks, as an agent may write at any time.
fn recordings_may_change_meanwhile(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let task = save_task(&source, "t")?;
    source.save_recording(&task, &name("a"), 0, &noise(1, 100))?;
    let save = |offset, bytes| source.save_recording(&task, &name("a"), offset, bytes);
    let mut attempts = 0;
    copy(&source, &destination, |progress| {
        if (progress.stage, progress.tasks) != (CopyStage::Copying, 0) {
            return;
        }
        attempts += 1;
        match attempts {
            1 => assert_eq!(save(100, b"more").expect("it grows"), 104),
            // Of three the first is dropped.
            2 => assert!([b"2", b"3"].iter().all(|it| save(0, *it).is_ok())),
            _ => {}
        }
    })?;
    assert_eq!(attempts, 3);
    assert_eq!(from.rows()?, to.rows()?);
    Ok(())
}

fn a_clock_that_was_set_back_is_no_conflict(from: &Place, to: &Place) -> anyhow::Result<()> {
    let destination = to.open()?;
    for (second, offset) in [(2_000_000_000, 0), (1_000_000_000, 4)] {
        let time = DateTime::from_timestamp(second, 0).expect("a time");
        let source = Repo::builder(from.address()).clock(move || time).open()?;
        let task = save_task(&source, "t")?;
        source.save_recording(&task, &name("a"), offset, b"line")?;
        copy(&source, &destination, |_| ())?;
        assert_eq!(from.rows()?, to.rows()?);
    }
    Ok(())
}

fn the_later_removal_of_a_session_stays(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    let remove = |repo: &Repo, task: &str, session: &str| -> anyhow::Result<TaskId> {
        let task = save_task(repo, task)?;
        repo.save_session(&task, &binding(BackendType::Claude, session, None)?)?;
        assert!(repo.remove_task(&task)?);
        Ok(task)
    };
    remove(&source, "source", "both")?;
    remove(&source, "source", "one")?;
    remove(&destination, "destination", "both")?;
    remove(&destination, "destination", "other")?;
    let report = copy(&source, &destination, |_| ())?;
    assert_eq!(
        (report[8].rows, report[8].written, report[8].left_alone),
        (2, 1, 1)
    );
    let task_of = |session: &str| {
        let removed = destination.list_removed_sessions().expect("readable");
        let of_session = removed
            .into_iter()
            .find(|it| it.session_id.as_str() == session);
        of_session.map(|it| it.task_id.to_string())
    };
    assert_eq!(task_of("both").as_deref(), Some("destination"));
    assert_eq!(task_of("one").as_deref(), Some("source"));
    assert!(destination.is_session_removed(&BackendType::Claude, &SessionId::new("other")?)?);
    // A session that is in use at the source is none at the destination.
    let task = save_task(&source, "again")?;
    source.save_session(&task, &binding(BackendType::Claude, "other", None)?)?;
    copy(&source, &destination, |_| ())?;
    assert_eq!(task_of("other"), None);
    assert_eq!(written(&copy(&source, &destination, |_| ())?), [0; 9]);
    Ok(())
}

/// A chunk that was changed, or is missing.
#[test]
fn a_damaged_recording_is_named() -> anyhow::Result<()> {
    for (damage, place, cause) in [
        (
            "DROP TRIGGER recording_chunks_no_update; \
             UPDATE recording_chunks SET checksum = 1 WHERE \"offset\" = 1048576",
            "byte 1048576 of recording 1 of task `t` at the source",
            "its checksum is that of something else",
        ),
        (
            "DROP TRIGGER recording_chunks_no_gap; \
             DELETE FROM recording_chunks WHERE \"offset\" = 1048576",
            "byte 1048576 of recording 1 of task `t` at the source",
            "the next chunk is missing",
        ),
    ] {
        let (from, to) = (TempStore::new()?, Place::file()?);
        let (source, destination) = (from.open()?, to.open()?);
        let task = save_task(&source, "t")?;
        source.save_recording(&task, &name("a"), 0, &noise(1, 3 * MIB))?;
        from.execute(damage)?;
        let error = copy(&source, &destination, |_| ()).unwrap_err();
        assert!(
            matches!(error.store_kind(), Some(ErrorKind::Corrupt)),
            "{error:?}"
        );
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.contains(place) && chain.contains(cause), "{chain}");
        assert!(destination.get_recordings(&task)?.is_empty());

        let error = turnkeep_admin::export_jsonl(&source, Vec::new(), |_| ()).unwrap_err();
        assert!(
            matches!(error.store_kind(), Some(ErrorKind::Corrupt)),
            "{error:?}"
        );
    }
    Ok(())
}
