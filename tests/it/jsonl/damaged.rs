//! Texts that are not what was written.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnkeep_admin::Error;
use turnkeep_repo::{MAX_TEXT_BYTES, NewTask, Repo, Role};

use super::{export, import};
use crate::copy::scene::fill;
use crate::support::{binding, place, save_task};

/// Three tasks; the second has lines 3 to 9, the first line 2.
fn text() -> anyhow::Result<String> {
    let repo = Repo::open_in_memory()?;
    save_task(&repo, "a")?;
    let task = save_task(&repo, "b")?;
    for (session, is_retired) in [("1", true), ("2", false)] {
        let binding = binding(turnkeep_repo::BackendType::Codex, session, None)?;
        repo.save_session(&task, &binding)?;
        if is_retired {
            repo.retire_session(&task, &session.parse()?, "dead")?;
        }
    }
    for said in ["secret 1", "secret 2", "secret 3"] {
        repo.save_message(&task, Role::User, said)?;
    }
    repo.save_task(&NewTask::new("c".parse()?, "C").depends_on([task]))?;
    Ok(export(&repo)?)
}

/// Imports a damaged text: only the first task is stored then, and the whole text can be imported
/// afterwards.
fn fault_of(damaged: &[u8], whole: &str, tasks_before: usize) -> (u64, String) {
    let repo = Repo::open_in_memory().expect("a store");
    let error = import(&repo, damaged).expect_err("it is damaged");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret"), "{shown}");
    let tasks = repo.get_tasks().expect("readable");
    assert_eq!(tasks.len(), tasks_before, "{error}");
    import(&repo, whole).expect("a whole text");
    assert_eq!(export(&repo).expect("an export"), whole);
    match error {
        Error::InvalidLine { line, reason } => (line, reason),
        other => panic!("{other:?}"),
    }
}

const NOT_JSON: &str = "is no JSON, at byte ";
const NOT_A_RECORD: &str = "is no record, at byte ";
const INVALID: &str = "has an invalid ";
const OUT_OF_PLACE: &str = "is out of place: ";
const UNKNOWN: &str = "waits for task `";

