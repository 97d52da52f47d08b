use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use turnkeep_agents::{ImportEvent, ImportWarning, KnownFiles};
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

/// Writes over some bytes in a file.
fn write_at(path: &Path, offset: usize, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_grown_file_is_kept_from_its_kept_end() {
    let mut world = World::new();
    let mut content = transcript(&[&long(5 * MIB / 2), "b"]).into_bytes();
    let own = world.file(&format!(".claude/{}", name()), &content);
    assert_eq!(import(&world, &own), content.len() as u64);
    // Whether the beginning is read: then this is another file.
    write_at(&own, MIB / 2, b"elsewhere");
    append(&own, b"{\"c\": 1}\n");
    content.extend(b"{\"c\": 1}\n");
    assert_eq!(import(&world, &own), 9);
    // An import of words alone, such as that of a hook, keeps nothing and changes nothing of it.
    world.options.words_only = true;
    append(&own, b"{\"d\": 1}\n");
    assert_eq!(import(&world, &own), 0);
    world.options.words_only = false;
    append(&own, b"{\"e\": 1}\n");
    content.extend(b"{\"d\": 1}\n{\"e\": 1}\n");
    assert_eq!(import(&world, &own), 18);
    let files = kept(&world, &task());
    assert_eq!(files.len(), 1);
    assert_eq!(bytes(&world, &files[0]), content);
}

/// Imports what has changed, and returns the number of new bytes.
fn import_changed(world: &World) -> u64 {
    let known = KnownFiles::load(&world.repo, &world.options).unwrap();
    let found = known.find(&world.options.homes.claude, None).unwrap();
    let mut added = 0;
    let count = &mut |event| match event {
        ImportEvent::Session(session) => added += session.kept_bytes,
        ImportEvent::Warning(ImportWarning::DamagedLines { .. }) => {}
        other => assert!(matches!(
            other,
            ImportEvent::TurnsAdded(_) | ImportEvent::SourceDone { .. }
        )),
    };
    turnkeep_agents::import(&world.repo, &found, &world.options, count).unwrap();
    added
}

#[test]
fn a_file_that_is_imported_as_it_grows_is_kept_as_if_at_once() {
    let world = World::new();
    let content = transcript(&[&long(MIB), "b", &long(MIB / 8), "ü", "e"]).into_bytes();
    let own = world.file(&format!(".claude/{}", name()), "");
    let last = content.len();
    // Behind a line, within one, within a letter and before the end of a line.
    let line = 1 + content.iter().position(|byte| *byte == b'\n').unwrap();
    let letter = content.iter().position(|byte| *byte > 127).unwrap();
    let cuts = [line, line + 1, line + 1_000, letter + 1, last - 1, last];
    let mut from = 0;
    for to in cuts {
        append(&own, &content[from..to]);
        assert_eq!(import_changed(&world), (to - from) as u64);
        from = to;
    }
    let at_once = world.with_empty_store();
    import(&at_once, &own);
    assert_eq!(world.history(&task()), at_once.history(&task()));
    let files = kept(&world, &task());
    assert_eq!(files.len(), 1);
    assert_eq!(bytes(&world, &files[0]), content);
}

#[test]
fn a_rewritten_file_is_kept_anew_even_if_it_is_longer() {
    let world = World::new();
    let content = transcript(&[&long(5 * MIB / 2), "b"]).into_bytes();
    let own = world.file(&format!(".claude/{}", name()), &content);
    import(&world, &own);
    let mut rewritten = fs::read(&own).unwrap();
    rewritten[MIB / 2..][..9].copy_from_slice(b"elsewhere");
    rewritten.extend(b"{\"c\": 1}\n");
    // Another file in its place, with the same end.
    fs::rename(world.file("other", &rewritten), &own).unwrap();
    assert_eq!(import(&world, &own), rewritten.len() as u64);
    let files = kept(&world, &task());
    assert_eq!(files.len(), 2);
    assert_eq!(bytes(&world, &files[1]), rewritten);

    // The same file with another end and another beginning.
    write_at(&own, MIB / 2, b"somewhere");
    write_at(&own, content.len() - 2, b" }");
    append(&own, b"{\"d\": 1}\n");
    import(&world, &own);
    let files = kept(&world, &task());
    assert_eq!(files.len(), 2, "the last two");
    assert_eq!(bytes(&world, &files[0]), rewritten);
    assert_eq!(bytes(&world, &files[1]), fs::read(&own).unwrap());
}

#[test]
fn a_deleted_recording_is_kept_anew() {
    let world = World::new();
    let content = transcript(&[&long(5 * MIB / 2), "b"]).into_bytes();
    let own = world.file(&format!(".claude/{}", name()), &content);
    import(&world, &own);
    world.repo.delete_recordings(&id(&task())).unwrap();
    append(&own, b"{\"c\": 1}\n");
    assert_eq!(import(&world, &own), content.len() as u64 + 9);
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

/// As Claude Code 2.0 stored them. `watch` hears only of the one file.
#[test]
fn a_sub_agent_beside_its_transcript_comes_back_with_it() {
    let world = World::new();
    let own = world.file(&format!(".claude/{}", name()), transcript(&["a"]));
    let line = format!("{{\"type\":\"user\",\"sessionId\":\"{CLAUDE}\",\"isSidechain\":true}}\n");
    let agent = world.file(".claude/projects/-srv-app/agent-1.jsonl", &line);
    world.import(world.path(".claude"));
    let more = format!("{line}{{}}\n");
    fs::write(&agent, &more).unwrap();
    let found = turnkeep_recordings::find_among(&world.path(".claude"), [&agent]).unwrap();
    turnkeep_agents::import(&world.repo, &found, &world.options, &mut |_| {}).unwrap();

    fs::remove_file(&agent).unwrap();
    fs::remove_file(&own).unwrap();
    let options = turnkeep_agents::RestoreOptions::default();
    turnkeep_agents::restore(&world.repo, &id(&task()), &world.options.homes, &options).unwrap();
    assert_eq!(fs::read_to_string(agent).unwrap(), more);
    assert_eq!(fs::read_to_string(own).unwrap(), transcript(&["a"]));
}
