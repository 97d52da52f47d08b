//! The contents of an export, and of its import.

use std::cell::RefCell;
use std::io::{BufReader, Seek as _, Write as _};

use anyhow::ensure;
use chrono::DateTime;
use turnkeep_admin::Error;
use turnkeep_repo::{BackendType, MessageKey, NewMessage, NewTask, Repo, Role, WorkerId};

use super::{export, import};
use crate::copy::scene::{LEASES, fill, fill_pages, fill_recordings, name};
use crate::copy::{Place, from_each_to_each};
use crate::support::{binding, contents, place, save_task};

from_each_to_each![
    an_import_has_every_column_of_every_row,
    what_does_not_fit_into_memory_at_once_goes_through,
    an_export_is_the_store_as_of_one_moment,
    importing_again_writes_nothing,
];

fn an_import_has_every_column_of_every_row(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    fill_recordings(&source)?;
    from.execute(LEASES)?;
    let text = export(&source)?;
    let done = import(&destination, &text)?;
    assert_eq!((done.tasks, done.turns, done.left_alone), (8, 24, 0));
    assert_eq!(done.bytes, text.len() as u64);
    assert_eq!(from.rows()?, to.rows()?);
    assert!(export(&destination)? == text);
    let again = import(&destination, &text)?;
    assert_eq!((again.tasks, again.left_alone), (0, 8));
    Ok(())
}

fn what_does_not_fit_into_memory_at_once_goes_through(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill_pages(&source)?;
    let mut file = tempfile::tempfile()?;
    let mut told = Vec::new();
    let done = turnkeep_admin::export_jsonl(&source, &mut file, |now| told.push(now))?;
    assert_eq!(told.len(), 304);
    assert!(told.is_sorted_by_key(|told| (told.tasks, told.turns, told.bytes)));
    assert_eq!((done.tasks, done.turns), (304, 9_461));
    assert_eq!(done.bytes, file.metadata()?.len());
    file.rewind()?;
    let imported = turnkeep_admin::import_jsonl(&destination, BufReader::new(file), |_| ())?;
    assert_eq!(imported, done);
    assert!(from.rows()? == to.rows()?);
    Ok(())
}

/// Others add a task, turns and a dependency while it is on its way.
fn an_export_is_the_store_as_of_one_moment(from: &Place, _: &Place) -> anyhow::Result<()> {
    let source = from.open()?;
    for number in 0..600 {
        let task = save_task(&source, &format!("m{number:03}"))?;
        source.save_message(&task, Role::User, "before")?;
    }
    let before = export(&source)?;
    let other = from.open()?;
    let text = RefCell::new(Vec::new());
    turnkeep_admin::export_jsonl(&source, &mut *text.borrow_mut(), |now| {
        let added = if now.tasks == 1 {
            save_task(&other, "a").and_then(|new| {
                let last = NewTask::new("m599".parse()?, "waits").depends_on([new.clone()]);
                other.save_task(&last)?;
                other.save_message(&new, Role::User, "after")?;
                other.save_message(&last.id, Role::User, "after")?;
                Ok(())
            })
        } else {
            Ok(())
        };
        added.expect("nobody waits for an export");
    })?;
    assert!(text.into_inner() == before.as_bytes());
    assert!(export(&source)? != before);
    Ok(())
}

fn importing_again_writes_nothing(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    let alone = save_task(&destination, "only there")?;
    destination.save_message(&alone, Role::User, "stays")?;
    let text = export(&source)?;
    import(&destination, &text)?;
    let writes = destination.stats().writes;
    let before = to.rows()?;
    let again = import(&destination, &text)?;
    assert_eq!((again.tasks, again.turns, again.left_alone), (0, 0, 8));
    assert_eq!(destination.stats().writes, writes);
    assert_eq!(to.rows()?, before);
    assert_eq!(contents(&destination, &alone)?, ["stays"]);
    // Onto itself as well.
    assert_eq!(import(&source, &text)?.left_alone, 8);
    Ok(())
}