#[test]
fn every_kind_of_damage_is_told_with_its_line() -> anyhow::Result<()> {
    let whole = text()?;
    let long_id = format!(r#""task_id":"{}""#, "i".repeat(513));
    let long_metadata = format!(r#""metadata":"{{}}{}""#, " ".repeat(1024 * 1024));
    // The line that is told, what is replaced in it, and by what.
    let damages: &[(u64, &str, &[u8], &str)] = &[
        (8, "secret 2", b"secret \0 2", NOT_JSON),
        (8, "secret 2", b"secret \xff 2", NOT_JSON),
        (8, "secret 2", br"secret \ud800 2", NOT_JSON),
        (8, "secret 2", br"secret \udc00 2", NOT_JSON),
        (8, "secret 2", br"secret \q 2", NOT_JSON),
        (8, "\"user\"", b"user", NOT_JSON),
        (8, "}}", b"}", NOT_JSON),
        (8, "}}", b"}}}", NOT_JSON),
        (8, "}}", b"}} {}", NOT_JSON),
        (8, "\"seq\":2", b"\"seq\":\"secret\"", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":2.5", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":1e400", NOT_JSON),
        (8, "\"seq\":2", b"\"seq\":9223372036854775808", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":null", NOT_A_RECORD),
        (8, "\"seq\":2,", b"", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":2,\"seq\":2", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":2,\"more\":1", NOT_A_RECORD),
        (8, ",\"message_key\":null", b"", NOT_A_RECORD),
        (8, "\"secret 2\"", b"[\"secret 2\"]", NOT_A_RECORD),
        (8, "{\"turn\":", b"{\"secret\":", NOT_A_RECORD),
        (8, "\"seq\":2", b"\"seq\":1", OUT_OF_PLACE),
        (8, "\"seq\":2", b"\"seq\":3", OUT_OF_PLACE),
        (8, "\"seq\":2", b"\"seq\":-2", INVALID),
        (8, "\"seq\":2", b"\"seq\":9007199254740992", INVALID),
        (8, "\"task_id\":\"b\"", b"\"task_id\":\"a\"", OUT_OF_PLACE),
        (
            8,
            "\"task_id\":\"b\"",
            b"\"task_id\":\"nobody\"",
            OUT_OF_PLACE,
        ),
        (8, "\"task_id\":\"b\"", b"\"task_id\":\"\"", INVALID),
        (8, "\"task_id\":\"b\"", br#""task_id":"b\u0000""#, INVALID),
        (8, "\"task_id\":\"b\"", long_id.as_bytes(), INVALID),
        (8, "\"user\"", b"\"robot\"", INVALID),
        (8, "\"timestamp\":", b"\"timestamp\":99", INVALID),
        (8, "\"metadata\":null", b"\"metadata\":{}", NOT_A_RECORD),
        (8, "\"metadata\":null", b"\"metadata\":\"[]\"", INVALID),
        (
            8,
            "\"metadata\":null",
            b"\"metadata\":\"{\\u0000}\"",
            INVALID,
        ),
        (
            8,
            "\"metadata\":null",
            br#""metadata":"{\"secret\":\"\\u0000\"}""#,
            INVALID,
        ),
        (
            8,
            "\"metadata\":null",
            br#""metadata":"{\"secret\":1,\"secret\":2}""#,
            INVALID,
        ),
        (8, "\"metadata\":null", long_metadata.as_bytes(), INVALID),
        (6, "\"metadata\":null", b"\"metadata\":\"{}\"", INVALID),
        (6, "\"config_dir\":null", b"\"config_dir\":\"/c\"", INVALID),
        (6, "\"config_dir\":null", b"\"config_dir\":\"\"", INVALID),
        (4, "\"metadata\":null", b"\"metadata\":\"secret\"", INVALID),
        (3, "\"metadata\":null", b"\"metadata\":\"\"", INVALID),
        (4, "\"revision\":1", b"\"revision\":2", OUT_OF_PLACE),
        (
            4,
            "\"revision\":1",
            b"\"revision\":9007199254740992",
            INVALID,
        ),
        (5, "\"first_seq\":1", b"\"first_seq\":0", INVALID),
        (5, "\"first_seq\":1", b"\"first_seq\":5", INVALID),
        (
            4,
            "\"retired_reason\":\"dead\"",
            b"\"retired_reason\":null",
            INVALID,
        ),
        (6, "\"codex\"", b"\"claude\"", INVALID),
        (6, "\"updated_at\":1", b"\"updated_at\":2", INVALID),
        (6, "\"session_id\":\"2\"", b"\"session_id\":\"1\"", INVALID),
        (3, "\"fence\":0", b"\"fence\":-1", INVALID),
        (3, "\"fence\":0", b"\"fence\":9007199254740992", INVALID),
        (3, "\"fence\":0", b"\"fence\":9223372036854775807", INVALID),
        (3, "\"worker\":null", b"\"worker\":\"w\"", INVALID),
        (3, "\"lease_length\":null", b"\"lease_length\":1", INVALID),
        (
            3,
            "\"worker\":null,\"fence\":0,\"lease_ends_at\":null,\"lease_length\":null",
            b"\"worker\":\"w\",\"fence\":0,\"lease_ends_at\":1,\"lease_length\":86400000001",
            INVALID,
        ),
        (3, "\"turns\":3", b"\"turns\":-3", INVALID),
        (3, "\"turns\":3", b"\"turns\":9007199254740992", INVALID),
        (
            3,
            "\"depends_on\":[]",
            b"\"depends_on\":[\"d\",\"a\"]",
            INVALID,
        ),
        (
            3,
            "\"depends_on\":[]",
            b"\"depends_on\":[\"a\",\"a\"]",
            INVALID,
        ),
        (3, "\"depends_on\":[]", b"\"depends_on\":[\"d\"]", UNKNOWN),
        (3, "\"depends_on\":[]", b"\"depends_on\":[\"b\"]", UNKNOWN),
        (
            3,
            "\"status\":\"pending\"",
            b"\"status\":\"asleep\"",
            INVALID,
        ),
    ];
    assert_told(&whole, damages);

    // The next turn is the highest that a binding can begin with, and the lowest for the binding after it.
    let damaged = whole.replacen("\"first_seq\":1", "\"first_seq\":4", 1);
    let (told, fault) = fault_of(damaged.as_bytes(), &whole, 1);
    let expected = "has an invalid revision: begins before an earlier one";
    assert_eq!((told, &*fault), (5, expected));
    Ok(())
}

fn assert_told(whole: &str, damages: &[(u64, &str, &[u8], &str)]) {
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for (line, before, after, expected) in damages {
        let at = *line as usize - 1;
        let start: usize = lines[..at].iter().map(|line| line.len()).sum();
        let start = start + lines[at].find(before).expect("it is in that line");
        let mut damaged = whole.as_bytes().to_vec();
        damaged.splice(start..start + before.len(), after.iter().copied());
        let (told, fault) = fault_of(&damaged, whole, 1);
        let shown = String::from_utf8_lossy(after);
        assert_eq!(told, *line, "{shown}: {fault}");
        assert!(fault.starts_with(expected), "{shown}: {fault}");
    }
}

#[test]
fn damaged_recordings_are_told_with_their_line() -> anyhow::Result<()> {
    let repo = Repo::open_in_memory()?;
    save_task(&repo, "a")?;
    let task = save_task(&repo, "b")?;
    let secret = "secret ".repeat(150_000);
    repo.save_recording(&task, &"x".parse()?, 0, secret.as_bytes())?;
    let whole = export(&repo)?;
    // Lines 5 and 6 are the chunks of the recording in line 4.
    let damages: &[(u64, &str, &[u8], &str)] = &[
        (4, "\"number\":1", b"\"number\":0", INVALID),
        (4, "\"name\":\"x\"", b"\"name\":\"../x\"", INVALID),
        (4, "\"length\"", b"\"more\":1,\"length\"", NOT_A_RECORD),
        (4, "{\"recording\":", b"{\"turn\":", NOT_A_RECORD),
        (5, "\"task_id\":\"b\"", b"\"task_id\":\"a\"", OUT_OF_PLACE),
        (5, "\"number\":1", b"\"number\":2", OUT_OF_PLACE),
        (5, "\"offset\":0", b"\"offset\":1", INVALID),
        (5, "\"offset\":0", b"\"offset\":-1", INVALID),
        (5, "\"length\":", b"\"length\":9", INVALID),
        (5, "\"length\":1048576", b"\"length\":0", INVALID),
        (5, "\"checksum\":", b"\"checksum\":9", INVALID),
        (5, "\"data\":\"", b"\"data\":\"*", INVALID),
        (5, "\"data\":\"", b"\"data\":\"AAAA", INVALID),
        (6, "\"offset\":1048576", b"\"offset\":0", INVALID),
        (6, "\"length\":", b"\"length\":9", INVALID),
    ];
    assert_told(&whole, damages);
    for (before, after) in [
        ("\"length\":1050000", "\"length\":1049999"),
        ("\"length\":1050000", "\"length\":1050001"),
        ("\"stored_bytes\":", "\"stored_bytes\":9"),
        ("\"recordings\":1", "\"recordings\":2"),
    ] {
        assert!(whole.contains(before));
        let at = whole.rfind(before).expect("it is there");
        let mut damaged = whole.clone();
        damaged.replace_range(at..at + before.len(), after);
        let (told, fault) = fault_of(damaged.as_bytes(), &whole, 1);
        assert!((4..=7).contains(&told), "{after}: {told}: {fault}");
    }

    // Removed sessions are the last lines.
    let gone = save_task(&repo, "gone")?;
    repo.save_session(
        &gone,
        &binding(turnkeep_repo::BackendType::Codex, "s", None)?,
    )?;
    repo.remove_task(&gone)?;
    let whole = export(&repo)?;
    for (before, after, line) in [
        ("\"session_id\":\"s\"", "\"session_id\":\"\"", 7),
        ("\"removed_sessions\":1", "\"removed_sessions\":2", 8),
        ("\"removed_sessions\":1", "\"removed_sessions\":0", 8),
    ] {
        let damaged = whole.replacen(before, after, 1);
        let (told, fault) = fault_of(damaged.as_bytes(), &whole, 2);
        assert_eq!(told, line, "{after}: {fault}");
    }
    Ok(())
}

#[test]
fn damaged_retractions_are_told_with_their_line() -> anyhow::Result<()> {
    let repo = Repo::open_in_memory()?;
    save_task(&repo, "a")?;
    let task = save_task(&repo, "b")?;
    for said in ["secret 1", "secret 2", "secret 3"] {
        repo.save_message(&task, Role::User, said)?;
    }
    repo.hide_after(&task, place(2))?;
    repo.hide_after(&task, place(1))?;
    let whole = export(&repo)?;
    assert!(whole.contains(r#""number":2,"after_seq":1,"through_seq":3,"#));
    let damages: &[(u64, &str, &[u8], &str)] = &[
        (4, "\"number\":1", b"\"number\":2", OUT_OF_PLACE),
        (4, "\"number\":1", b"\"number\":0", OUT_OF_PLACE),
        (4, "\"task_id\":\"b\"", b"\"task_id\":\"a\"", OUT_OF_PLACE),
        (5, "\"number\":2", b"\"number\":1", OUT_OF_PLACE),
        (5, "\"after_seq\":1", b"\"after_seq\":3", INVALID),
        (5, "\"after_seq\":1", b"\"after_seq\":-1", INVALID),
        (5, "\"after_seq\":1", b"\"after_seq\":null", NOT_A_RECORD),
        (5, "\"through_seq\":3", b"\"through_seq\":4", INVALID),
        (5, "\"through_seq\":3", b"\"through_seq\":2", INVALID),
        (
            5,
            "\"through_seq\":3",
            b"\"through_seq\":9007199254740992",
            INVALID,
        ),
        (5, "\"hidden_at\":", b"\"hidden_at\":99", INVALID),
        (5, "}}", b",\"more\":1}}", NOT_A_RECORD),
    ];
    assert_told(&whole, damages);
    // The line that is asked for instead.
    for (line, retractions) in [(5, "1"), (6, "3")] {
        let counted = format!(r#""retractions":{retractions},"turns":3"#);
        let damaged = whole.replace(r#""retractions":2,"turns":3"#, &counted);
        let (told, fault) = fault_of(damaged.as_bytes(), &whole, 1);
        assert_eq!(told, line, "{fault}");
        assert!(fault.starts_with(OUT_OF_PLACE), "{fault}");
    }
    Ok(())
}

#[test]
fn lines_that_are_missing_or_there_twice_are_told() -> anyhow::Result<()> {
    let whole = text()?;
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 11);
    let is_out_of_place = |fault: &str| fault.starts_with(OUT_OF_PLACE);
    for index in 3..9 {
        let mut missing = lines.clone();
        missing.remove(index);
        let (_, fault) = fault_of(missing.concat().as_bytes(), &whole, 1);
        assert!(is_out_of_place(&fault), "{index}: {fault:?}");
        let mut twice = lines.clone();
        twice.insert(index, lines[index]);
        // After the last of its task the next one is asked for.
        let (line, fault) = fault_of(
            twice.concat().as_bytes(),
            &whole,
            1 + usize::from(index == 8),
        );
        assert!(is_out_of_place(&fault), "{index}: {fault:?}");
        assert_eq!(line, index as u64 + 2);
    }
    // A whole task.
    let mut missing = lines.clone();
    missing.drain(2..9);
    let (line, fault) = fault_of(missing.concat().as_bytes(), &whole, 1);
    assert_eq!(line, 3);
    assert!(fault.starts_with("waits for task `b`"), "{fault}");
    // The end says how much there was.
    let mut missing = lines.clone();
    missing.remove(1);
    let (line, fault) = fault_of(missing.concat().as_bytes(), &whole, 2);
    assert!(line == 10 && is_out_of_place(&fault), "{line}: {fault:?}");
    let (line, fault) = fault_of(format!("{whole}\n").as_bytes(), &whole, 3);
    assert!(line == 12 && is_out_of_place(&fault), "{line}: {fault:?}");
    Ok(())
}

#[test]
fn a_text_that_is_cut_off_anywhere_is_told() -> anyhow::Result<()> {
    let whole = text()?;
    for length in 0..whole.len() {
        // Around the ends of lines each, and elsewhere some: every one makes a store.
        let around = &whole[length.saturating_sub(1)..whole.len().min(length + 1)];
        if !around.contains('\n') && length % 31 != 0 {
            continue;
        }
        let before = &whole.as_bytes()[..length];
        let tasks = [1, 9, 10].map(|index| whole.split_inclusive('\n').take(index + 1));
        let ends = tasks.map(|lines| lines.map(str::len).sum::<usize>());
        let tasks_before = [ends[0], ends[1] - whole_line(&whole, 9), ends[1]];
        let tasks_before = tasks_before.iter().filter(|end| **end <= length).count();
        let lines_before = before.iter().filter(|byte| **byte == b'\n').count();
        let (line, fault) = fault_of(before, &whole, tasks_before);
        assert_eq!(fault, "is cut off, the text has no end", "{length}");
        assert_eq!(line, lines_before as u64 + 1);
    }
    Ok(())
}

fn whole_line(text: &str, index: usize) -> usize {
    text.split_inclusive('\n').nth(index).expect("a line").len()
}

#[test]
fn other_texts_and_versions_are_refused() -> anyhow::Result<()> {
    let whole = text()?;
    for first in [
        "",
        "{}",
        "null",
        "turnkeep",
        "{\"version\":1}",
        "\u{feff}",
        "{\"format\":\"x\",\"version\":1}",
    ] {
        let damaged = whole.replacen(r#"{"format":"turnkeep","version":1}"#, first, 1);
        assert_eq!(
            fault_of(damaged.as_bytes(), &whole, 0),
            (1, "is not the first line of an export".into())
        );
    }
    // With any other fields.
    let newer = whole.replacen("\"version\":1", "\"version\":2,\"more\":[]", 1);
    let unknown = "says version 2, which this program does not know";
    assert_eq!(fault_of(newer.as_bytes(), &whole, 0), (1, unknown.into()));
    Ok(())
}

#[test]
fn a_text_over_the_limit_is_refused() -> anyhow::Result<()> {
    let whole = text()?;
    let damaged = whole.replacen("secret 2", &"x".repeat(MAX_TEXT_BYTES + 1), 1);
    let (line, fault) = fault_of(damaged.as_bytes(), &whole, 1);
    assert_eq!(line, 8);
    assert!(fault.starts_with("has an invalid content: "), "{fault}");
    Ok(())
}

/// Of a text with any change, only whole tasks are stored.
#[test]
fn random_damage_leaves_whole_tasks() -> anyhow::Result<()> {
    let source = Repo::open_in_memory()?;
    fill(&source)?;
    let whole = export(&source)?.into_bytes();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let damage = prop::collection::vec((0..whole.len(), any::<u8>()), 1..4);
    runner.run(&damage, |damage| {
        let mut damaged = whole.clone();
        for (at, byte) in damage {
            damaged[at] = byte;
        }
        let repo = Repo::open_in_memory().expect("a store");
        // Some are values that are as good as those before.
        let _ = import(&repo, &damaged);
        let text = export(&repo).expect("whole tasks");
        let other = Repo::open_in_memory().expect("a store");
        import(&other, &text).expect("an export");
        prop_assert_eq!(export(&other).expect("an export"), text);
        Ok(())
    })?;
    Ok(())
}
