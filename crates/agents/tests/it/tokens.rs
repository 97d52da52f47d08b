use serde_json::json;
use turnkeep_agents::{TokenUsage, token_usage};
use turnkeep_repo::{BackendType, NewSession, NewTask, RecordingName, Repo, WorkingDir};

use crate::support::{World, id};

fn answer(number: u32, month: u32, model: &str) -> String {
    let line = json!({"type": "assistant", "timestamp": format!("2026-{month:02}-03T08:00:00Z"),
        "message": {"id": format!("msg_{number}"), "model": model, "usage": {"input_tokens": 1, "output_tokens": 10}}});
    format!("{line}\n")
}

fn task(repo: &Repo, name: &str, folder: &str) {
    repo.save_task(&NewTask::new(id(name), name)).unwrap();
    let session = NewSession::new(BackendType::Claude, name.parse().unwrap())
        .working_dir(WorkingDir::new(folder).unwrap());
    repo.save_session(&id(name), &session).unwrap();
}

fn keep(repo: &Repo, task: &str, name: &str, content: &[u8]) {
    let name = RecordingName::new(name).unwrap();
    repo.save_recording(&id(task), &name, 0, content).unwrap();
}

fn row(usage: &TokenUsage) -> (Option<u32>, &str, &str, u64, u64) {
    (
        usage.month.map(|(_, month)| month),
        usage.working_dir.as_ref().map_or("-", |it| it.as_str()),
        usage.model.as_deref().unwrap_or("-"),
        usage.answers,
        usage.tokens.output,
    )
}

#[test]
fn tokens_are_summed_up_and_copies_counted_once() {
    let world = World::new();
    let repo = &world.repo;
    task(repo, "a", "/srv/a");
    task(repo, "b", "/srv/b");
    let first = answer(1, 1, "opus") + &answer(2, 1, "opus") + &answer(3, 2, "sonnet");
    keep(repo, "a", "projects/a.jsonl", first.as_bytes());
    keep(
        repo,
        "a",
        "projects/a/subagents/agent-1.jsonl",
        answer(4, 2, "haiku").as_bytes(),
    );
    keep(
        repo,
        "a",
        "projects/a/tool-results/1.txt",
        answer(5, 2, "none").as_bytes(),
    );
    let fork = first + &answer(6, 2, "opus");
    keep(repo, "b", "projects/b.jsonl", fork.as_bytes());
    repo.save_task(&NewTask::new(id("unbound"), "")).unwrap();
    keep(
        repo,
        "unbound",
        "projects/c.jsonl",
        b"{\"message\":{\"id\":\"msg_9\",\"usage\":{\"output_tokens\":1}}}",
    );

    let mut files = Vec::new();
    let usage = token_usage(repo, &mut |file, read| {
        read.unwrap();
        files.push(file.name.to_string());
    });
    let usage = usage.unwrap();
    assert_eq!(
        usage.iter().map(row).collect::<Vec<_>>(),
        [
            (None, "-", "-", 1, 1),
            (Some(1), "/srv/a", "opus", 2, 20),
            (Some(2), "/srv/a", "haiku", 1, 10),
            (Some(2), "/srv/a", "sonnet", 1, 10),
            (Some(2), "/srv/b", "opus", 1, 10),
        ]
    );
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "projects/a.jsonl",
            "projects/a/subagents/agent-1.jsonl",
            "projects/b.jsonl",
            "projects/c.jsonl"
        ]
    );
}

#[test]
fn a_file_that_can_not_be_read_does_not_hide_the_others() {
    let world = World::new();
    let repo = &world.repo;
    task(repo, "a", "/srv/a");
    keep(repo, "a", "sessions/r.jsonl.zst", b"no frame");
    keep(
        repo,
        "a",
        "sessions/s.jsonl",
        answer(1, 1, "gpt").as_bytes(),
    );
    let mut failed = Vec::new();
    let usage = token_usage(repo, &mut |file, read| {
        failed.extend(read.err().map(|_| file.name.to_string()));
    });
    assert_eq!(usage.unwrap().len(), 1);
    assert_eq!(failed, ["sessions/r.jsonl.zst"]);
}

/// Each line has a model and a month of its own.
#[test]
fn hostile_recordings_get_a_bounded_number_of_rows() {
    let world = World::new();
    let repo = &world.repo;
    task(repo, "a", "/srv/a");
    let lines: String = (0..21_000)
        .map(|number| answer(number, 1 + number % 12, &format!("model-{number}")))
        .collect();
    keep(repo, "a", "projects/a.jsonl", lines.as_bytes());
    let usage = token_usage(repo, &mut |_, _| {}).unwrap();
    assert_eq!(usage.len(), 20_001);
    let answers: u64 = usage.iter().map(|row| row.answers).sum();
    assert_eq!((answers, usage[0].answers), (21_000, 1_000));
}
