//! Sessions and tasks at a glance.

use turnkeep_repo::chrono::{DateTime, TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, Role, SessionId, TaskId, TaskStatus, WorkingDir,
};

use crate::support::{Sandbox, run};
#[cfg(unix)]
use crate::support::{json_lines, run_on_terminal_of};

struct Row<'r> {
    session: &'r str,
    title: &'r str,
    agent: BackendType,
    folder: String,
    time: DateTime<Utc>,
}

/// Stores a session as an import does, with one turn.
fn import(sandbox: &Sandbox, row: Row<'_>) {
    let repo = sandbox.repo();
    let task = TaskId::new(format!("{}:{}", row.agent, row.session)).unwrap();
    let mut new = NewTask::new(task.clone(), row.title).status(TaskStatus::Completed);
    new.recorded = Some((row.time, row.time));
    repo.save_task(&new).unwrap();
    let message = NewMessage::new(Role::User, "Hello").timestamp(row.time);
    repo.save_messages(&task, &[message]).unwrap();
    let binding = NewSession::new(row.agent, SessionId::new(row.session).unwrap());
    let binding = binding.working_dir(WorkingDir::new(row.folder).unwrap());
    repo.save_session(&task, &binding).unwrap();
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let home = sandbox.path("").into_os_string().into_string().unwrap();
    let home = home.trim_end_matches('/');
    for (session, title, agent, folder, minutes) in [
        (
            "0b2f1c3d-93d8-4f0a-8a6e-2f5b9d3c1e70",
            "Fix the redirect after login, which sends people back to the login page for ever",
            BackendType::Claude,
            format!("{home}/work/customers/a-long-name/shop"),
            125,
        ),
        (
            "0b2f1c3d-0000-4f0a-8a6e-2f5b9d3c1e70",
            "日本語の題名は二桁の幅を持つので、切り詰めるときに数え方が違います",
            BackendType::Codex,
            format!("{home}/work"),
            3 * 24 * 60,
        ),
        (
            "20261001_1",
            "Short",
            BackendType::Goose,
            "/srv/x".into(),
            60 * 24 * 60,
        ),
    ] {
        let time = Utc::now() - TimeDelta::minutes(minutes);
        import(
            &sandbox,
            Row {
                session,
                title,
                agent,
                folder,
                time,
            },
        );
    }
    sandbox
}

#[cfg(unix)]
fn on_terminal(sandbox: &Sandbox, rows: u16, columns: u16, args: &[&str]) -> String {
    let mut command = sandbox.turnkeep(["list"].iter().chain(args));
    command.env("NO_COLOR", "1").env("TZ", "CET-1");
    run_on_terminal_of(rows, columns, command, "").ok()
}

#[cfg(unix)]
#[test]
fn a_terminal_gets_a_line_for_each_session_with_short_ids_and_words() {
    let sandbox = sandbox();
    let day = (Utc::now() - TimeDelta::days(60) + TimeDelta::hours(1)).format("%Y-%m-%d");
    let expected = format!(
        "\
ID          TITLE                              AGENT   FOLDER  TURNS  ACTIVE
0b2f1c3d-9  Fix the redirect after login, wh…  claude  …/shop      1  2 h ago
0b2f1c3d-0  日本語の題名は二桁の幅を持つので…  codex   ~/work      1  3 days ago
20261001_1  Short                              goose   /srv/x      1  {day}
"
    );
    let shown = on_terminal(&sandbox, 24, 80, &[]);
    assert_eq!(shown, expected);
    for id in ["0b2f1c3d-9", "0b2f1c3d-0", "20261001_1"] {
        sandbox.run(["show", id]).ok();
    }
}

