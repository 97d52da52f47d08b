//! The machine and the user, as the environment tells them. Libraries never read it.

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::Context;
use turnkeep_agents::{AgentHomes, ImportOptions, Origin};
use turnkeep_repo::{BackendType, Session};

/// Returns the homes of the agents: those in the variables that the agents read, else the usual ones.
pub(crate) fn agent_homes() -> anyhow::Result<AgentHomes> {
    homes(folder)
}

/// Returns the circumstances of an import. A binding names each home that a variable chooses: a later resume may
/// run in another environment.
pub(crate) fn import_options() -> anyhow::Result<ImportOptions> {
    let of_the_system = |variable: &str| OF_THE_SYSTEM.contains(&variable);
    let usual = homes(|variable| folder(variable).filter(|_| of_the_system(variable)))?;
    Ok(ImportOptions::new(host_name(), usual))
}

/// Returns the home of a session that an import on this machine has bound without one: the usual home, whatever the
/// agent's variable says now. `None` if the variable is not set, or the binding was made otherwise.
pub(crate) fn bound_home(session: &Session) -> anyhow::Result<Option<PathBuf>> {
    let origin = Origin::of(session.metadata.as_ref());
    let is_from_here = origin.is_some_and(|origin| origin.host == host_name());
    if session.config_dir.is_some() || !is_from_here {
        return Ok(None);
    }
    let usual = import_options()?.homes;
    Ok(match session.backend_type {
        BackendType::Claude => folder("CLAUDE_CONFIG_DIR").map(|_| usual.claude),
        BackendType::Codex => folder("CODEX_HOME").map(|_| usual.codex),
        // Its variable can't name the usual home.
        _ => None,
    })
}

/// Variables that are not the agents' own.
const OF_THE_SYSTEM: [&str; 2] = ["APPDATA", "XDG_DATA_HOME"];

fn homes(folder: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Result<AgentHomes> {
    let home = etcetera::home_dir().context("cannot tell where your home folder is")?;
    let goose = folder("GOOSE_PATH_ROOT").map(|root| root.join("data"));
    Ok(AgentHomes::new(
        folder("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.join(".claude")),
        folder("CODEX_HOME").unwrap_or_else(|| home.join(".codex")),
        goose.unwrap_or_else(|| match cfg!(windows) {
            true => folder("APPDATA")
                .unwrap_or_else(|| home.join("AppData/Roaming"))
                .join("Block/goose/data"),
            false => folder("XDG_DATA_HOME")
                .unwrap_or_else(|| home.join(".local/share"))
                .join("goose"),
        }),
    ))
}

/// An empty variable counts as missing.
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = env::var_os(variable).filter(|folder| !folder.is_empty());
    folder.map(PathBuf::from)
}

/// Returns the path of a program in PATH, `None` if there is none.
#[cfg(unix)]
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(is_program)
}

/// Returns the path of a program in PATH, `None` if there is none.
#[cfg(not(unix))]
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let paths = env::split_paths(&path).map(|folder| folder.join(format!("{name}.exe")));
    { paths }.find(|path| path.is_file())
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = env::var("COMPUTERNAME").unwrap_or_default();
    name
}

/// Returns the user's home folder.
pub(crate) fn home() -> Option<String> {
    etcetera::home_dir()
        .ok()?
        .into_os_string()
        .into_string()
        .ok()
}

/// Writes `~` for the user's home folder.
pub(crate) fn with_tilde(folder: &str) -> String {
    // A list asks for each of its rows.
    static HOME: LazyLock<Option<String>> = LazyLock::new(home);
    match HOME.as_ref().and_then(|home| folder.strip_prefix(home)) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '\\']) => format!("~{rest}"),
        _ => folder.to_owned(),
    }
}
