use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use turnkeep_repo::{Metadata, NewSession, RecordingName, Repo};

use crate::support::{ODD_IDS, Run, Sandbox, run, run_on_terminal};

/// Creates a program in the sandbox that prints its folder and arguments. Returns a PATH with it.
fn fake_agent(sandbox: &Sandbox, name: &str) -> String {
    let script = "#!/bin/sh\npwd -P\nprintf '<%s>' \"$@\"\n";
    let path = sandbox.file(&format!("bin/{name}"), script);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    let bin = sandbox.path("bin");
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

fn in_shell(sandbox: &Sandbox, path: &str, line: &str) -> Run {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(line)
        .env("PATH", path)
        .current_dir(sandbox.path(""));
    run(&mut shell)
}

fn real(path: impl AsRef<Path>) -> String {
    std::fs::canonicalize(path)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// A session of Claude Code and Codex, whose ids are UUIDs.
const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

fn bind(sandbox: &Sandbox, backend: &str, id: &str, dir: Option<&str>) {
    sandbox.run(["task", "add", "t"]).ok();
    let set = ["session", "set", "t", "--backend", backend, "--session-id"];
    let mut set = sandbox.turnkeep(set);
    set.arg(id);
    if let Some(dir) = dir {
        set.args(["--working-dir", dir]);
    }
    run(&mut set).ok();
}

/// Writes a transcript as Claude Code would for a session in `dir`, and returns its path.
fn transcript(sandbox: &Sandbox, dir: impl AsRef<Path>) -> String {
    let project = turnkeep_recordings::project_folder(&real(dir));
    let line = r#"{"type":"user","uuid":"1","timestamp":"2026-11-30T10:00:00Z","message":{"content":"Hi"}}"#;
    let path = format!(".claude/projects/{project}/{ID}.jsonl");
    real(sandbox.file(&path, format!("{line}\n")))
}

/// Makes the database of Goose with a session.
fn goose_session(sandbox: &Sandbox, id: &str) {
    use diesel::connection::SimpleConnection as _;
    use diesel::sql_types::Text;
    use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};

    let path = sandbox.file(".local/share/goose/sessions/sessions.db", "");
    let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    database
        .batch_execute("CREATE TABLE sessions (id TEXT); CREATE TABLE messages (session_id TEXT)")
        .unwrap();
    diesel::sql_query("INSERT INTO sessions VALUES (?)")
        .bind::<Text, _>(id)
        .execute(&mut database)
        .unwrap();
}

fn rollout(sandbox: &Sandbox) {
    let header = format!(
        r#"{{"type":"session_meta","payload":{{"id":"{ID}","timestamp":"x","cwd":"/","originator":"x","cli_version":"1"}}}}"#
    );
    let path = format!(".codex/sessions/2026/09/18/rollout-2026-09-18T07-12-44-{ID}.jsonl");
    sandbox.file(&path, format!("{header}\n"));
}

#[test]
fn the_printed_line_and_exec_start_the_agent_in_its_folder() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    let absolute = sandbox.path("it's \"here\" $HOME `id` \\ ü;&|");
    let relative = ["-dash", "--", "-", "-P", "plain", "!x", "~", "\u{ad}soft"];
    for dir in relative.into_iter().chain([absolute.to_str().unwrap()]) {
        std::fs::create_dir_all(sandbox.path(dir)).unwrap();
        bind(&sandbox, "claude", ID, Some(dir));
        let written = transcript(&sandbox, sandbox.path(dir));
        let expected = format!("{}\n<--resume><{ID}>", real(sandbox.path(dir)));

        let line = sandbox.run(["resume", "t"]).ok();
        let printed = in_shell(&sandbox, &path, &line).ok();
        assert_eq!(printed.lines().last(), expected.lines().last(), "{line}");
        assert!(printed.ends_with(&expected), "{line}{printed}");
        let exec = run(sandbox
            .turnkeep(["resume", "t", "--exec"])
            .env("PATH", &path))
        .ok();
        assert_eq!(exec, expected, "{dir:?}");
        std::fs::remove_file(written).unwrap();
    }
}

