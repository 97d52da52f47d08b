"""The real programs: where they are, how they are set up, called and asked for their recordings."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anthropic_api
import openai_api

KEY = "dummy-key-of-the-tests-0123456789"


class Claude:
    """Claude Code."""

    backend = "claude"
    package = "@anthropic-ai/claude-code"
    api = anthropic_api.Handler
    config_name = ".claude"
    config_variable = "CLAUDE_CONFIG_DIR"
    #: The terminal shows this when it takes prompts.
    ready = "❯"
    #: Options of every call by name, so also of those by turnkeep.
    options = ""
    #: Options for events on the standard output.
    events = ["--output-format", "stream-json", "--verbose"]
    unrecorded = ["--no-session-persistence"]
    hooks = {"hooks": {event: [{"hooks": [{"type": "command", "command": "turnkeep hook claude"}]}]
                       for event in ("SessionStart", "UserPromptSubmit", "Stop", "SessionEnd")}}

    def __init__(self, path):
        self.path = path
        self.name = "claude " + version(path).split()[0]

    @staticmethod
    def executable(modules):
        """Some versions of npm don't run the script that links the program of the platform's package."""
        return next(modules.glob("@anthropic-ai/claude-code-*/claude"), modules / ".bin/claude")

    def set_up(self, config, url, folders, settings=None):
        """A configuration folder as after the questions of the first start."""
        config.mkdir(parents=True, exist_ok=True)
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        state = {"hasCompletedOnboarding": True, "bypassPermissionsModeAccepted": True, "theme": "dark",
                 "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
                 "projects": {str(folder): trusted for folder in folders}}
        (config / ".claude.json").write_text(json.dumps(state))
        (config / "settings.json").write_text(json.dumps(settings or {}))

    def env(self, url):
        return {
            "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_MAX_RETRIES": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1"}

    def command(self, prompt, session=None, fork=False, options=()):
        resume = ["--resume", session] if session else []
        if fork:
            resume.append("--fork-session")
        return [self.path, "-p", prompt, *self.events, "--allowedTools", "Bash", *resume, *options]

    def terminal_command(self):
        return [self.path, "--allowedTools", "Bash"]

    @staticmethod
    def session_of(event):
        return event.get("session_id")

    @staticmethod
    def recordings(config):
        return sorted(config.glob("projects/*/*.jsonl"))


class Codex:
    """OpenAI's codex."""

    backend = "codex"
    package = "@openai/codex"
    api = openai_api.Handler
    config_name = ".codex"
    config_variable = "CODEX_HOME"
    ready = "gpt-5.1-codex"
    #: The background server would outlive the scenario.
    options = "--no-daemon"
    events = ["--json"]
    unrecorded = ["--ephemeral"]
    hooks = 'notify = ["turnkeep", "hook", "codex"]'

    def __init__(self, path):
        self.path = path
        self.name = "codex " + version(path).split()[-1]

    @staticmethod
    def executable(modules):
        return modules / ".bin/codex"

    def set_up(self, config, url, folders, settings=""):
        config.mkdir(parents=True, exist_ok=True)
        trusted = "".join(f'[projects."{folder}"]\ntrust_level = "trusted"\n' for folder in folders)
        (config / "config.toml").write_text(f"""\
model = "gpt-5.1-codex"
model_provider = "mock"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{settings}
[model_providers.mock]
name = "mock"
base_url = "{url}/v1"
env_key = "MOCK_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1

[analytics]
enabled = false

{trusted}""")

    def env(self, url):
        return {"MOCK_KEY": KEY}

    def command(self, prompt, session=None, fork=False, options=()):
        resume = ["fork" if fork else "resume", session] if session else []
        return [self.path, "exec", "--skip-git-repo-check", *self.events, *options, *resume, prompt]

    def terminal_command(self):
        return [self.path, self.options]

    @staticmethod
    def session_of(event):
        return event.get("thread_id")

    @staticmethod
    def recordings(config):
        return sorted(config.glob("sessions/**/rollout-*"))


def version(path):
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def install(kind, wanted, folder):
    """Returns the program of a version, which npm installs below `folder`, or of a path."""
    if "/" in wanted:
        return kind(Path(wanted).resolve())
    if not shutil.which("npm"):
        sys.exit(f"npm is not installed: name installed programs in TURNKEEP_AGENTS_{kind.backend.upper()}")
    place = folder / f"{kind.backend}-{wanted}"
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", place,
                    f"{kind.package}@{wanted}"], check=True)
    return kind(kind.executable(place / "node_modules"))


def installed(folder):
    """All programs that TURNKEEP_AGENTS_CLAUDE and TURNKEEP_AGENTS_CODEX name."""
    return [
        install(kind, wanted, folder)
        for kind, default in ((Claude, "2.1.197,latest"), (Codex, "latest"))
        for wanted in os.environ.get(f"TURNKEEP_AGENTS_{kind.backend.upper()}", default).split(",")
        if wanted]
