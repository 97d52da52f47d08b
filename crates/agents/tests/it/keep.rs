use std::fs;
use std::io::Read;
use std::path::Path;

use turnkeep_repo::{RecordingFile, RecordingName};

use crate::support::{CLAUDE, World, id, transcript};

const MIB: usize = 1024 * 1024;

fn name() -> String {
    format!("projects/-srv-app/{CLAUDE}.jsonl")
}

fn task() -> String {
    format!("claude:{CLAUDE}")
}

/// A prompt of this many bytes and more, which differ.
fn long(bytes: usize) -> String {
    (0_u64..)
        .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string())
        .scan(0, |length, text| {
            *length += text.len();
            (*length < bytes + text.len()).then_some(text)
        })
        .collect()
}

fn kept(world: &World, task: &str) -> Vec<RecordingFile> {
    world.repo.get_recordings(&id(task)).unwrap()
}

fn bytes(world: &World, file: &RecordingFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = world.repo.recording_reader(&file.task_id, file.number);
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Imports a file and returns the number of bytes that were kept.
fn import(world: &World, path: &Path) -> u64 {
    let imported = world.import(path);
    let is_kept = |remark: &String| !remark.contains("is not kept");
    assert!(
        imported.remarks.iter().all(is_kept),
        "{:?}",
        imported.remarks
    );
    imported.sessions.iter().map(|it| it.kept_bytes).sum()
}

#[test]
fn the_files_of_a_session_are_kept_byte_for_byte() {
    let world = World::new();
    let text = long(5 * MIB / 2);
    let content = transcript(&["b", &text]) + "{half a line";
    let own = world.file(&format!(".claude/{}", name()), &content);
    let agent = format!(".claude/projects/-srv-app/{CLAUDE}/subagents/agent-1.jsonl");
    world.file(&agent, b"\0not JSON\xff");
    world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}/tool-results/empty.txt"),
        "",
    );
    let length = content.len() as u64;
    assert_eq!(
        import(&world, &own),
        length + b"\0not JSON\xff".len() as u64
    );
    assert_eq!(import(&world, &own), 0);
    let files = kept(&world, &task());
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    let folder = format!("projects/-srv-app/{CLAUDE}");
    assert_eq!(
        names,
        [
            name(),
            format!("{folder}/subagents/agent-1.jsonl"),
            format!("{folder}/tool-results/empty.txt")
        ]
    );
    assert_eq!(bytes(&world, &files[0]), content.as_bytes());
    assert_eq!(
        bytes(&world, &files[1]),
        fs::read(world.path(&agent)).unwrap()
    );
    assert_eq!(bytes(&world, &files[2]), b"");

    // It grows, is cut, and is rewritten in its middle.
    let grown = content.clone() + "\n";
    fs::write(&own, &grown).unwrap();
    assert_eq!(import(&world, &own), 1);
    fs::write(&own, &content[..MIB / 2]).unwrap();
    assert_eq!(import(&world, &own), 0, "an older copy");
    let numbers = kept(&world, &task()).len();
    assert_eq!(numbers, 3);
    let rewritten = grown.replacen(&text[MIB..MIB + 100], "elsewhere", 1);
    fs::write(&own, &rewritten).unwrap();
    assert_eq!(
        import(&world, &own),
        (rewritten.len() - MIB) as u64,
        "the part that differs"
    );
    let files = kept(&world, &task());
    assert_eq!(files.len(), 4);
    assert_eq!(bytes(&world, &files[0]), grown.as_bytes());
    assert_eq!(bytes(&world, &files[3]), rewritten.as_bytes());
}

#[test]
fn only_words_are_kept_if_wanted() {
    let mut world = World::new();
    let own = world.file(&format!(".claude/{}", name()), transcript(&["a"]));
    world.options = world.options.words_only();
    assert_eq!(import(&world, &own), 0);
    assert!(kept(&world, &task()).is_empty());
    world.options.words_only = false;
    assert!(import(&world, &own) > 0);
}

#[test]
fn of_two_copies_the_bound_one_is_kept() {
    let world = World::new();
    let own = world.file(&format!(".claude/{}", name()), transcript(&["a", "b"]));
    let backup = world.file(&format!("backup/{}", name()), transcript(&["a", "B"]));
    assert!(import(&world, &own) > 0);
    // It has another turn, so the session went on there.
    assert!(import(&world, &backup) > 0);
    let before = kept(&world, &task());
    for path in [&own, &backup, &own] {
        assert_eq!(import(&world, path), 0);
    }
    assert_eq!(kept(&world, &task()), before);
}

#[test]
fn a_claim_is_not_kept() {
    let world = World::new();
    let line = serde_json::json!({"type": "user", "session_id": CLAUDE, "message": {"role": "user", "content": "a"}});
    world.file("logs/run.log", format!("{line}\n"));
    let imported = world.import(world.path("logs"));
    assert_eq!(imported.sessions[0].kept_bytes, 0);
    assert!(kept(&world, &format!("claude-log:{CLAUDE}")).is_empty());
}

#[test]
fn a_goose_session_is_kept_as_its_export() {
    let world = World::new();
    let database = world.goose("goose/sessions/sessions.db", &[("20261001_1", "a")]);
    assert!(import(&world, &database) > 0);
    assert_eq!(import(&world, &database), 0);
    let files = kept(&world, "goose:20261001_1");
    assert_eq!(
        files[0].name,
        RecordingName::new("sessions/20261001_1.json").unwrap()
    );
    let export: serde_json::Value = serde_json::from_slice(&bytes(&world, &files[0])).unwrap();
    assert_eq!(export["id"], "20261001_1");

    world.goose("goose/sessions/sessions.db", &[("20261001_1", "b")]);
    assert!(import(&world, &database) > 0);
    let files = kept(&world, "goose:20261001_1");
    assert!(
        String::from_utf8(bytes(&world, files.last().unwrap()))
            .unwrap()
            .contains(r#""b""#)
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_can_not_be_kept_is_named_and_the_words_are_imported() {
    let world = World::new();
    let own = world.file(&format!(".claude/{}", name()), transcript(&["a"]));
    let odd = world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}/tool-results/a\nb"),
        "x",
    );
    let link = odd.with_file_name("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let imported = world.import(&own);
    assert_eq!(imported.sessions[0].added_turns, 1);
    assert_eq!(imported.remarks.len(), 2, "{:?}", imported.remarks);
    assert_eq!(kept(&world, &task()).len(), 1);
}