#[test]
fn an_id_reaches_the_agent_unchanged() {
    for id in ODD_IDS
        .into_iter()
        .filter(|id| !id.contains(char::is_control))
    {
        let sandbox = Sandbox::new();
        let path = fake_agent(&sandbox, "goose");
        goose_session(&sandbox, id);
        bind(&sandbox, "goose", id, None);
        let line = sandbox.run(["resume", "t"]).ok();
        let option = match id.starts_with('-') {
            true => format!("<--session-id={id}>"),
            false => format!("<--session-id><{id}>"),
        };
        let expected = format!("{}\n<session><--resume>{option}", real(sandbox.path("")));
        assert_eq!(in_shell(&sandbox, &path, &line).ok(), expected, "{line}");
        let exec = run(sandbox
            .turnkeep(["resume", "t", "--exec"])
            .env("PATH", &path))
        .ok();
        assert_eq!(exec, expected);
    }
}

#[test]
fn each_agent_has_its_command() {
    let sandbox = Sandbox::new();
    let app = sandbox.path("app");
    std::fs::create_dir(&app).unwrap();
    let app = app.to_str().unwrap();
    transcript(&sandbox, app);
    rollout(&sandbox);
    goose_session(&sandbox, "1");
    for (backend, id, line, headless) in [
        (
            "claude",
            ID,
            "claude --resume ID",
            "claude -p --resume ID -- 'Go on'",
        ),
        (
            "codex",
            ID,
            "codex resume ID",
            "codex exec resume --skip-git-repo-check -- ID 'Go on'",
        ),
        (
            "goose",
            "1",
            "goose session --resume --session-id ID",
            "goose run --resume --session-id ID --text 'Go on'",
        ),
    ] {
        bind(&sandbox, backend, id, Some(app));
        let in_app = |line: &str| format!("cd {app} && {}\n", line.replace("ID", id));
        assert_eq!(sandbox.run(["resume", "t"]).ok(), in_app(line));
        let printed = sandbox.run(["resume", "t", "-p", "Go on"]).ok();
        assert_eq!(printed, in_app(headless));
    }
    bind(&sandbox, "goose", "1", None);
    assert_eq!(
        sandbox.run(["resume", "t"]).ok(),
        "goose session --resume --session-id 1\n"
    );
}

#[test]
fn a_prompt_and_options_reach_the_agent_unchanged() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    transcript(&sandbox, sandbox.path(""));
    bind(&sandbox, "claude", ID, sandbox.path("").to_str());
    for prompt in ["-x", "--help", "It's \"so\" $(id)", "two\nlines\n"] {
        let args = ["resume", "t", "--headless", prompt];
        let options = ["--", "--model", "a b"];
        let args: Vec<_> = args.into_iter().chain(options).collect();
        let line = sandbox.run(&args).ok();
        let expected = format!("<-p><--resume><{ID}><--model><a b><--><{prompt}>");
        let printed = in_shell(&sandbox, &path, &line).ok();
        assert!(printed.ends_with(&expected), "{line}{printed}");
        let args = [&["resume", "t", "--exec"][..], &args[2..]].concat();
        let exec = run(sandbox.turnkeep(args).env("PATH", &path)).ok();
        assert!(exec.ends_with(&expected), "{exec}");
    }
    let blank = sandbox.run(["resume", "t", "-p", " "]).failed(7);
    assert!(
        blank.contains("the prompt can't be given: it is blank"),
        "{blank}"
    );
}

#[test]
fn json_has_the_line_and_its_parts() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("a b")).unwrap();
    let dir = real(sandbox.path("a b"));
    rollout(&sandbox);
    bind(&sandbox, "codex", ID, Some(&dir));
    let home = sandbox.path(".codex");
    let file = format!("sessions/2026/09/18/rollout-2026-09-18T07-12-44-{ID}.jsonl");
    assert_eq!(
        sandbox.run(["resume", "t", "--json"]).one(),
        json!({
            "task_id": "t", "backend": "codex", "session_id": ID, "working_dir": dir,
            "has_working_dir": true, "home": home, "recording": "present", "path": home.join(file),
            "restorable": null, "restored": null, "notes": [], "refusal": null, "reason": null,
            "command": format!("cd '{dir}' && codex resume {ID}"),
            "program": "codex", "args": ["resume", ID], "env": {},
        })
    );
}

