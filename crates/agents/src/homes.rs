use std::path::PathBuf;

/// The homes of the agents, the folders that hold their sessions. They need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentHomes {
    /// The folder with `projects/`: `~/.claude`, or `CLAUDE_CONFIG_DIR`.
    pub claude: PathBuf,
    /// The folder with `sessions/`: `~/.codex`, or `CODEX_HOME`.
    pub codex: PathBuf,
    /// The folder with `sessions/`: `~/.local/share/goose`, `XDG_DATA_HOME/goose`, or `GOOSE_PATH_ROOT/data`.
    pub goose: PathBuf,
}

impl AgentHomes {
    /// Names the homes of Claude Code, Codex and Goose.
    pub fn new(
        claude: impl Into<PathBuf>,
        codex: impl Into<PathBuf>,
        goose: impl Into<PathBuf>,
    ) -> Self {
        Self {
            claude: claude.into(),
            codex: codex.into(),
            goose: goose.into(),
        }
    }
}