/// Sessions and tasks of fixed times, in a zone an hour before UTC.
#[cfg(unix)]
fn of_fixed_times() -> Sandbox {
    let sandbox = Sandbox::new();
    let home = sandbox.path("").into_os_string().into_string().unwrap();
    let at = |time: &str| DateTime::parse_from_rfc3339(time).unwrap().into();
    for (session, title, agent, folder, time) in [
        (
            "7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70",
            "Fix the redirect after login, which sends people back to the login page",
            BackendType::Claude,
            "work/customers/a-long-name/shop",
            "2025-11-28T23:30:00Z",
        ),
        (
            "019a3c5e-4b52-7f0a-8a6e-2f5b9d3c1e70",
            "日本語の題名は二桁の幅を持つので切り詰める",
            BackendType::Codex,
            "work/shop",
            "2025-11-28T09:00:00Z",
        ),
        (
            "20251001_1",
            "Faster list",
            BackendType::Goose,
            "shop",
            "2025-10-01T08:00:00Z",
        ),
    ] {
        let folder = format!("{home}{folder}");
        let time = at(time);
        import(
            &sandbox,
            Row {
                session,
                title,
                agent,
                folder,
                time,
            },
        );
    }
    let repo = sandbox.repo();
    for (id, status, time) in [
        ("parser", TaskStatus::Running, "2025-11-29T07:00:00Z"),
        ("parser-tests", TaskStatus::Failed, "2025-11-27T07:00:00Z"),
    ] {
        let mut task = NewTask::new(TaskId::new(id).unwrap(), "Write the parser").status(status);
        task.recorded = Some((at(time), at(time)));
        repo.save_task(&task).unwrap();
    }
    sandbox
}

#[cfg(unix)]
#[test]
fn a_list_of_sessions_and_tasks_at_80_and_200_columns() {
    let sandbox = of_fixed_times();
    assert_eq!(
        on_terminal(&sandbox, 24, 80, &[]),
        "\
ID            TITLE                   AGENT   FOLDER  TURNS  ACTIVE      STATUS
parser        Write the parser        -       -           0  2025-11-29  running
7c1e4b52      Fix the redirect afte…  claude  …/shop      1  2025-11-29
019a3c5e      日本語の題名は二桁の…   codex   …/shop      1  2025-11-28
parser-tests  Write the parser        -       -           0  2025-11-27  failed
20251001_1    Faster list             goose   ~/shop      1  2025-10-01
"
    );
    assert_eq!(
        on_terminal(&sandbox, 24, 200, &[]),
        "\
ID            TITLE                                                         AGENT   FOLDER                             TURNS  ACTIVE            STATUS
parser        Write the parser                                              -       -                                      0  2025-11-29 08:00  running
7c1e4b52      Fix the redirect after login, which sends people back to th…  claude  ~/work/customers/a-long-name/shop      1  2025-11-29 00:30
019a3c5e      日本語の題名は二桁の幅を持つので切り詰める                    codex   ~/work/shop                            1  2025-11-28 10:00
parser-tests  Write the parser                                              -       -                                      0  2025-11-27 08:00  failed
20251001_1    Faster list                                                   goose   ~/shop                                 1  2025-10-01 09:00
"
    );
    assert_eq!(
        on_terminal(&sandbox, 24, 80, &["--folder", "work"]),
        "\
ID        TITLE                           AGENT   FOLDER       TURNS  ACTIVE
7c1e4b52  Fix the redirect after login,…  claude  …/shop           1  2025-11-29
019a3c5e  日本語の題名は二桁の幅を持つ…   codex   ~/work/shop      1  2025-11-28
"
    );
}

/// A day is one of the zone of this machine.
#[cfg(unix)]
#[test]
fn times_are_said_alike_in_all_commands() {
    let sandbox = of_fixed_times();
    let ids = |args: &[&str]| -> Vec<String> {
        let mut command = sandbox.turnkeep(args.iter().chain(&["--json"]));
        let rows = run(command.env("TZ", "CET-1")).json();
        let id = |row: &serde_json::Value| match &row["task_id"] {
            serde_json::Value::Null => row["id"].as_str().unwrap().to_owned(),
            id => id.as_str().unwrap().to_owned(),
        };
        rows.iter().map(id).collect()
    };
    let shop = "claude:7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70";
    let codex = "codex:019a3c5e-4b52-7f0a-8a6e-2f5b9d3c1e70";
    let goose = "goose:20251001_1";
    assert_eq!(ids(&["list", "--since", "2025-11-29"]), ["parser", shop]);
    assert_eq!(
        ids(&["list", "--since", "2025-11-28T23:30:00Z"]),
        ["parser", shop]
    );
    assert_eq!(ids(&["list", "--since", "2025-11-30"]), [""; 0]);
    assert_eq!(ids(&["search", "hello", "--since", "2025-11-29"]), [shop]);
    assert_eq!(
        ids(&["search", "hello", "--until", "2025-11-28"]),
        [codex, goose]
    );
    assert_eq!(
        ids(&[
            "search",
            "hello",
            "--until",
            "2025-11-28",
            "--since",
            "2025-11-28"
        ]),
        [codex]
    );
    for time in ["today", "yesterday", "12h", "7d", "2w"] {
        assert_eq!(ids(&["list", "--since", time]), [""; 0], "{time}");
        assert_eq!(
            ids(&["search", "hello", "--since", time]),
            [""; 0],
            "{time}"
        );
        assert_eq!(
            ids(&["search", "hello", "--until", time]).len(),
            3,
            "{time}"
        );
        let error = sandbox.run(["rm", "--until", time]).failed(2);
        assert!(error.contains("needs `--yes`"), "{error}");
    }
    for args in [
        &["list", "--since"][..],
        &["search", "x", "--until"],
        &["rm", "--until"],
    ] {
        let help = sandbox.run([args[0], "--help"]).ok();
        for word in ["yesterday", "7d", "2026-02-03"] {
            assert!(help.contains(word), "{args:?}: {help}");
        }
        let error = sandbox.run(args.iter().chain(&["soon"])).failed(2);
        assert!(
            error.contains("is no day (2026-02-03, today), age (12h, 7d)"),
            "{error}"
        );
    }
    let added = run(sandbox.turnkeep(["task", "add", "new"]).env("TZ", "CET-1")).ok();
    assert!(added.contains("new"), "{added}");
    assert_eq!(ids(&["list", "--since", "today"]), ["new"]);
}