#[test]
fn a_lost_session_has_no_command() {
    let sandbox = Sandbox::new();
    bind(&sandbox, "claude", ID, Some("/srv/app"));
    for args in [&["resume", "t"][..], &["resume", "t", "--exec"]] {
        let lost = sandbox.run(args);
        assert_eq!(lost.stdout, "");
        let error = lost.failed(7);
        assert!(
            error
                .contains("`t` can't be resumed: its recording is gone, and the store has nothing"),
            "{error}"
        );
    }
    let json = sandbox.run(["resume", "t", "--json"]);
    assert_eq!(json.code, Some(7));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["refusal"], "lost");
    assert_eq!(json["recording"], "missing");
    assert_eq!(json["command"], json!(null));

    sandbox.run(["append", "t", "--role", "user", "Hi"]).ok();
    let error = sandbox.run(["resume", "t"]).failed(6);
    assert!(error.contains("the store has its words"), "{error}");
    assert!(error.contains("hint: `--restore` puts it back"), "{error}");
}

#[test]
fn a_session_whose_folder_is_gone_goes_on_from_anywhere() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    std::fs::create_dir(sandbox.path("app")).unwrap();
    let app = real(sandbox.path("app"));
    let written = transcript(&sandbox, &app);
    bind(&sandbox, "claude", ID, Some(&app));
    std::fs::remove_dir(&app).unwrap();
    let shown = sandbox.run(["resume", "t"]);
    assert_eq!(shown.stdout, format!("claude --resume {written}\n"));
    let warning = format!("warning: its folder {app} does not exist");
    assert!(shown.stderr.starts_with(&warning), "{}", shown.stderr);
    let exec = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", &path));
    assert!(exec.stdout.ends_with(&format!("<--resume><{written}>")));
}

/// An agent that does not find its sessions starts blank.
#[test]
fn the_agent_looks_for_its_sessions_where_they_are() {
    let sandbox = Sandbox::new();
    let script = "#!/bin/sh\necho \"$CLAUDE_CONFIG_DIR\"\n";
    let path = sandbox.file("bin/claude", script);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    let bin = sandbox.path("bin").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    transcript(&sandbox, sandbox.path(""));
    let dir = real(sandbox.path("")) + "/a b $HOME";
    std::fs::rename(sandbox.path(".claude"), &dir).unwrap();
    bind(&sandbox, "claude", ID, sandbox.path("").to_str());
    sandbox.run(["resume", "t"]).failed(7);
    let starts = |args: &[&str]| {
        let line = sandbox.run(args).ok();
        assert!(line.contains("&& CLAUDE_CONFIG_DIR='"), "{line}");
        assert_eq!(in_shell(&sandbox, &path, &line).ok(), format!("{dir}\n"));
        let exec = [args, &["--exec"]].concat();
        let exec = run(sandbox.turnkeep(exec).env("PATH", &path));
        assert_eq!(exec.ok(), format!("{dir}\n"));
        let json = sandbox.run([args, &["--json"]].concat()).one();
        assert_eq!(json["env"], json!({ "CLAUDE_CONFIG_DIR": dir }));
    };
    starts(&["resume", "t", "--home", &dir]);
    let set = [
        "session",
        "set",
        "t",
        "--backend",
        "claude",
        "--session-id",
        ID,
    ];
    let folders = [
        "--config-dir",
        &dir,
        "--working-dir",
        &real(sandbox.path("")),
    ];
    sandbox.run([&set[..], &folders].concat()).ok();
    starts(&["resume", "t"]);
    // The variable of this environment names the usual home.
    bind(&sandbox, "claude", ID, sandbox.path("").to_str());
    let line = run(sandbox
        .turnkeep(["resume", "t"])
        .env("CLAUDE_CONFIG_DIR", &dir))
    .ok();
    assert!(!line.contains("CLAUDE_CONFIG_DIR"), "{line}");
}

#[test]
fn an_unknown_agent_is_an_error_with_a_hint() {
    let sandbox = Sandbox::new();
    bind(&sandbox, "gemini", "s-1", Some("/srv/app"));
    for args in [
        &["resume", "t"][..],
        &["resume", "t", "--json"],
        &["resume", "t", "--exec"],
    ] {
        let refused = sandbox.run(args);
        assert_eq!(refused.code, Some(7));
        let error = refused.stderr;
        assert!(error.contains("gemini"), "{error}");
        assert!(error.contains("session `s-1` in /srv/app"), "{error}");
    }
}

