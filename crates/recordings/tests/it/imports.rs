use std::fs;
use std::path::Path;

/// The source files, top to bottom. A file imports only files below it, by the module that defines the
/// name, so that a circle through a re-export is seen as well.
const FILES: [&str; 52] = [
    "lib.rs",
    "find.rs",
    "walk.rs",
    "found.rs",
    "classify.rs",
    "place.rs",
    "copies.rs",
    "source.rs",
    "kept.rs",
    "hook.rs",
    "claude/mod.rs",
    "claude/history.rs",
    "claude/turns.rs",
    "claude/queue.rs",
    "claude/prompt.rs",
    "claude/file.rs",
    "claude/project.rs",
    "claude/title.rs",
    "claude/line.rs",
    "codex/mod.rs",
    "codex/home.rs",
    "codex/rollout.rs",
    "codex/prompt.rs",
    "codex/line.rs",
    "codex/state.rs",
    "goose/mod.rs",
    "goose/export.rs",
    "goose/sessions.rs",
    "goose/jsonl.rs",
    "goose/message.rs",
    "goose/database.rs",
    "goose/open.rs",
    "tail.rs",
    "session.rs",
    "recording.rs",
    "name.rs",
    "merge.rs",
    "merge/hooks.rs",
    "orphans.rs",
    "repeats.rs",
    "key.rs",
    "message.rs",
    "detect.rs",
    "jsonl.rs",
    "surrogates.rs",
    "content.rs",
    "lenient.rs",
    "by_time.rs",
    "time.rs",
    "file_name.rs",
    "open.rs",
    "error.rs",
];

#[test]
fn source_files_import_only_files_below_them() {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let module = |file: &str| {
        file.replace("/mod.rs", "")
            .replace(".rs", "")
            .replace('/', "::")
    };
    for (index, file) in FILES.iter().enumerate() {
        let text = fs::read_to_string(source.join(file)).unwrap();
        let lines = text.lines().filter(|line| !line.trim().starts_with("//"));
        for path in lines.flat_map(|line| line.split("crate::").skip(1)) {
            // A macro names its own file.
            let is_below = FILES[index..].iter().any(|other| {
                let rest = path.strip_prefix(&module(other));
                rest.is_some_and(|rest| rest.starts_with([':', ';']))
            });
            assert!(is_below, "{file} imports {path}");
        }
    }
}