/// On 7 September this zone, three hours behind UTC, goes from 00:00 to 01:00.
#[cfg(unix)]
#[test]
fn a_day_without_midnight_begins_with_its_first_minute() {
    let sandbox = Sandbox::new();
    for (session, time) in [
        ("before", "2025-09-07T02:59:59Z"),
        ("after", "2025-09-07T03:00:00Z"),
    ] {
        let row = Row {
            session,
            title: session,
            agent: BackendType::Claude,
            folder: "/x".into(),
            time: DateTime::parse_from_rfc3339(time).unwrap().into(),
        };
        import(&sandbox, row);
    }
    let run = |args: &[&str]| {
        let mut command = sandbox.turnkeep(args);
        run(command.env("TZ", "AAA3BBB,J250/0,J100/0")).ok()
    };
    let since = run(&["list", "--since", "2025-09-07", "--json"]);
    assert_eq!(json_lines(&since).len(), 1, "{since}");
    run(&["rm", "--until", "2025-09-06", "--yes"]);
    let left = sandbox.run(["list", "--json"]).one();
    assert_eq!(left["id"], "claude:after");
}

/// A cut that other rows make unique would open another task, which is not among them.
#[cfg(unix)]
#[test]
fn a_short_id_means_its_row_in_the_whole_store() {
    let sandbox = Sandbox::new();
    let session = |agent, session: &str, days| {
        let row = Row {
            session,
            title: session,
            agent,
            folder: "/x".into(),
            time: Utc::now() - TimeDelta::days(days),
        };
        import(&sandbox, row);
    };
    let rest = "-93d8-4f0a-8a6e-2f5b9d3c1e70";
    let (claude, codex) = (BackendType::Claude, BackendType::Codex);
    session(claude.clone(), &format!("7c1e4b52{rest}"), 0);
    session(codex.clone(), &format!("7c1e4b52-93d9{}", &rest[5..]), 9);
    session(claude.clone(), &format!("aaaaaaaa{rest}"), 0);
    session(codex.clone(), &format!("aaaaaaaa{rest}"), 9);
    session(BackendType::Goose, "20261001_1", 0);
    session(BackendType::Goose, "20261001_12", 9);
    session(claude.clone(), &format!("eeeeeeee{rest}"), 0);
    session(claude.clone(), &format!("ffffffff{rest}"), 0);
    let repo = sandbox.repo();
    let new = |id: &str| NewTask::new(TaskId::new(id).unwrap(), id).status(TaskStatus::Completed);
    repo.save_task(&new("ffffffff")).unwrap();
    repo.save_task(&new(&"customer-".repeat(5))).unwrap();
    // A session that was replaced is no longer found by its id.
    let replaced = TaskId::new(format!("claude:eeeeeeee{rest}")).unwrap();
    let other = NewSession::new(claude, SessionId::new("another").unwrap());
    repo.save_session(&replaced, &other).unwrap();

    let shown = on_terminal(&sandbox, 24, 120, &["--since", "1d", "--sort", "id"]);
    let ids: Vec<_> = shown
        .lines()
        .skip(1)
        .map(|line| line.split("  ").next().unwrap())
        .collect();
    let twice = format!("claude:aaaaaaaa{rest}");
    let expected = [
        "7c1e4b52-93d8",
        &twice,
        "claude:eeeeeeee",
        "ffffffff-",
        "customer",
        "ffffffff",
        "20261001_1",
    ];
    assert_eq!(ids, expected, "{shown}");
    let listed = sandbox
        .run(["list", "--json", "--since", "1d", "--sort", "id"])
        .json();
    for (id, row) in ids.iter().zip(listed) {
        let shown = sandbox.run(["task", "show", id, "--json"]).one();
        assert_eq!(shown["id"], row["id"], "{id}");
    }
}

