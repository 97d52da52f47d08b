//! The tool calls of a session.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use turnkeep_recordings::{Error, ToolCall, for_each_tool_call, tool_calls};

fn example(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recordings");
    examples.join(name)
}

fn read(name: &str, content: &str) -> Vec<(String, String, Option<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let calls = tool_calls(&path).unwrap();
    calls
        .into_iter()
        .map(|call| (call.name, call.input, call.output))
        .collect()
}

fn call(name: &str, input: &str, output: Option<&str>) -> (String, String, Option<String>) {
    (name.into(), input.into(), output.map(Into::into))
}

#[test]
fn the_calls_of_each_agent_have_names_inputs_results_and_times() {
    for name in [
        "claude/projects/-home-ada-shop/7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70.jsonl",
        "codex/sessions/2026/10/02/rollout-2026-10-02T09-30-11-019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03.jsonl",
        "goose/data/sessions/20261005_1.jsonl",
    ] {
        let calls = tool_calls(&example(name)).unwrap();
        assert!(!calls.is_empty(), "{name}");
        let is_whole = |call: &ToolCall| {
            !call.input.is_empty() && call.output.is_some() && call.timestamp.is_some()
        };
        assert!(calls.iter().all(is_whole), "{name}: {calls:?}");
    }
}

#[test]
fn calls_of_claude_code() {
    let lines = concat!(
        r#"{"message":{"content":[{"type":"text","text":"x"},{"type":"tool_use","id":"1","name":"Edit","input":{"file_path":"a.rs","n":1,"old":"x\ny"}}]}}"#,
        "\n",
        r#"{"message":{"content":[{"type":"tool_use","id":"2","name":"Bash","input":{"command":"ls","description":"d"}}]}}"#,
        "\n",
        r#"{"message":{"content":[{"type":"tool_result","tool_use_id":"2","content":[{"type":"text","text":"a"},{"type":"image","source":{}},{"type":"text","text":"b"}]}]}}"#,
        "\n",
        r#"{"isSidechain":true,"message":{"content":[{"type":"tool_use","id":"3","name":"Bash","input":{}}]}}"#,
        "\n",
    );
    assert_eq!(
        read("a.jsonl", lines),
        [
            call("Edit", "file_path: a.rs\nn: 1\nold: x\ny", None),
            call("Bash", "ls", Some("a\n[image]\nb")),
        ]
    );
}

#[test]
fn calls_of_codex() {
    let lines = concat!(
        r#"{"payload":{"type":"function_call","name":"shell","arguments":"{\"command\":[\"bash\",\"-lc\",\"ls\"]}","call_id":"1"}}"#,
        "\n",
        r#"{"payload":{"type":"function_call_output","call_id":"1","output":"{\"output\":\"a\\n\",\"metadata\":{}}"}}"#,
        "\n",
        r#"{"payload":{"type":"custom_tool_call","name":"apply_patch","input":"*** Begin","call_id":"2"}}"#,
        "\n",
        r#"{"payload":{"type":"custom_tool_call_output","call_id":"2","output":"Done"}}"#,
        "\n",
        r#"{"payload":{"type":"local_shell_call","call_id":"3","action":{"command":["ls","-l"]}}}"#,
        "\n",
    );
    assert_eq!(
        read("a.jsonl", lines),
        [
            call("shell", "bash -lc ls", Some("a\n")),
            call("apply_patch", "*** Begin", Some("Done")),
            call("shell", "ls -l", None),
        ]
    );
}

#[test]
fn calls_of_an_export_of_goose() {
    let export = r#"{
        "conversation": [
            {"created": 1, "content": [{"type": "toolRequest", "id": "1", "toolCall":
                {"status": "success", "value": {"name": "developer__shell", "arguments": {"command": "ls"}}}}]},
            {"created": 2, "content": [{"type": "toolResponse", "id": "1", "toolResult":
                {"status": "success", "value": {"content": [{"type": "text", "text": "a"}], "isError": false}}}]},
            {"content": [{"type": "toolRequest", "id": "2", "toolCall": {"status": "error", "error": "no"}}]},
            {"content": [{"type": "toolResponse", "id": "2", "toolResult": {"status": "error", "error": "not run"}}]}
        ]
    }"#;
    assert_eq!(
        read("a.json", export),
        [
            call("developer__shell", "ls", Some("a")),
            call("tool", "", Some("not run"))
        ]
    );
}

#[test]
fn odd_and_hostile_recordings_are_read() {
    for text in [
        "",
        "no json",
        "{",
        "{\"message\":{\"content\":[null,1,{\"type\":1},{\"type\":\"tool_use\"}]}}",
        "{\"payload\":{\"type\":\"function_call_output\",\"call_id\":\"none\",\"output\":1}}",
        "{\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"x\"}]}}",
        &"[".repeat(100_000),
    ] {
        for name in ["a.json", "a.jsonl"] {
            let calls = read(name, text);
            assert!(calls.len() <= 1, "{text}");
        }
    }
    let long = "é".repeat(100_000);
    let line = format!(
        "{{\"message\":{{\"content\":[{{\"type\":\"tool_use\",\"name\":\"x\",\"input\":\"{long}\"}}]}}}}"
    );
    let (_, input, _) = &read("a.jsonl", &line)[0];
    assert_eq!(input.len(), 64 * 1024 + "…".len());
}

