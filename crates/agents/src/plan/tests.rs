use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use turnkeep_repo::{
    BackendType, ConfigDir, NewSession, NewTask, RecordingName, Repo, Role, TaskId, WorkingDir,
};

use crate::{
    AgentHomes, Note, RecordingState, Refusal, Relocation, RestoreOptions, RestoreSource,
    ResumePlan, restore, resume_plan,
};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
const PARENT: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

/// A line with what Claude Code needs to find a conversation.
const SAID: &str = "{\"type\":\"queue-operation\"}\n\
    {\"type\":\"user\",\"uuid\":\"1\",\"timestamp\":\"2026-11-30T10:00:00.000Z\",\"message\":{\"content\":\"x\"}}\n";

/// A store with one bound task, and the homes of the agents.
struct Scene {
    folder: TempDir,
    repo: Repo,
}

impl Scene {
    fn new(backend: &str, id: &str) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            repo: Repo::open_in_memory().unwrap(),
        };
        scene.repo.save_task(&NewTask::new(task(), "Task")).unwrap();
        fs::create_dir(scene.path("app")).unwrap();
        let binding = scene.binding(backend, id);
        scene.repo.save_session(&task(), &binding).unwrap();
        scene
    }

    fn binding(&self, backend: &str, id: &str) -> NewSession {
        let app = WorkingDir::try_from(&*self.path("app")).unwrap();
        NewSession::new(backend.parse().unwrap(), id.parse().unwrap()).working_dir(app)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes the transcript of the session into the project folder of a folder of the scene.
    fn transcript(&self, folder: &str, content: &str) -> PathBuf {
        let folder = self.path(folder);
        let project = turnkeep_recordings::project_folder(folder.to_str().unwrap());
        self.file(&format!(".claude/projects/{project}/{ID}.jsonl"), content)
    }

    fn rollout(&self, id: &str, content: &str) -> PathBuf {
        let name = format!("rollout-2026-09-18T07-12-44-{id}.jsonl");
        self.file(&format!(".codex/sessions/2026/09/18/{name}"), content)
    }

    /// Writes the row of a thread in the database of Codex.
    fn row(&self, rollout: &str, provider: &str, archived_at: &str) {
        use diesel::connection::SimpleConnection as _;
        use diesel::{Connection as _, SqliteConnection};

        fs::create_dir_all(self.path(".codex")).unwrap();
        let path = self.path(".codex/state_5.sqlite");
        let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let sql = format!(
            "CREATE TABLE threads (id, rollout_path, model_provider, archived_at);
             INSERT INTO threads VALUES ('{ID}', '{rollout}', '{provider}', {archived_at})"
        );
        database.batch_execute(&sql).unwrap();
    }

    fn homes(&self) -> AgentHomes {
        AgentHomes::new(
            self.path(".claude"),
            self.path(".codex"),
            self.path("goose"),
        )
    }

    fn plan(&self) -> ResumePlan {
        self.plan_at(&Relocation::default())
    }

    fn plan_at(&self, relocation: &Relocation) -> ResumePlan {
        resume_plan(&self.repo, &task(), &self.homes(), relocation).unwrap()
    }

    fn restore(&self) {
        restore(
            &self.repo,
            &task(),
            &self.homes(),
            &RestoreOptions::default(),
        )
        .unwrap();
    }

    fn refusal(&self) -> Refusal {
        let plan = self.plan();
        let refusal = plan.command().unwrap_err();
        assert_eq!(plan.headless("Go on").unwrap_err(), refusal);
        refusal
    }

    fn line(&self) -> String {
        self.plan().command().unwrap().shell_line()
    }
}

fn task() -> TaskId {
    TaskId::new("t").unwrap()
}

fn header(id: &str, more: &str) -> String {
    format!(
        "{{\"timestamp\":\"x\",\"type\":\"session_meta\",\"payload\":{{\"id\":\"{id}\",\"timestamp\":\"x\",\
         \"cwd\":\"/\",\"originator\":\"codex\",\"cli_version\":\"0.171.0\"{more}}}}}\n"
    )
}

