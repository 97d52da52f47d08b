use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

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

fn bind(sandbox: &Sandbox, backend: &str, id: &str, dir: Option<&str>) {
    sandbox.run(["task", "add", "t"]).ok();
    let mut set = sandbox.turnkeep([
        "session",
        "set",
        "t",
        "--backend",
        backend,
        "--session-id",
        id,
    ]);
    if let Some(dir) = dir {
        set.args(["--working-dir", dir]);
    }
    run(&mut set).ok();
}

#[test]
fn the_printed_line_and_exec_start_the_agent_in_its_folder() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    let absolute = sandbox.path("it's \"here\" $HOME `id` \\ ü;&|");
    let relative = ["-dash", "--", "-", "-P", "plain", "!x", "~", "\u{ad}soft"];
    for dir in relative.into_iter().chain([absolute.to_str().unwrap()]) {
        std::fs::create_dir_all(sandbox.path(dir)).unwrap();
        bind(&sandbox, "claude", "1-2", Some(dir));
        let expected = format!("{}\n<--resume><1-2>", real(sandbox.path(dir)));

        let line = sandbox.run(["resume", "t"]).ok();
        let printed = in_shell(&sandbox, &path, &line).ok();
        assert_eq!(printed.lines().last(), expected.lines().last(), "{line}");
        assert!(printed.ends_with(&expected), "{line}{printed}");
        let exec = run(sandbox
            .turnkeep(["resume", "t", "--exec"])
            .env("PATH", &path))
        .ok();
        assert_eq!(exec, expected, "{dir:?}");
    }
}

#[test]
fn an_id_reaches_the_agent_unchanged() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    for id in ODD_IDS
        .into_iter()
        .filter(|id| !id.contains(char::is_control))
    {
        bind(&sandbox, "claude", id, None);
        let line = sandbox.run(["resume", "t"]).ok();
        let expected = match id.starts_with('-') {
            true => format!("{}\n<--resume={id}>", real(sandbox.path(""))),
            false => format!("{}\n<--resume><{id}>", real(sandbox.path(""))),
        };
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
    for (backend, line) in [
        ("claude", "cd /srv/app && claude --resume 1\n"),
        ("codex", "cd /srv/app && codex resume 1\n"),
        (
            "goose",
            "cd /srv/app && goose session --resume --session-id 1\n",
        ),
    ] {
        bind(&sandbox, backend, "1", Some("/srv/app"));
        assert_eq!(sandbox.run(["resume", "t"]).ok(), line);
    }
    bind(&sandbox, "goose", "1", None);
    assert_eq!(
        sandbox.run(["resume", "t"]).ok(),
        "goose session --resume --session-id 1\n"
    );
}

#[test]
fn json_has_the_line_and_its_parts() {
    let sandbox = Sandbox::new();
    bind(&sandbox, "codex", "-1", Some("/a b"));
    assert_eq!(
        sandbox.run(["resume", "t", "--json"]).one(),
        json!({
            "task_id": "t", "backend": "codex", "session_id": "-1", "working_dir": "/a b",
            "command": "cd '/a b' && codex resume -- -1",
            "program": "codex", "args": ["resume", "--", "-1"], "env": {},
        })
    );
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
    sandbox.run(["task", "add", "t"]).ok();
    let dir = "/a b/$HOME";
    let set = [
        "session",
        "set",
        "t",
        "--backend",
        "claude",
        "--session-id",
        "1",
    ];
    let set = [&set[..], &["--config-dir", dir]].concat();
    sandbox.run(set).ok();
    let line = sandbox.run(["resume", "t"]).ok();
    assert_eq!(line, "CLAUDE_CONFIG_DIR='/a b/$HOME' claude --resume 1\n");
    assert_eq!(in_shell(&sandbox, &path, &line).ok(), format!("{dir}\n"));
    let exec = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", &path));
    assert_eq!(exec.ok(), format!("{dir}\n"));
    let json = sandbox.run(["resume", "t", "--json"]).one();
    assert_eq!(json["env"], json!({ "CLAUDE_CONFIG_DIR": dir }));
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
        let error = sandbox.run(args).failed(1);
        assert!(error.contains("gemini"), "{error}");
        assert!(error.contains("session `s-1` in /srv/app"), "{error}");
    }
}

#[test]
fn exec_reports_a_missing_folder_or_program() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    let gone = sandbox.path("gone");
    bind(&sandbox, "claude", "1", gone.to_str());
    let error = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", path))
    .failed(1);
    let expected = format!(
        "the folder of the session, {}, does not exist",
        gone.display()
    );
    assert!(error.contains(&expected), "{error}");

    std::fs::create_dir(&gone).unwrap();
    let error = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", &gone))
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
    bind(&sandbox, "claude", "1", link.to_str());
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
    bind(&sandbox, "claude", "1", None);
    let exec = run(sandbox
        .turnkeep(["resume", "t", "--exec"])
        .env("PATH", sandbox.path("bin")));
    assert_eq!(exec.code, Some(7));
}

#[test]
fn an_id_or_folder_with_a_control_character_is_refused() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    for (id, dir) in [
        ("1\nrm -rf ~", None),
        ("1\x1b[201~rm -rf ~\r", None),
        ("1\u{9b}201~", None),
        ("1", Some("/srv\nrm -rf ~")),
        ("1", Some("/srv\x03rm -rf ~")),
    ] {
        bind(&sandbox, "claude", id, dir);
        for args in [
            &["resume", "t"][..],
            &["resume", "t", "--json"],
            &["resume", "t", "--exec"],
        ] {
            let refused = run(sandbox.turnkeep(args).env("PATH", &path));
            assert_eq!(refused.stdout, "");
            let error = refused.failed(1);
            assert!(error.contains("has a control character"), "{error}");
            assert!(error.starts_with("error: the session of task `t` can't be resumed: "));
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn a_command_with_invisible_characters_is_not_printed_on_a_terminal() {
    let sandbox = Sandbox::new();
    let path = fake_agent(&sandbox, "claude");
    bind(&sandbox, "claude", "1\u{202e}2", None);
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
    bind(&sandbox, "claude", "می\u{200c}خواهم", None);
    let shown = run_on_terminal(sandbox.turnkeep(["resume", "t"]), "").ok();
    assert_eq!(shown, "claude --resume 'می\u{200c}خواهم'\n");
}