/// The format, because other programs rely on these bytes.
#[test]
fn the_text_is_what_is_documented() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let time = DateTime::from_timestamp_micros(1_767_225_600_000_001).expect("a time");
    let repo = Repo::builder(folder.path().join("store.db"))
        .clock(move || time)
        .open()?;
    let (b, a) = (save_task(&repo, "b")?, "a".parse()?);
    let new = NewTask::new(a, "A")
        .prompt("Do \"it\"\n")
        .writes_files(["ü.rs"])
        .not_before(time)
        .metadata(turnkeep_repo::Metadata::new("{\"k\" : 1}")?);
    repo.save_task(&new.depends_on([b.clone()]))?;
    repo.save_session(&b, &binding(BackendType::Claude, "1", Some("/srv"))?)?;
    repo.retire_session(&b, &"1".parse()?, "dead")?;
    let second = binding(BackendType::Codex, "2", None)?.config_dir("/c".parse()?);
    repo.save_session(&b, &second.metadata("{\"k\" :1.0e5}".parse()?))?;
    let said = [
        NewMessage::new(Role::User, "a\0b\u{10}✓").key(MessageKey::new("k")?),
        NewMessage::new(Role::Assistant, "").metadata(r#"{"é": "\u00e9"}"#.parse()?),
    ];
    repo.save_messages(&b, &said)?;
    repo.hide_after(&b, place(1))?;
    repo.save_recording(&b, &name("s/1.jsonl"), 0, b"{}\n")?;
    let gone = save_task(&repo, "gone")?;
    repo.save_session(&gone, &binding(BackendType::Goose, "3", None)?)?;
    repo.remove_task(&gone)?;
    let expected = r#"{"format":"turnkeep","version":1}
{"task":{"id":"b","name":"A task","agent_role":null,"prompt":"","writes_files":[],"status":"pending","failure_mode":"hard","not_before":null,"metadata":null,"result":null,"error":null,"worker":null,"fence":0,"lease_ends_at":null,"lease_length":null,"created_at":1767225600000001,"updated_at":1767225600000001,"status_changed_at":1767225600000001,"depends_on":[],"revisions":2,"retractions":1,"turns":2,"recordings":1}}
{"revision":{"task_id":"b","revision":1,"backend_type":"claude","session_id":"1","working_dir":"/srv","config_dir":null,"metadata":null,"first_seq":1,"saved_at":1767225600000001,"retired_at":1767225600000001,"retired_reason":"dead"}}
{"revision":{"task_id":"b","revision":2,"backend_type":"codex","session_id":"2","working_dir":null,"config_dir":"/c","metadata":"{\"k\" :1.0e5}","first_seq":1,"saved_at":1767225600000001,"retired_at":null,"retired_reason":null}}
{"session":{"task_id":"b","backend_type":"codex","session_id":"2","working_dir":null,"config_dir":"/c","metadata":"{\"k\" :1.0e5}","created_at":1767225600000001,"updated_at":1767225600000001}}
{"retraction":{"task_id":"b","number":1,"after_seq":1,"through_seq":2,"hidden_at":1767225600000001}}
{"turn":{"task_id":"b","seq":1,"role":"user","content":"a\u0000b\u0010✓","timestamp":1767225600000001,"message_key":"k","metadata":null}}
{"turn":{"task_id":"b","seq":2,"role":"assistant","content":"","timestamp":1767225600000001,"message_key":null,"metadata":"{\"é\": \"\\u00e9\"}"}}
{"recording":{"task_id":"b","number":1,"name":"s/1.jsonl","length":3,"stored_bytes":12,"created_at":1767225600000001,"updated_at":1767225600000001}}
{"recording_chunk":{"task_id":"b","number":1,"offset":0,"length":3,"checksum":3718361094,"data":"KLUv/SADGQAAe30K"}}
{"task":{"id":"a","name":"A","agent_role":null,"prompt":"Do \"it\"\n","writes_files":["ü.rs"],"status":"pending","failure_mode":"hard","not_before":1767225600000001,"metadata":"{\"k\" : 1}","result":null,"error":null,"worker":null,"fence":0,"lease_ends_at":null,"lease_length":null,"created_at":1767225600000001,"updated_at":1767225600000001,"status_changed_at":1767225600000001,"depends_on":["b"],"revisions":0,"retractions":0,"turns":0,"recordings":0}}
{"removed_session":{"backend_type":"goose","session_id":"3","task_id":"gone","removed_at":1767225600000001}}
{"end":{"tasks":2,"turns":2,"removed_sessions":1}}
"#;
    assert_eq!(export(&repo)?, expected);
    Ok(())
}

#[test]
fn a_text_may_begin_behind_something_else() -> anyhow::Result<()> {
    let repo = Repo::open_in_memory()?;
    save_task(&repo, "t")?;
    let mut file = tempfile::tempfile()?;
    file.write_all(b"something else\n")?;
    let done = turnkeep_admin::export_jsonl(&repo, &file, |_| ())?;
    file.seek(std::io::SeekFrom::Start(15))?;
    let other = Repo::open_in_memory()?;
    assert_eq!(
        turnkeep_admin::import_jsonl(&other, BufReader::new(file), |_| ())?,
        done
    );
    Ok(())
}

/// Nobody sees a task that could be taken too early: its dependencies come with it.
#[test]
fn no_task_is_there_without_what_it_waits_for() -> anyhow::Result<()> {
    let source = Repo::open_in_memory()?;
    for (id, depends_on) in [("c", None), ("b", Some("c")), ("a", Some("b"))] {
        let task = NewTask::new(id.parse()?, id);
        let depends_on = depends_on.map(str::parse).transpose()?;
        source.save_task(&task.depends_on(depends_on))?;
    }
    let text = export(&source)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let (destination, other) = (Repo::open(&path)?, Repo::open(&path)?);
    let mut ready = Vec::new();
    turnkeep_admin::import_jsonl(&destination, std::io::Cursor::new(text), |_| {
        ready.push(other.ready_tasks().expect("nobody waits").len());
    })?;
    assert_eq!(ready, [1, 1, 1]);
    let worker = WorkerId::new("w")?;
    let lease = std::time::Duration::from_secs(60);
    assert_eq!(other.claim_ready(&worker, 9, lease)?.len(), 1);
    Ok(())
}

/// An output that takes so many bytes and no more.
struct Narrow(usize);

impl std::io::Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.min(bytes.len()) {
            0 => Err(std::io::ErrorKind::StorageFull.into()),
            some => {
                self.0 -= some;
                Ok(some)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_is_full_is_an_error() -> anyhow::Result<()> {
    let repo = Repo::open_in_memory()?;
    fill(&repo)?;
    let whole = export(&repo)?.len();
    for room in [0, 1, whole / 2, whole - 1] {
        let error = turnkeep_admin::export_jsonl(&repo, Narrow(room), |_| ()).unwrap_err();
        ensure!(matches!(error, Error::Text { .. }), "{room}: {error:?}");
        let source = std::error::Error::source(&error).expect("a source");
        let source = source.downcast_ref::<std::io::Error>().expect("its own");
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    }
    turnkeep_admin::export_jsonl(&repo, Narrow(whole), |_| ())?;
    Ok(())
}