#[test]
fn exec_reports_a_missing_program() {
    let sandbox = Sandbox::new();
    transcript(&sandbox, sandbox.path(""));
    bind(&sandbox, "claude", ID, sandbox.path("").to_str());
    let error = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", sandbox.path("none")))
    .failed(1);
    assert!(error.starts_with("error: cannot run `claude`: "), "{error}");
    assert!(error.contains("hint: install it"), "{error}");
}

#[test]
fn exec_keeps_the_links_in_the_path() {
    let sandbox = Sandbox::new();
    let script = sandbox.file("bin/claude", "#!/bin/sh\npwd -L\n");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(sandbox.path("real")).unwrap();
    let link = sandbox.path("link");
    std::os::unix::fs::symlink(sandbox.path("real"), &link).unwrap();
    transcript(&sandbox, &link);
    bind(&sandbox, "claude", ID, link.to_str());
    let exec = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", sandbox.path("bin")));
    assert_eq!(exec.ok(), format!("{}\n", link.display()));
}

#[test]
fn exec_passes_on_the_exit_code() {
    let sandbox = Sandbox::new();
    let script = sandbox.file("bin/claude", "#!/bin/sh\nexit 7\n");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    transcript(&sandbox, sandbox.path(""));
    bind(&sandbox, "claude", ID, sandbox.path("").to_str());
    let exec = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", sandbox.path("bin")));
    assert_eq!(exec.code, Some(7));
}

