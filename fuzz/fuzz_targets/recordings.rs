//! Reading a recording or the event of a hook never panics. Reading a file never changes it, and gives the same
//! result twice.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use turnkeep_recordings::{HookEvent, Recording, find, tool_calls};
use turnkeep_repo::{BackendType, chrono::DateTime};

/// Names by which files of the agents are known, or told from each other.
const NAMES: [&str; 5] = [
    "20261005_1.jsonl",
    "rollout-2026-10-05T08-00-00-0199b8a2-0000-7000-8000-000000000000.jsonl",
    "0199b8a2-0000-7000-8000-000000000000.jsonl",
    "sessions.db",
    "log.jsonl",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (name, content) = input;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAMES[usize::from(name) % NAMES.len()]);
    fs::write(&path, content).unwrap();
    if let Ok(event) = str::from_utf8(content) {
        for backend in [BackendType::Claude, BackendType::Codex] {
            if let Ok(event) = HookEvent::parse(&backend, event, DateTime::UNIX_EPOCH) {
                let recording = event.recording;
                assert_eq!(recording.new_messages(&[]).len(), recording.messages.len());
            }
        }
    }
    let _ = tool_calls(&path);
    let first = read(folder.path());
    let second = read(folder.path());
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    assert_eq!(fs::read(&path).unwrap(), content, "the file was changed");
});

fn read(folder: &std::path::Path) -> Vec<Result<Recording, String>> {
    let Ok(found) = find(folder, None) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for source in found.sources {
        match source.sessions() {
            Ok(sessions) => all.extend(sessions.map(|it| it.map_err(|error| error.to_string()))),
            Err(error) => all.push(Err(error.to_string())),
        }
    }
    for recording in all.iter().flatten() {
        let _ = recording.task_id();
        assert_eq!(recording.new_messages(&[]).len(), recording.messages.len());
    }
    all
}