#[test]
fn a_missing_file_is_an_error() {
    let missing = tool_calls(Path::new("none.jsonl"));
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
    let missing = tool_calls(Path::new("none.json"));
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
}

#[test]
fn calls_are_visited_as_soon_as_they_have_a_result() {
    let begin = |id: usize| {
        format!(
            "{{\"payload\":{{\"type\":\"function_call\",\"name\":\"n{id}\",\"arguments\":\"\",\"call_id\":\"{id}\"}}}}\n"
        )
    };
    let end = |id: usize| {
        format!(
            "{{\"payload\":{{\"type\":\"function_call_output\",\"call_id\":\"{id}\",\"output\":\"o{id}\"}}}}\n"
        )
    };
    let visited = |lines: String, most: usize| {
        let length = lines.len() as u64;
        let mut visited = Vec::new();
        let visit = |number: usize, call: ToolCall| {
            assert_eq!(call.name, format!("n{number}"));
            visited.push((number, call.output.is_some()));
            visited.len() < most
        };
        for_each_tool_call("a.jsonl".as_ref(), lines.as_bytes(), length, visit).unwrap();
        visited
    };
    let lines = [begin(0), begin(1), end(1), begin(2), end(0)].concat();
    let all = [(1, true), (0, true), (2, false)];
    assert_eq!(visited(lines.clone(), 9), all);
    assert_eq!(visited(lines, 1), all[..1]);
    // A call does not wait for its result behind any number of others.
    let lines: String = (0..=100).map(begin).collect();
    let visited = visited(lines + &end(0) + &end(100), 999);
    assert_eq!((visited[0], visited[1]), ((0, false), (100, true)));
    assert_eq!(visited.len(), 101);
}

/// A reader that can't be read, like a damaged part of a kept file.
struct Unreadable;

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("damaged"))
    }
}

#[test]
fn no_more_is_read_than_the_wanted_calls() {
    let lines = concat!(
        r#"{"message":{"content":[{"type":"tool_use","id":"1","name":"a","input":1}]}}"#,
        "\n",
        r#"{"message":{"content":[{"type":"tool_result","tool_use_id":"1","content":"x"}]}}"#,
        "\n",
    );
    let export = r#"{"x": 1, "conversation": [
        {"content": [{"type": "toolRequest", "id": "1", "toolCall": {"value": {"name": "a", "arguments": 1}}}]},
        {"content": [{"type": "toolResponse", "id": "1", "toolResult": {"value": []}}]}"#;
    for (name, text) in [("a.jsonl", lines), ("a.json", export)] {
        let visit = |length: usize, is_enough: bool| {
            let file = text.as_bytes().chain(Unreadable);
            let mut calls = 0;
            let read = for_each_tool_call(name.as_ref(), file, length as u64, |_, _| {
                calls += 1;
                !is_enough
            });
            (calls, read)
        };
        assert!(matches!(visit(text.len() + 1, true), (1, Ok(()))), "{name}");
        assert!(matches!(visit(text.len(), false), (1, Ok(()))), "{name}");
        match visit(text.len() + 1, false) {
            (1, Err(Error::Io { path, source })) => {
                assert_eq!(
                    (path, source.to_string()),
                    (name.into(), "damaged".to_owned())
                );
            }
            read => panic!("{name}: {read:?}"),
        }
    }
}

#[test]
fn a_session_of_goose_has_a_longest_file() {
    let read = for_each_tool_call("a.json".as_ref(), Unreadable, 1 << 40, |_, _| true);
    assert!(matches!(read, Err(Error::TooLarge { .. })), "{read:?}");
}

#[test]
fn messages_before_a_damaged_one_are_read() {
    let message = r#"{"content": [{"type": "toolRequest", "id": "1", "toolCall": {"value": {"name": "a", "arguments": "\ud800"}}}]}"#;
    for (export, expected) in [
        (format!("{{\"x\": [1], \"conversation\": [{message}, {{"), 1),
        (
            format!("{{\"conversation\": null, \"messages\": [{message}, 1, {message}]}}"),
            2,
        ),
        (format!("{{\"messages\": {{\"a\": {message}}}}}"), 0),
        (format!("[{message}]"), 0),
    ] {
        assert_eq!(read("a.json", &export).len(), expected, "{export}");
    }
}

/// Its values would take much more memory than its text.
#[test]
fn a_line_of_more_than_16_mebibytes_is_skipped() {
    let call = r#"{"message":{"content":[{"type":"tool_use","name":"x","input":1}]}"#;
    let long = format!("{call},\"x\":[{}1]}}\n", "1,".repeat(8 << 20));
    assert_eq!(read("a.jsonl", &format!("{long}{call}}}\n")).len(), 1);
}