#[test]
fn an_id_or_folder_with_a_control_character_is_refused() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "goose");
    goose_session(&sandbox, "1");
    for (id, dir) in [
        ("1\nrm -rf ~", None),
        ("1\x1b[201~rm -rf ~\r", None),
        ("1\u{9b}201~", None),
        ("1", Some("/srv\nrm -rf ~")),
        ("1", Some("/srv\x03rm -rf ~")),
    ] {
        bind(&sandbox, "goose", id, dir);
        for args in [&["resume", "t"][..], &["resume", "t", "--exec"]] {
            let refused = run(sandbox.turnkeep(args).env("PATH", &path));
            assert_eq!(refused.stdout, "");
            let error = refused.failed(7);
            assert!(error.contains("has a control character"), "{error}");
            let begin = "error: the session of task `t` can't be resumed: ";
            assert!(error.starts_with(begin), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let json = sandbox.run(["resume", "t", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(
            (&json["command"], &json["args"]),
            (&json!(null), &json!(null))
        );
        assert_eq!(json["refusal"], "unprintable");
    }
}

#[test]
fn a_command_with_invisible_characters_is_not_printed_on_a_terminal() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "goose");
    goose_session(&sandbox, "1\u{202e}2");
    bind(&sandbox, "goose", "1\u{202e}2", None);
    let shown = run_on_terminal(sandbox.turnkeep(["resume", "t"]), "");
    assert_eq!(
        (shown.code, &*shown.stdout),
        (
            Some(1),
            "error: the command has characters that can't be shown\n\
             hint: `--exec` runs it, and a pipe gets it as it is\n"
        )
    );
    let line = sandbox.run(["resume", "t"]).ok();
    let printed = in_shell(&sandbox, &path, &line).ok();
    assert!(printed.ends_with("<1\u{202e}2>"), "{printed}");
    goose_session(&sandbox, "می\u{200c}خواهم");
    bind(&sandbox, "goose", "می\u{200c}خواهم", None);
    let shown = run_on_terminal(sandbox.turnkeep(["resume", "t"]), "").ok();
    let expected = "goose session --resume --session-id 'می\u{200c}خواهم'\n";
    assert_eq!(shown, expected);
}

/// Binds the task to a session of which the store has the transcript. Returns the bytes and where they go.
fn keep(sandbox: &Sandbox) -> (String, PathBuf) {
    std::fs::create_dir(sandbox.path("app")).unwrap();
    let app = real(sandbox.path("app"));
    bind(sandbox, "claude", ID, Some(&app));
    let path = PathBuf::from(transcript(sandbox, &app));
    let bytes = std::fs::read_to_string(&path).unwrap();
    save_kept(sandbox, &path, &bytes);
    std::fs::remove_file(&path).unwrap();
    (bytes, path)
}

fn save_kept(sandbox: &Sandbox, path: &Path, bytes: &str) {
    let name = path.to_str().unwrap().split_once("/.claude/").unwrap().1;
    let name = RecordingName::new(name).unwrap();
    let task = "t".parse().unwrap();
    let saved = sandbox
        .repo()
        .save_recording(&task, &name, 0, bytes.as_bytes());
    saved.unwrap();
}

#[test]
fn a_lost_recording_is_put_back_before_the_resume() {
    let sandbox = Sandbox::new();
    let (bytes, path) = keep(&sandbox);
    let error = sandbox.run(["resume", "t"]).failed(6);
    let reason = "its recording is gone; the store has its files";
    assert!(error.contains(reason), "{error}");
    assert!(!path.exists());

    let restored = sandbox.run(["resume", "t", "--restore"]);
    let app = real(sandbox.path("app"));
    let line = format!("cd {app} && claude --resume {ID}\n");
    assert_eq!(restored.stdout, line);
    assert_eq!(restored.stderr, format!("put back: {}\n", path.display()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
    let restore = ["resume", "t", "--restore", "--json"];
    let again = sandbox.run(restore).one();
    assert_eq!(
        (&again["recording"], &again["restored"]),
        (&json!("present"), &json!(null))
    );

    std::fs::write(&path, "").unwrap();
    let json = sandbox.run(restore).one();
    assert_eq!(
        (&json["recording"], &json["restored"]),
        (&json!("present"), &json!("files"))
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
}

#[test]
fn a_recording_that_is_shorter_than_the_kept_one_is_put_back_if_asked() {
    let sandbox = Sandbox::new();
    let (bytes, path) = keep(&sandbox);
    let longer = format!("{bytes}{bytes}");
    save_kept(&sandbox, &path, &longer);
    std::fs::write(&path, &bytes).unwrap();
    let shown = sandbox.run(["resume", "t"]);
    assert_eq!(shown.code, Some(0));
    let warning = "warning: the store has kept more";
    assert!(shown.stderr.starts_with(warning), "{}", shown.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
    let restored = sandbox.run(["resume", "t", "--restore"]);
    assert_eq!(
        (restored.code, restored.stderr.lines().count()),
        (Some(0), 1)
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), longer);
}

#[test]
fn a_recording_that_was_rewritten_is_resumed_as_it_is() {
    let sandbox = Sandbox::new();
    let (bytes, path) = keep(&sandbox);
    save_kept(&sandbox, &path, &format!("{bytes}{bytes}"));
    let rewritten = bytes.replace("Hi", "Ho");
    std::fs::write(&path, &rewritten).unwrap();
    let resumed = sandbox.run(["resume", "t", "--restore"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(
        resumed.stderr.starts_with("warning: not put back: "),
        "{resumed:?}"
    );
    assert!(
        resumed.stdout.ends_with(&format!("claude --resume {ID}\n")),
        "{resumed:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), rewritten);
}

#[test]
fn exec_puts_a_recording_back_with_yes_or_after_a_question() {
    let sandbox = Sandbox::new();
    let agent = fake_agent(&sandbox, "claude");
    let (_, path) = keep(&sandbox);
    let exec = |args: &[&str]| {
        let mut exec = sandbox.turnkeep([&["resume", "t", "--exec"], args].concat());
        exec.env("PATH", &agent);
        exec
    };
    let resumed = format!("<--resume><{ID}>");
    let refused = run(&mut exec(&[]));
    assert_eq!((refused.code, &*refused.stdout), (Some(6), ""));
    assert!(!path.exists());
    let shown = run(&mut exec(&["--yes"])).stdout;
    assert!(shown.ends_with(&resumed), "{shown}");
    assert!(path.exists());

    std::fs::remove_file(&path).unwrap();
    let no = run_on_terminal(exec(&[]), "n\n");
    assert_eq!(no.code, Some(6), "{}", no.stdout);
    let question = "Put it back from its files? [y/N]";
    assert!(no.stdout.contains(question), "{}", no.stdout);
    assert!(!path.exists());
    let yes = run_on_terminal(exec(&[]), "y\n").stdout;
    assert!(yes.ends_with(&resumed), "{yes}");
    assert!(path.exists());
    sandbox.run(["resume", "t", "--yes"]).failed(2);
}

#[test]
fn a_session_of_which_only_words_are_kept_is_written_anew() {
    let sandbox = Sandbox::new();
    let app = real(sandbox.path(""));
    bind(&sandbox, "claude", ID, Some(&app));
    sandbox.run(["append", "t", "--role", "user", "Hi"]).ok();
    let resumed = sandbox.run(["resume", "t", "--restore"]);
    let line = format!("cd {app} && claude --resume {ID}\n");
    assert_eq!(resumed.stdout, line);
    let warning = "warning: the recording is made of the words";
    assert!(resumed.stderr.starts_with(warning), "{}", resumed.stderr);
}

/// A folder of another machine has another name here.
#[test]
fn a_folder_that_has_moved_is_named() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("new/app")).unwrap();
    let new = real(sandbox.path("new"));
    transcript(&sandbox, format!("{new}/app"));
    bind(&sandbox, "claude", ID, Some("/old/app"));
    let line = format!("cd {new}/app && claude --resume {ID}\n");
    for folder in [format!("/old={new}"), format!("{new}/app")] {
        let moved = sandbox.run(["resume", "t", "--folder", &folder]);
        assert_eq!(moved.ok(), line);
    }
}

#[test]
fn a_fork_without_its_parent_can_be_made_of_words() {
    let sandbox = Sandbox::new();
    rollout(&sandbox);
    let path = format!(".codex/sessions/2026/09/18/rollout-2026-09-18T07-12-44-{ID}.jsonl");
    let header = std::fs::read_to_string(sandbox.path(&path)).unwrap();
    let base = r#""history_base":{"thread_id":"x"},"cwd""#;
    sandbox.file(&path, header.replace("\"cwd\"", base));
    bind(&sandbox, "codex", ID, None);
    sandbox.run(["append", "t", "--role", "user", "Hi"]).ok();
    for args in [&["resume", "t"][..], &["resume", "t", "--restore"]] {
        let error = sandbox.run(args).failed(7);
        assert!(error.contains("begins with the rollout x"), "{error}");
        let hint = "hint: `turnkeep restore --force` replaces it";
        assert!(error.contains(hint), "{error}");
    }
    sandbox.run(["restore", "t", "--force"]);
    let line = format!("codex resume {ID}\n");
    assert_eq!(sandbox.run(["resume", "t"]).ok(), line);
}

/// The binding has no config folder, since it is the usual one.
#[test]
fn an_imported_session_of_the_usual_home_is_resumed_there() {
    let sandbox = Sandbox::new();
    let app = real(sandbox.path(""));
    let line = format!(
        r#"{{"type":"user","uuid":"u","sessionId":"{ID}","cwd":"{app}","timestamp":"2026-11-30T10:00:00Z",
        "message":{{"role":"user","content":"Why?"}}}}"#
    );
    let project = turnkeep_recordings::project_folder(&app);
    sandbox.file(
        &format!(".claude/projects/{project}/{ID}.jsonl"),
        line.replace('\n', " "),
    );
    sandbox.run(["import", ".claude"]).ok();
    let task = format!("claude:{ID}");
    let mut resume = sandbox.turnkeep(["resume", &task]);
    let resumed = run(resume.env("CLAUDE_CONFIG_DIR", sandbox.path("other")));
    let home = sandbox.path(".claude");
    let line = format!(
        "CLAUDE_CONFIG_DIR={} claude --resume {ID}\n",
        home.display()
    );
    assert!(
        resumed.stdout.ends_with(&line),
        "{} {}",
        resumed.stdout,
        resumed.stderr
    );

    // The usual home of another machine is not this one's.
    let repo = Repo::open(sandbox.db()).unwrap();
    let bound = repo.get_session(&task.parse().unwrap()).unwrap();
    let mut origin: Value = serde_json::from_str(bound.metadata.unwrap().as_str()).unwrap();
    origin["host"] = json!("elsewhere");
    let mut elsewhere = NewSession::new(bound.backend_type, bound.session_id);
    elsewhere.working_dir = bound.working_dir;
    elsewhere.metadata = Metadata::from_serialize(&origin).ok();
    repo.save_session(&task.parse().unwrap(), &elsewhere)
        .unwrap();
    let mut resume = sandbox.turnkeep(["resume", &task]);
    let resumed = run(resume.env("CLAUDE_CONFIG_DIR", sandbox.path("other")));
    assert!(
        !resumed.stdout.contains(home.to_str().unwrap()),
        "{}",
        resumed.stdout
    );
}