/// Where ids are long and alike, they are shown in whole, and the others are cut all the same.
#[cfg(unix)]
#[test]
fn a_crowd_of_similar_ids_leaves_other_ids_short() {
    let sandbox = sandbox();
    let tasks: Vec<_> = (0..1_200)
        .map(|number| {
            NewTask::new(
                TaskId::new(format!("customer-task-{number:04}")).unwrap(),
                "T",
            )
        })
        .collect();
    sandbox.repo().save_tasks(&tasks).unwrap();
    let shown = on_terminal(&sandbox, 9, 80, &["--sort", "id", "--all"]);
    assert!(shown.contains("\n0b2f1c3d-9  "), "{shown}");
    assert!(shown.contains("\ncustomer-task-0999  "), "{shown}");
}

#[cfg(unix)]
#[test]
fn each_row_is_one_line_of_the_terminal() {
    let sandbox = sandbox();
    let id = "customer-".repeat(50);
    for id in [id.clone(), format!("{id}2"), "日本語の作業".repeat(20)] {
        sandbox
            .run(["task", "add", &id, "--name", &"long ❤️ ".repeat(50)])
            .ok();
    }
    let agent = "an-agent-with-a-long-name\u{202e}".repeat(2);
    import(
        &sandbox,
        Row {
            session: &"s".repeat(400),
            title: "T",
            agent: agent.parse().unwrap(),
            folder: format!("/{}", "folder".repeat(50)),
            time: Utc::now(),
        },
    );
    for columns in [70, 80, 119, 120, 200] {
        let shown = on_terminal(&sandbox, 24, columns, &[]);
        assert_eq!(shown.lines().count(), 8, "{shown}");
        for line in shown.lines() {
            let width = unicode_width::UnicodeWidthStr::width(line);
            assert!(width <= columns.into(), "{width}: {line}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_wide_terminal_has_local_times_and_whole_folders() {
    let sandbox = sandbox();
    let shown = on_terminal(&sandbox, 24, 200, &[]);
    let local = Utc::now() - TimeDelta::minutes(125) + TimeDelta::hours(1);
    let local = local.format("%Y-%m-%d %H:");
    assert!(
        shown.contains("~/work/customers/a-long-name/shop "),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("  {local}")) && shown.contains(", 2 h ago\n"),
        "{shown}"
    );
}

#[cfg(unix)]
#[test]
fn a_terminal_gets_as_many_as_fit_and_a_word_on_the_rest() {
    let sandbox = Sandbox::new();
    let tasks: Vec<_> = (0..40)
        .map(|number| NewTask::new(TaskId::new(format!("t{number:02}")).unwrap(), "T"))
        .collect();
    sandbox.repo().save_tasks(&tasks).unwrap();
    let count = |args: &[&str]| on_terminal(&sandbox, 20, 80, args).lines().count();
    let shown = on_terminal(&sandbox, 20, 80, &[]);
    assert_eq!(shown.lines().count(), 19, "{shown}");
    assert!(shown.ends_with(" some of them\n"), "{shown}");
    assert_eq!(count(&["--all"]), 41);
    assert_eq!(count(&["--limit", "30"]), 31);
    assert_eq!(count(&["--status", "failed"]), 1);
    let piped = sandbox.run(["list"]).ok();
    assert_eq!(piped.lines().count(), 41);
}

#[test]
fn a_status_is_shown_only_if_it_says_something() {
    let sandbox = sandbox();
    let shown = sandbox.run(["list"]).ok();
    assert!(
        !shown.contains("STATUS") && !shown.contains("completed"),
        "{shown}"
    );
    sandbox
        .run(["task", "add", "done", "--status", "completed"])
        .ok();
    let shown = sandbox.run(["list"]).ok();
    assert_eq!(shown.matches("completed").count(), 1, "{shown}");
    let first = shown.lines().nth(1).unwrap();
    assert!(
        first.starts_with("done  ") && first.ends_with("  completed"),
        "{shown}"
    );
}

#[test]
fn a_pipe_gets_whole_ids() {
    let shown = sandbox().run(["list"]).ok();
    assert!(
        shown.contains("\nclaude:0b2f1c3d-93d8-4f0a-8a6e-2f5b9d3c1e70  Fix"),
        "{shown}"
    );
    assert!(
        shown.contains("  ~/work/customers/a-long-name/shop  "),
        "{shown}"
    );
}

#[test]
fn options_select_by_agent_folder_and_time() {
    let sandbox = sandbox();
    let list = |args: &[&str]| -> Vec<String> {
        let all = ["list", "--json"].iter().chain(args);
        let rows = sandbox.run(all).json();
        let agents = rows
            .iter()
            .map(|row| row["backend"].as_str().unwrap().to_owned());
        agents.collect()
    };
    assert_eq!(list(&[]), ["claude", "codex", "goose"]);
    assert_eq!(list(&["--agent", "codex"]), ["codex"]);
    assert_eq!(list(&["--folder", "work"]), ["claude", "codex"]);
    assert_eq!(list(&["--folder", "work/customers"]), ["claude"]);
    assert_eq!(list(&["--folder", "wor"]), [""; 0]);
    assert_eq!(list(&["--folder", "work", "--limit", "1"]), ["claude"]);
    assert_eq!(list(&["--since", "7d"]), ["claude", "codex"]);
    assert_eq!(list(&["--since", "1h"]), [""; 0]);
    // Not that there are none.
    assert_eq!(sandbox.run(["list", "--limit", "0"]).ok(), "");
    let error = sandbox.run(["list", "--since", "soon"]).failed(2);
    assert!(error.contains("is no day"), "{error}");
    sandbox.run(["list", "--all", "--limit", "1"]).failed(2);
}

#[cfg(unix)]
#[test]
fn a_folder_may_be_named_by_any_path() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("work/shop/api")).unwrap();
    std::os::unix::fs::symlink("work/shop", sandbox.path("link")).unwrap();
    let real = sandbox.path("work/shop").canonicalize().unwrap();
    let link = sandbox.path("link");
    for (session, folder) in [
        ("real", &*real),
        ("linked", &*link),
        ("gone", "/gone/x".as_ref()),
    ] {
        import(
            &sandbox,
            Row {
                session,
                title: session,
                agent: BackendType::Claude,
                folder: folder.to_str().unwrap().into(),
                time: Utc::now(),
            },
        );
    }
    let list = |from: &str, folder: &str| -> Vec<String> {
        let mut command = sandbox.turnkeep(["list", "--json", "--sort", "id", "--folder", folder]);
        let rows = run(command.current_dir(sandbox.path(from))).json();
        let names = rows.iter().map(|row| row["name"].as_str().unwrap().into());
        names.collect()
    };
    for (from, folder, expected) in [
        ("work/shop/api", "..", &["real"][..]),
        ("work/shop/api", "../", &["real"]),
        ("work/shop/api", ".", &[]),
        ("work/shop", ".", &["real"]),
        ("work", "./shop/api/..", &["real"]),
        ("", "link", &["linked", "real"]),
        ("", "link/.", &["linked", "real"]),
        ("", ".", &["linked", "real"]),
        ("link/api", "..", &["real"]),
        ("", "/gone", &["gone"]),
        ("", "/gone/y/../x/", &["gone"]),
        ("", "/gone/x/y", &[]),
        ("", "/", &["gone", "linked", "real"]),
    ] {
        assert_eq!(list(from, folder), expected, "{folder} in {from:?}");
    }
    sandbox.run(["list", "--folder", ""]).failed(2);
}

#[test]
fn task_list_is_the_same_command() {
    let sandbox = sandbox();
    for args in [
        &["--json"][..],
        &["--folder", "work", "--json"],
        &["--sort", "id"],
    ] {
        let of = |command: &[&str]| {
            let mut command = sandbox.turnkeep(command.iter().chain(args));
            run(command.env("TZ", "CET-1")).ok()
        };
        assert_eq!(of(&["task", "list"]), of(&["list"]));
    }
}
