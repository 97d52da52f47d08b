use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use turnkeep_recordings::{Error, KeptFile, Recording, Source, find};

use crate::support::{Folder, jsonl};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
const OTHER: &str = "7f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

fn claude_line(session: &str, text: &str, second: u32) -> Value {
    json!({
        "type": "user", "uuid": format!("{session}-{second}"), "sessionId": session, "cwd": "/srv/app",
        "timestamp": format!("2026-05-01T08:00:{second:02}Z"), "message": {"role": "user", "content": text}
    })
}

fn rollout(thread: &str, extra: Value, text: &str) -> Vec<Value> {
    let mut header = json!({"id": thread, "cwd": "/srv/app", "timestamp": "2026-05-01T08:00:00Z"});
    header
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    vec![
        json!({"timestamp": "2026-05-01T08:00:00Z", "type": "session_meta", "payload": header}),
        json!({"timestamp": "2026-05-01T08:00:01Z", "ordinal": 1, "type": "response_item", "payload": {
            "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]
        }}),
    ]
}

fn sessions(path: &Path) -> Vec<(Source, Recording)> {
    let sources = find(path, None).unwrap().sources.into_iter();
    let read = sources.flat_map(|source| {
        let recordings: Vec<_> = source.sessions().unwrap().collect();
        recordings
            .into_iter()
            .map(move |recording| (source.clone(), recording.unwrap()))
    });
    read.collect()
}

/// Returns the session at a path, which has only one.
fn session(path: &Path) -> (Source, Recording) {
    let mut sessions = sessions(path);
    assert_eq!(sessions.len(), 1);
    sessions.remove(0)
}

fn kept(path: &Path) -> Vec<KeptFile> {
    let (source, recording) = session(path);
    let kept = source.kept_files(&recording).into_iter();
    kept.map(Result::unwrap).collect()
}

fn names(files: &[KeptFile]) -> Vec<&str> {
    files.iter().map(|file| file.name.as_str()).collect()
}