fn settings(provider: &str) -> String {
    format!(
        "{{\"type\":\"event_msg\",\"payload\":{{\"type\":\"thread_settings_applied\",\
         \"thread_settings\":{{\"model_provider_id\":\"{provider}\"}}}}}}\n"
    )
}

#[test]
fn claude_goes_on_by_the_id_in_the_folder_of_the_session() {
    let scene = Scene::new("claude", ID);
    let path = scene.transcript("app", SAID);
    let plan = scene.plan();
    assert_eq!(plan.recording, RecordingState::Present { path });
    assert_eq!((plan.restorable, plan.notes.len()), (None, 0));
    let app = scene.path("app");
    let line = format!("cd {} && claude --resume {ID}", app.display());
    assert_eq!(plan.command().unwrap().shell_line(), line);
    let headless = plan.headless("-x is wrong").unwrap();
    assert_eq!(headless.args, ["-p", "--resume", ID, "--", "-x is wrong"]);
    assert_eq!(headless.current_dir, Some(app));
}

#[test]
fn claude_goes_on_by_the_path_where_the_id_is_not_found() {
    let scene = Scene::new("claude", ID);
    let path = scene.transcript("other", SAID);
    let app = scene.path("app");
    let line = format!("claude --resume {}", path.display());
    assert_eq!(scene.line(), format!("cd {} && {line}", app.display()));

    fs::remove_dir(&app).unwrap();
    let plan = scene.plan();
    assert_eq!(plan.command().unwrap().shell_line(), line);
    assert!(!plan.has_working_dir);
    assert_eq!(plan.notes, [Note::WorkingDirGone { folder: app }]);
}