fn bytes(file: &KeptFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_transcript_is_kept_with_its_folder_byte_for_byte() {
    let folder = Folder::new();
    // Neither a newline at the end nor a whole line.
    let text = format!("{}{{\"type\":", jsonl(&[claude_line(ID, "a", 1)]));
    folder.file(&format!("home/projects/-srv-app/{ID}.jsonl"), &text);
    let inside = |name: &str| format!("home/projects/-srv-app/{ID}/{name}");
    folder.file(&inside("tool-results/1.txt"), "large");
    folder.jsonl(
        &inside("subagents/agent-1.jsonl"),
        &[claude_line(ID, "b", 2)],
    );
    folder.file(&inside("subagents/agent-1.meta.json"), "{}");
    folder.file(
        "home/projects/-srv-app/memory/MEMORY.md",
        "not of the session",
    );
    folder.file("home/settings.json", "{}");
    let files = kept(folder.path());
    assert_eq!(
        names(&files),
        [
            format!("projects/-srv-app/{ID}.jsonl"),
            format!("projects/-srv-app/{ID}/subagents/agent-1.jsonl"),
            format!("projects/-srv-app/{ID}/subagents/agent-1.meta.json"),
            format!("projects/-srv-app/{ID}/tool-results/1.txt"),
        ]
    );
    assert_eq!(bytes(&files[0]), text.as_bytes());
    assert_eq!(bytes(&files[3]), b"large");
}

fn sub_agent(session: &str) -> Value {
    let mut line = claude_line(session, "b", 2);
    line["isSidechain"] = json!(true);
    line
}

/// Claude Code 2.0 put them there.
#[test]
fn sub_agents_beside_a_transcript_are_kept_with_it() {
    let folder = Folder::new();
    let file = |name: &str, lines: &[Value]| folder.jsonl(&format!("projects/{name}"), lines);
    for (project, session) in [("-srv-app", ID), ("-srv-app", OTHER), ("-srv-new", ID)] {
        let name = format!("{project}/{session}.jsonl");
        file(&name, &[claude_line(session, "a", 1)]);
    }
    file("-srv-app/agent-2.jsonl", &[sub_agent(ID)]);
    file("-srv-app/agent-1.jsonl", &[sub_agent(ID), sub_agent(OTHER)]);
    file("-srv-app/agent-3.jsonl", &[sub_agent(OTHER)]);
    file("-srv-new/agent-1.jsonl", &[sub_agent(ID)]);
    // Of no session of the folder, or of none that the first line names.
    file("-srv-new/agent-4.jsonl", &[sub_agent(OTHER)]);
    file("-srv-new/agent-5.jsonl", &[sub_agent("../-srv-app/x")]);
    file(
        "-srv-new/agent-6.jsonl",
        &[claude_line(ID, "b", 2), sub_agent(ID)],
    );
    file("-srv-new/agent-7.jsonl", &[json!({}), sub_agent(ID)]);
    let mut long = sub_agent(ID);
    long["x"] = json!("x".repeat(16 * 1024 * 1024));
    file("-srv-new/agent-8.jsonl", &[long]);

    let kept = |id: &str| {
        let sessions = sessions(folder.path());
        let (source, recording) = sessions
            .iter()
            .find(|it| it.1.session_id.as_str() == id)
            .unwrap();
        let kept = source.kept_files(recording).into_iter();
        let mut names: Vec<_> = kept.map(|file| file.unwrap().name).collect();
        names.sort();
        names
    };
    let all = |names: &[&str]| -> Vec<_> {
        names
            .iter()
            .map(|name| format!("projects/{name}"))
            .collect()
    };
    let (app, new) = (
        format!("-srv-app/{ID}.jsonl"),
        format!("-srv-new/{ID}.jsonl"),
    );
    let own = [
        &*app,
        "-srv-app/agent-1.jsonl",
        "-srv-app/agent-2.jsonl",
        &*new,
        "-srv-new/agent-1.jsonl",
    ];
    assert_eq!(kept(ID), all(&own));
    let other = format!("-srv-app/{OTHER}.jsonl");
    assert_eq!(kept(OTHER), all(&[&other, "-srv-app/agent-3.jsonl"]));
}

#[cfg(unix)]
#[test]
fn a_link_or_a_pipe_beside_a_transcript_is_no_sub_agent() {
    let folder = Folder::new();
    let project = "projects/-srv-app";
    folder.jsonl(&format!("{project}/{ID}.jsonl"), &[claude_line(ID, "a", 1)]);
    let elsewhere = folder.jsonl("agent-1.jsonl", &[sub_agent(ID)]);
    std::os::unix::fs::symlink(
        elsewhere,
        folder.path().join(format!("{project}/agent-1.jsonl")),
    )
    .unwrap();
    let pipe = folder.path().join(format!("{project}/agent-2.jsonl"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(kept(folder.path()).len(), 1);
    let transcript = folder.path().join(format!("{project}/{ID}.jsonl"));
    let found = turnkeep_recordings::find_among(folder.path(), [&transcript, &pipe]).unwrap();
    assert_eq!(found.sources.len(), 1);

    // Somebody swaps a file for a link.
    std::fs::remove_file(&pipe).unwrap();
    let file = folder.jsonl(&format!("{project}/agent-2.jsonl"), &[sub_agent(ID)]);
    let files = kept(folder.path());
    assert_eq!(files[1].path, file);
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    files[1].open().unwrap_err();
}

#[test]
fn all_places_of_a_transcript_are_kept_and_the_latest_comes_first() {
    let folder = Folder::new();
    folder.jsonl(
        &format!("projects/-srv-app/{ID}.jsonl"),
        &[claude_line(ID, "a", 1)],
    );
    folder.jsonl(
        &format!("projects/-srv-new/{ID}.jsonl"),
        &[claude_line(ID, "b", 2)],
    );
    // It has the name of the session, but no line of it.
    folder.jsonl(
        &format!("projects/-srv-other/{ID}.jsonl"),
        &[claude_line(OTHER, "c", 3)],
    );
    assert_eq!(
        names(&kept(folder.path())),
        [
            format!("projects/-srv-new/{ID}.jsonl"),
            format!("projects/-srv-app/{ID}.jsonl"),
        ]
    );
}

#[test]
fn a_copy_outside_of_a_home_tells_neither_name_nor_folder() {
    let folder = Folder::new();
    let copy = folder.jsonl(&format!("backup/{ID}.jsonl"), &[claude_line(ID, "b", 2)]);
    folder.file(&format!("backup/{ID}/tool-results/1.txt"), "x");
    let (source, _) = session(&copy);
    assert_eq!(source.home_of(&copy), None);
    let canonical = [
        format!("projects/-srv-app/{ID}.jsonl"),
        format!("projects/-srv-app/{ID}/tool-results/1.txt"),
    ];
    assert_eq!(names(&kept(&copy)), canonical);

    let line = json!({"sessionId": ID, "type": "user", "cwd": "/srv/mine",
        "timestamp": "2026-05-01T07:00:00Z", "message": {"content": "a"}});
    let own = folder.jsonl(&format!("home/projects/-srv-mine/{ID}.jsonl"), &[line]);
    let (source, recording) = session(folder.path());
    assert_eq!(recording.path, own);
    assert_eq!(recording.working_dir.unwrap().as_str(), "/srv/mine");
    let home = source.home_of(&own).unwrap();
    assert_eq!(home, folder.path().join("home").canonicalize().unwrap());
}

#[test]
fn a_file_that_the_user_named_has_the_name_of_its_session() {
    let folder = Folder::new();
    let mut line = claude_line("../up", "a", 1);
    line["cwd"] = json!("/srv/\u{1f680}");
    let path = folder.jsonl("saved.jsonl", &[line]);
    folder.file("saved/tool-results/1.txt", "of nobody");
    assert_eq!(names(&kept(&path)), ["projects/-srv---/..%2Fup.jsonl"]);
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_never_opened() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.jsonl(
        &format!("projects/-srv-app/{ID}.jsonl"),
        &[claude_line(ID, "a", 1)],
    );
    let inside = folder.path().join(format!("projects/-srv-app/{ID}"));
    folder.file(&format!("projects/-srv-app/{ID}/ok.txt"), "x");
    folder.file(&format!("projects/-srv-app/{ID}/tab\t.txt"), "x");
    symlink("/etc/passwd", inside.join("secret")).unwrap();
    symlink("/etc", inside.join("folder")).unwrap();
    let (source, recording) = session(folder.path());
    let (kept, left_out): (Vec<_>, Vec<_>) = source
        .kept_files(&recording)
        .into_iter()
        .partition(Result::is_ok);
    let kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 2);
    let reasons: Vec<_> = left_out.into_iter().map(Result::unwrap_err).collect();
    assert!(matches!(reasons[0], Error::NotAFile { .. }), "{reasons:?}");
    assert!(matches!(reasons[1], Error::NotAFile { .. }), "{reasons:?}");
    assert!(
        matches!(reasons[2], Error::InvalidName { .. }),
        "{reasons:?}"
    );

    // Somebody swaps a file for a link.
    std::fs::remove_file(&kept[1].path).unwrap();
    symlink("/etc/passwd", &kept[1].path).unwrap();
    kept[1].open().unwrap_err();

    // The folder itself may be a link.
    let folder = Folder::new();
    folder.jsonl(
        &format!("projects/-srv-app/{ID}.jsonl"),
        &[claude_line(ID, "a", 1)],
    );
    symlink(
        "/etc",
        folder.path().join(format!("projects/-srv-app/{ID}")),
    )
    .unwrap();
    let (source, recording) = session(folder.path());
    assert_eq!(source.kept_files(&recording).len(), 1);
}

#[test]
fn a_folder_with_too_many_levels_ends_the_list_and_keeps_the_transcript() {
    let folder = Folder::new();
    folder.jsonl(
        &format!("projects/-srv-app/{ID}.jsonl"),
        &[claude_line(ID, "a", 1)],
    );
    let deep = "x/".repeat(17);
    folder.file(&format!("projects/-srv-app/{ID}/{deep}y"), "");
    let (source, recording) = session(folder.path());
    let kept = source.kept_files(&recording);
    kept[0].as_ref().unwrap();
    assert!(matches!(kept[1], Err(Error::TooManyFiles { .. })));
    assert_eq!(kept.len(), 2);
}

#[test]
fn a_rollout_is_kept_with_all_that_its_history_begins_with() {
    let ids = ["1", "2", "3"].map(|digit| format!("{digit}f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60"));
    let folder = Folder::new();
    let name = |id: &str| format!("rollout-2026-05-01T08-00-00-{id}.jsonl");
    let base = |id: &str| json!({"history_base": {"thread_id": id, "end_ordinal_exclusive": 2}});
    let oldest = jsonl(&rollout(&ids[0], json!({}), "a"));
    let compressed = zstd::encode_all(oldest.as_bytes(), 0).unwrap();
    folder.file(
        &format!("archived_sessions/{}.zst", name(&ids[0])),
        &compressed,
    );
    folder.jsonl(
        &format!("sessions/2026/05/01/{}", name(&ids[1])),
        &rollout(&ids[1], base(&ids[0]), "b"),
    );
    folder.jsonl(
        &format!("sessions/2026/05/02/{}", name(&ids[2])),
        &rollout(&ids[2], base(&ids[1]), "c"),
    );
    let found = sessions(folder.path());
    let (source, fork) = found
        .iter()
        .find(|it| it.1.session_id.as_str() == ids[2])
        .unwrap();
    let files: Vec<_> = source
        .kept_files(fork)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        names(&files),
        [
            format!("sessions/2026/05/02/{}", name(&ids[2])),
            format!("sessions/2026/05/01/{}", name(&ids[1])),
            format!("archived_sessions/{}.zst", name(&ids[0])),
        ]
    );
    assert_eq!(bytes(&files[2]), compressed);
    assert_eq!(fork.forked_from.as_deref(), Some(ids[1].as_str()));
    let (_, oldest) = found
        .iter()
        .find(|it| it.1.session_id.as_str() == ids[0])
        .unwrap();
    assert_eq!(oldest.forked_from, None);
}

#[test]
fn a_reverted_thread_is_kept_with_its_first_file() {
    let folder = Folder::new();
    let start = "sessions/2026/05/01/rollout-2026-05-01T08-00-00";
    folder.jsonl(&format!("{start}-{ID}.jsonl"), &rollout(ID, json!({}), "a"));
    let base = json!({"history_base": {"thread_id": ID, "end_ordinal_exclusive": 1}});
    let second = folder.jsonl(
        &format!("{start}-{ID}_{OTHER}.jsonl"),
        &rollout(ID, base, "b"),
    );
    for path in [folder.path(), &second] {
        let (source, recording) = session(path);
        let kept = source.kept_files(&recording);
        assert_eq!(kept.len(), 2, "{}", path.display());
        assert_eq!(recording.forked_from, None);
    }
}

#[test]
fn a_rollout_outside_of_a_home_gets_the_folder_of_its_date() {
    let folder = Folder::new();
    let lines = rollout(ID, json!({"forked_from_id": OTHER}), "a");
    let named = folder.jsonl(&format!("rollout-2026-04-30T23-00-00-{ID}.jsonl"), &lines);
    let (source, recording) = session(&named);
    assert_eq!(source.home_of(&named), None);
    assert_eq!(recording.forked_from.as_deref(), Some(OTHER));
    let canonical = format!("sessions/2026/04/30/rollout-2026-04-30T23-00-00-{ID}.jsonl");
    assert_eq!(names(&kept(&named)), [canonical]);
    let other = folder.jsonl("other/saved.jsonl", &lines);
    let canonical = format!("sessions/2026/05/01/rollout-2026-05-01T08-00-01-{ID}.jsonl");
    assert_eq!(names(&kept(&other)), [canonical]);
}

#[test]
fn a_copied_history_tells_the_session_that_it_comes_from() {
    let folder = Folder::new();
    let lines = [claude_line(OTHER, "a", 1), claude_line(ID, "b", 2)];
    folder.jsonl(&format!("projects/-srv-app/{ID}.jsonl"), &lines);
    let (_, recording) = session(folder.path());
    assert_eq!(recording.forked_from.as_deref(), Some(OTHER));
}

#[test]
fn a_file_that_only_claims_a_session_is_not_kept() {
    let folder = Folder::new();
    let log = json!({"type": "user", "session_id": ID, "uuid": "u", "message": {"content": "a"}});
    folder.jsonl("run.jsonl", &[log]);
    let (source, recording) = session(folder.path());
    assert!(source.is_claim());
    assert!(source.kept_files(&recording).is_empty());
}

#[test]
fn a_session_of_goose_lies_in_a_folder_of_sessions() {
    let folder = Folder::new();
    let line = json!({"role": "user", "created": 1, "content": [{"type": "text", "text": "a"}]});
    let own = folder.jsonl(
        "goose/sessions/20261005_1.jsonl",
        std::slice::from_ref(&line),
    );
    folder.jsonl("work/x/20261005_1.jsonl", &[line]);
    let found = sessions(folder.path());
    let (source, recording) = &found[0];
    assert_eq!(source.path(), own);
    assert!(!source.is_claim());
    let home = folder.path().join("goose").canonicalize().unwrap();
    assert_eq!(source.home_of(&own), Some(home.as_path()));
    let kept: Vec<_> = source
        .kept_files(recording)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(names(&kept), ["sessions/20261005_1.jsonl"]);
    assert!(found[1].0.is_claim(), "a file in a repository");
}

#[test]
fn the_prompt_history_is_a_claim_and_none_below_plugins() {
    let folder = Folder::new();
    let line = json!({"display": "a", "timestamp": 1, "project": "/srv", "sessionId": OTHER});
    folder.jsonl(
        &format!("projects/-srv-app/{ID}.jsonl"),
        &[claude_line(ID, "a", 1)],
    );
    folder.jsonl("history.jsonl", std::slice::from_ref(&line));
    folder.file("plugins/x/projects/empty", "");
    folder.jsonl("plugins/x/history.jsonl", &[line]);
    let found = sessions(folder.path());
    assert_eq!(found.len(), 2);
    assert!(found[1].0.is_claim());
    assert!(found[1].1.has_only_prompts);
    assert_eq!(found[1].0.path(), folder.path().join("history.jsonl"));
}