#[test]
fn claude_goes_on_with_the_copy_of_the_folder_or_the_latest_one() {
    let scene = Scene::new("claude", ID);
    let old = scene.transcript("b", SAID);
    let past = SystemTime::now() - Duration::from_secs(60);
    fs::File::options()
        .append(true)
        .open(&old)
        .unwrap()
        .set_modified(past)
        .unwrap();
    let new = scene.transcript("c", SAID);
    let plan = scene.plan();
    assert_eq!(plan.notes, [Note::OtherCopy { path: old }]);
    let args = plan.command().unwrap().args;
    assert_eq!(args, ["--resume", new.to_str().unwrap()]);
    scene.transcript("app", SAID);
    let plan = scene.plan();
    assert_eq!(plan.command().unwrap().args, ["--resume", ID]);
    assert_eq!(plan.notes.len(), 2);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_of_a_session_leads_to_its_transcript() {
    let scene = Scene::new("claude", ID);
    scene.transcript("real", SAID);
    fs::create_dir(scene.path("real")).unwrap();
    fs::remove_dir(scene.path("app")).unwrap();
    std::os::unix::fs::symlink(scene.path("real"), scene.path("app")).unwrap();
    assert_eq!(scene.plan().command().unwrap().args, ["--resume", ID]);
}

#[test]
fn claude_finds_no_conversation_without_a_message() {
    let scene = Scene::new("claude", ID);
    for content in [
        "",
        "\n",
        "{\"type\":\"queue-operation\",\"timestamp\":\"x\"}\n",
        "{\"type\":\"user\",\"message\":{}}\n",
        "{\"type\":\"user\",\"timestamp\":\"x\"}\n",
        "no JSON",
    ] {
        let path = scene.transcript("app", content);
        assert_eq!(
            scene.refusal(),
            Refusal::NoConversation { path },
            "{content}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_transcript_is_not_opened() {
    let scene = Scene::new("claude", ID);
    let path = scene.transcript("app", SAID);
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    assert_eq!(scene.refusal(), Refusal::Lost);
}

#[test]
fn a_transcript_that_claude_will_delete_is_noted() {
    let scene = Scene::new("claude", ID);
    let path = scene.transcript("app", SAID);
    let file = fs::File::options().append(true).open(&path).unwrap();
    let past = SystemTime::now() - Duration::from_secs(31 * 24 * 60 * 60);
    file.set_modified(past).unwrap();
    assert_eq!(scene.plan().notes, [Note::WillBeSwept { path }]);
    scene.file(".claude/settings.json", "{\"cleanupPeriodDays\": 99999}");
    assert_eq!(scene.plan().notes, []);
}

/// Claude Code takes another id for a title, and Codex begins a new session.
#[test]
fn an_id_that_is_no_uuid_is_refused() {
    for backend in ["claude", "codex"] {
        for id in ["nonsense", "--last", "-x", "6f1d2c3b"] {
            let backend: BackendType = backend.parse().unwrap();
            let scene = Scene::new(backend.as_str(), id);
            assert_eq!(scene.refusal(), Refusal::NoUuid { backend });
        }
    }
}

#[test]
fn a_lost_recording_can_be_restored_from_words_if_there_are_any() {
    let goose = "20261005_1";
    for (backend, id) in [("claude", ID), ("codex", ID), ("goose", goose)] {
        let scene = Scene::new(backend, id);
        assert_eq!(scene.refusal(), Refusal::Lost);
        assert!(!scene.plan().needs_restore());
        scene.repo.save_message(&task(), Role::User, "Hi").unwrap();
        let from = RestoreSource::Words;
        let plan = scene.plan();
        assert_eq!(plan.command().unwrap_err(), Refusal::NotRestored { from });
        assert_eq!(plan.restorable, Some(from));
        assert!(plan.needs_restore());

        let mut binding = scene.binding(backend, id);
        binding.working_dir = None;
        scene.repo.save_session(&task(), &binding).unwrap();
        let is_possible = scene.plan().needs_restore();
        assert_eq!(is_possible, backend != "claude", "no name for the project");
    }
}

#[test]
fn the_recording_is_compared_with_the_kept_one() {
    let scene = Scene::new("claude", ID);
    let keep = |offset: usize, text: &str| {
        let name = RecordingName::new(format!("projects/-any/{ID}.jsonl")).unwrap();
        let offset = u64::try_from(offset).unwrap();
        let saved = scene
            .repo
            .save_recording(&task(), &name, offset, text.as_bytes());
        saved.unwrap();
    };
    keep(0, SAID);
    let from = RestoreSource::Files;
    assert_eq!(scene.refusal(), Refusal::NotRestored { from });

    let path = scene.transcript("app", SAID);
    let plan = scene.plan();
    assert_eq!(
        plan.recording,
        RecordingState::Present { path: path.clone() }
    );
    assert_eq!(plan.restorable, Some(from));
    scene.transcript("app", &format!("{SAID}{{}}\n"));
    assert_eq!(
        scene.plan().recording,
        RecordingState::Newer { path: path.clone() }
    );

    // A last line that is not whole is not written back.
    keep(SAID.len(), "{\"type\":\"us");
    scene.transcript("app", SAID);
    assert_eq!(
        scene.plan().recording,
        RecordingState::Present { path: path.clone() }
    );
    keep(0, &format!("{SAID}{SAID}"));
    let plan = scene.plan();
    assert_eq!(plan.recording, RecordingState::Older { path: path.clone() });
    assert_eq!(plan.notes, [Note::StoreHasMore { path }]);
    assert!(plan.command().is_ok());
}

/// Codex asks which folder it is to go on in.
#[test]
fn codex_is_told_to_go_on_where_it_is_started_in_another_folder() {
    let scene = Scene::new("codex", ID);
    scene.rollout(ID, &header(ID, ""));
    let args = |plan: ResumePlan| plan.command().unwrap().args;
    let relocation = Relocation {
        working_dir: Some(scene.path(".codex")),
        ..Relocation::default()
    };
    assert_eq!(args(scene.plan_at(&relocation)), ["resume", "-C", ".", ID]);
    assert_eq!(args(scene.plan()), ["resume", ID]);
    fs::remove_dir(scene.path("app")).unwrap();
    assert_eq!(args(scene.plan()), ["resume", "-C", ".", ID]);
    let mut binding = scene.binding("codex", ID);
    binding.working_dir = None;
    scene.repo.save_session(&task(), &binding).unwrap();
    assert_eq!(args(scene.plan()), ["resume", ID]);
}

/// Codex would go on from before the revert.
#[test]
fn a_revert_of_which_a_file_is_missing_is_older_than_the_kept_one() {
    let scene = Scene::new("codex", ID);
    let path = scene.rollout(ID, &header(ID, ""));
    for id in [ID.to_owned(), format!("{ID}_{PARENT}")] {
        let name = format!("sessions/2026/09/18/rollout-2026-09-18T07-12-44-{id}.jsonl");
        let name = RecordingName::new(name).unwrap();
        let bytes = header(ID, "");
        let saved = scene
            .repo
            .save_recording(&task(), &name, 0, bytes.as_bytes());
        saved.unwrap();
    }
    assert_eq!(scene.plan().recording, RecordingState::Older { path });
    scene.rollout(&format!("{ID}_{PARENT}"), &header(ID, ""));
    assert_eq!(scene.plan().recording.as_str(), "present");
}

#[test]
fn an_unknown_agent_has_no_command() {
    let scene = Scene::new("gemini", "1");
    let backend = "gemini".parse().unwrap();
    assert_eq!(scene.refusal(), Refusal::UnknownAgent { backend });
    assert_eq!(scene.plan().home, None);
}

#[test]
fn codex_goes_on_by_the_id() {
    let scene = Scene::new("codex", ID);
    let path = scene.rollout(ID, &header(ID, ""));
    let plan = scene.plan();
    assert_eq!(plan.recording, RecordingState::Present { path });
    assert_eq!(plan.command().unwrap().args, ["resume", ID]);
    let headless = plan.headless("-x").unwrap().args;
    let skip = "--skip-git-repo-check";
    assert_eq!(headless, ["exec", "resume", skip, "--", ID, "-x"]);

    scene.file("app/.git/HEAD", "");
    let headless = scene.plan().headless("Go on").unwrap().args;
    assert_eq!(headless, ["exec", "resume", "--", ID, "Go on"]);
    let reason = "`-` makes Codex read standard input";
    let refused = scene.plan().headless("-").unwrap_err();
    assert_eq!(refused, Refusal::Prompt { reason });
}

#[test]
fn an_archived_thread_of_codex_is_refused() {
    let archived = Refusal::Archived { thread: ID.into() };
    let scene = Scene::new("codex", ID);
    let name = format!("rollout-2026-09-18T07-12-44-{ID}.jsonl");
    scene.file(&format!(".codex/archived_sessions/{name}"), header(ID, ""));
    assert_eq!(scene.refusal(), archived);
    let path = scene.rollout(ID, &header(ID, ""));
    assert!(scene.plan().command().is_ok());
    scene.row(path.to_str().unwrap(), "openai", "1");
    assert_eq!(scene.refusal(), archived);
    fs::remove_dir_all(scene.path(".codex/archived_sessions")).unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!(scene.refusal(), Refusal::Lost, "only the row is left");
}

#[test]
fn codex_looks_only_where_its_database_says() {
    let scene = Scene::new("codex", ID);
    scene.row("/moved/rollout.jsonl", "openai", "NULL");
    assert_eq!(scene.refusal(), Refusal::Lost);
    scene.rollout(ID, &header(ID, ""));
    let stale = Refusal::StaleRow {
        database: scene.path(".codex/state_5.sqlite"),
        path: "/moved/rollout.jsonl".into(),
    };
    assert_eq!(scene.refusal(), stale);
    assert!(scene.plan().needs_restore(), "a restore corrects the row");
}

#[test]
fn a_database_of_codex_that_can_not_be_read_is_noted() {
    let scene = Scene::new("codex", ID);
    scene.rollout(ID, &header(ID, ""));
    scene.file(".codex/state_5.sqlite", "no database");
    let plan = scene.plan();
    assert!(matches!(plan.notes[..], [Note::DatabaseUnread { .. }]));
    assert!(plan.command().is_ok());
}

#[test]
fn a_rollout_needs_a_header_of_its_own_thread() {
    let scene = Scene::new("codex", ID);
    for content in [
        String::new(),
        "no JSON\n".to_owned(),
        format!("{{\"id\":\"{ID}\",\"timestamp\":\"x\"}}\n"),
        header(ID, "").replace("session_meta", "response_item"),
        header(ID, "").replace("originator", "other"),
        header(ID, "").replace("cli_version", "other"),
    ] {
        let path = scene.rollout(ID, &content);
        assert_eq!(scene.refusal(), Refusal::Damaged { path }, "{content}");
    }
    let path = scene.rollout(ID, &header(PARENT, ""));
    assert_eq!(scene.refusal(), Refusal::OtherSession { path });
}

/// A restore would write the same file again.
#[test]
fn what_its_agent_does_not_read_is_no_source_of_a_restore() {
    let bare = format!("{{\"id\":\"{ID}\",\"timestamp\":\"x\"}}\n");
    let prompt = "{\"type\":\"queue-operation\",\"timestamp\":\"x\"}\n";
    let rollout = format!("sessions/2026/09/18/rollout-2026-09-18T07-12-44-{ID}.jsonl");
    let transcript = format!("projects/-any/{ID}.jsonl");
    for (backend, name, content) in [("codex", &rollout, &*bare), ("claude", &transcript, prompt)] {
        for is_there in [true, false] {
            let scene = Scene::new(backend, ID);
            let file = RecordingName::new(name.as_str()).unwrap();
            let saved = scene
                .repo
                .save_recording(&task(), &file, 0, content.as_bytes());
            saved.unwrap();
            match (is_there, backend) {
                (false, _) => {}
                (true, "codex") => drop(scene.rollout(ID, content)),
                (true, _) => drop(scene.transcript("app", content)),
            }
            assert!(!scene.plan().needs_restore(), "{backend} {is_there}");
            scene.repo.save_message(&task(), Role::User, "Hi").unwrap();
            let plan = scene.plan();
            assert_eq!(plan.restorable, Some(RestoreSource::Words));
            assert!(plan.needs_restore(), "{backend} {is_there}");
            scene.restore();
            assert!(scene.plan().command().is_ok(), "{backend} {is_there}");
        }
    }
    // What only the disk has is not replaced.
    let scene = Scene::new("codex", ID);
    scene.rollout(ID, &bare);
    scene.repo.save_message(&task(), Role::User, "Hi").unwrap();
    assert!(!scene.plan().needs_restore());
}

#[test]
fn a_fork_needs_its_parents() {
    let base =
        |id| format!(",\"history_base\":{{\"thread_id\":\"{id}\",\"end_ordinal_exclusive\":2}}");
    let scene = Scene::new("codex", ID);
    let path = scene.rollout(ID, &header(ID, &base(PARENT)));
    let missing = Refusal::MissingParent {
        path,
        parent: PARENT.into(),
    };
    assert_eq!(scene.refusal(), missing);
    scene.repo.save_message(&task(), Role::User, "Hi").unwrap();
    assert!(!scene.plan().needs_restore(), "words do not replace it");
    let name = format!("rollout-2026-09-18T07-12-44-{PARENT}.jsonl");
    let parent = scene.file(
        &format!(".codex/archived_sessions/{name}"),
        header(PARENT, ""),
    );
    assert!(scene.plan().command().is_ok());
    // A circle.
    fs::write(&parent, header(PARENT, &base(ID))).unwrap();
    assert!(scene.plan().command().is_ok());
    let grandparent = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    fs::write(&parent, header(PARENT, &base(grandparent))).unwrap();
    assert!(
        matches!(scene.refusal(), Refusal::MissingParent { parent, .. } if parent == grandparent)
    );
}

#[test]
fn codex_is_told_the_provider_of_the_session() {
    let scene = Scene::new("codex", ID);
    let config = |text: &str| scene.file(".codex/config.toml", text);
    let args = || scene.plan().command().unwrap().args;
    let recorded = |provider| header(ID, &format!(",\"model_provider\":\"{provider}\""));
    let named = |provider| ["resume", "-c", provider, ID];

    scene.rollout(ID, &recorded("openai"));
    assert_eq!(args(), ["resume", ID]);
    config("model_provider = \"mine\"\n[model_providers.mine]\nname = \"x\"\n");
    assert_eq!(args(), named("model_provider=\"openai\""));
    let provider = "openai".to_owned();
    assert_eq!(scene.plan().notes, [Note::ModelProvider { provider }]);
    scene.rollout(ID, &recorded("mine"));
    assert_eq!(args(), ["resume", ID]);

    // The settings of the last turn win over the header, and the row over both.
    let changed = format!(
        "{}{}{}",
        recorded("mine"),
        settings("x"),
        settings("ollama")
    );
    let path = scene.rollout(ID, &changed);
    assert_eq!(args(), named("model_provider=\"ollama\""));
    scene.row(path.to_str().unwrap(), "mine", "NULL");
    assert_eq!(args(), ["resume", ID]);
}

#[test]
fn a_provider_that_is_gone_or_a_broken_configuration_is_refused() {
    let scene = Scene::new("codex", ID);
    scene.rollout(ID, &header(ID, ",\"model_provider\":\"gone\""));
    let config = scene.path(".codex/config.toml");
    let unknown = Refusal::UnknownProvider {
        provider: "gone".into(),
        config: config.clone(),
    };
    assert_eq!(scene.refusal(), unknown);
    fs::write(&config, "[broken").unwrap();
    assert_eq!(scene.refusal(), Refusal::InvalidConfig { path: config });
}

#[test]
fn a_compressed_rollout_is_found() {
    let scene = Scene::new("codex", ID);
    let path = scene.rollout(ID, "");
    let compressed = PathBuf::from(format!("{}.zst", path.display()));
    fs::rename(&path, &compressed).unwrap();
    let found = scene.plan().recording;
    assert_eq!(found, RecordingState::Present { path: compressed });
    assert_eq!(scene.plan().command().unwrap().args, ["resume", ID]);
    // Codex may have compressed it since it wrote the row.
    scene.row(path.to_str().unwrap(), "openai", "NULL");
    assert!(scene.plan().command().is_ok());
}

#[test]
fn goose_goes_on_with_a_session_of_its_database() {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};

    let scene = Scene::new("goose", "20261005_1");
    let legacy = scene.file("goose/sessions/20261005_1.jsonl", "");
    assert_eq!(
        scene.plan().recording,
        RecordingState::Present { path: legacy }
    );
    let path = scene.path("goose/sessions/sessions.db");
    let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    database
        .batch_execute("CREATE TABLE sessions (id TEXT); CREATE TABLE messages (session_id TEXT)")
        .unwrap();
    // Goose has taken the old files over when it made the database.
    assert_eq!(scene.refusal(), Refusal::Lost);
    for (id, option) in [("20261005_1", "20261005_1"), ("-x", "--session-id=-x")] {
        let insert = format!("INSERT INTO sessions VALUES ('{id}')");
        database.batch_execute(&insert).unwrap();
        let binding = scene.binding("goose", id);
        scene.repo.save_session(&task(), &binding).unwrap();
        let plan = scene.plan();
        assert_eq!(
            plan.recording,
            RecordingState::Present { path: path.clone() }
        );
        let args = plan.command().unwrap().args;
        assert_eq!(args[..2], ["session", "--resume"]);
        assert_eq!(args.last().unwrap(), option);
        let args = plan.headless("Go on").unwrap().args;
        assert_eq!(args[..2], ["run", "--resume"]);
        assert_eq!(args[args.len() - 2..], ["--text", "Go on"]);
        let args = plan.headless("-x is wrong").unwrap().args;
        assert_eq!(args.last().unwrap(), "--text=-x is wrong");
    }
    fs::write(&path, "no database").unwrap();
    assert!(matches!(scene.refusal(), Refusal::Unreadable { .. }));
}

#[test]
fn another_home_is_looked_at_and_named() {
    let scene = Scene::new("claude", ID);
    scene.transcript("app", SAID);
    let mut binding = scene.binding("claude", ID);
    let bound = scene.path("bound");
    binding.config_dir = Some(ConfigDir::try_from(&*bound).unwrap());
    scene.repo.save_session(&task(), &binding).unwrap();
    assert_eq!(scene.refusal(), Refusal::Lost);
    let given = scene.path(".claude");
    let relocation = Relocation {
        home: Some(given.clone()),
        ..Relocation::default()
    };
    let command = scene.plan_at(&relocation).command().unwrap();
    let variable = ("CLAUDE_CONFIG_DIR", given.to_str().unwrap().to_owned());
    assert_eq!(command.env, Some(variable));
}

#[test]
fn a_control_character_in_id_or_folder_is_refused() {
    for control in ['\n', '\r', '\t', '\x1b', '\x03', '\x7f', '\u{9b}'] {
        let text = format!("a{control}b");
        let reason = "has a control character";
        let refused = |field| Refusal::Unprintable { field, reason };
        let scene = Scene::new("goose", &text);
        assert_eq!(scene.refusal(), refused("session id"));
        let mut binding = scene.binding("goose", "1");
        binding.working_dir = Some(WorkingDir::new(&*text).unwrap());
        scene.repo.save_session(&task(), &binding).unwrap();
        assert_eq!(scene.refusal(), refused("working folder"));
        let mut binding = scene.binding("goose", "1");
        binding.config_dir = Some(ConfigDir::new(&*text).unwrap());
        scene.repo.save_session(&task(), &binding).unwrap();
        assert_eq!(scene.refusal(), refused("config folder"));
    }
}

#[test]
fn a_prompt_must_fit_into_an_argument() {
    let scene = Scene::new("claude", ID);
    scene.transcript("app", SAID);
    let plan = scene.plan();
    let long = "x".repeat(128 * 1024);
    for prompt in ["", " \n", "a\0b", &long] {
        let refused = plan.headless(prompt).unwrap_err();
        assert!(matches!(refused, Refusal::Prompt { .. }), "{refused}");
    }
    assert!(plan.headless(&long[1..]).is_ok());
    let said = plan.headless("It's \"so\"\n$(x)").unwrap();
    let shell = said.shell_line();
    let words = shlex::split(shell.split_once("&& ").unwrap().1).unwrap();
    assert_eq!(words[1..], said.args);
}

#[test]
fn a_task_without_a_session_is_an_error() {
    let scene = Scene::new("claude", ID);
    let homes = AgentHomes::new("/a", "/b", "/c");
    let of = |task: &str| {
        let task = task.parse().unwrap();
        let plan = resume_plan(&scene.repo, &task, &homes, &Relocation::default());
        plan.unwrap_err().to_string()
    };
    assert!(of("none").contains("none"));
    scene
        .repo
        .save_task(&NewTask::new("bare".parse().unwrap(), "Bare"))
        .unwrap();
    assert!(of("bare").contains("bare"));
}
