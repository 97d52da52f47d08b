use std::path::PathBuf;

use turnkeep_repo::{BackendType, Session, WorkingDir};

use crate::AgentHomes;

/// The folders of a session on this machine, where the binding has others: it was recorded on another
/// machine, or its folders have moved.
///
/// ```
/// use std::path::Path;
/// use turnkeep_agents::Relocation;
///
/// let mut relocation = Relocation::default();
/// relocation.prefixes = vec![("/home/anna".into(), "/home/ben".into())];
/// assert_eq!(relocation.map("/home/anna/app"), Path::new("/home/ben/app"));
/// assert_eq!(relocation.map("/home/annabel"), Path::new("/home/annabel"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relocation {
    /// The agent's home, as the agent's variable names it (`CLAUDE_CONFIG_DIR`, `CODEX_HOME`, `GOOSE_PATH_ROOT`),
    /// instead of the one of the binding.
    pub home: Option<PathBuf>,
    /// The working folder, instead of the one of the binding.
    pub working_dir: Option<PathBuf>,
    /// Folders with their new names. A folder below one of them moves with it; of several that contain it the
    /// longest counts.
    pub prefixes: Vec<(String, PathBuf)>,
}

impl Relocation {
    /// Returns a folder with its new name, or as it is.
    #[must_use]
    pub fn map(&self, folder: &str) -> PathBuf {
        let separators = separators(folder);
        let inside = self.prefixes.iter().filter_map(|(old, new)| {
            let old = old.trim_end_matches(separators);
            let rest = folder.strip_prefix(old)?;
            let is_inside = rest.is_empty() || rest.starts_with(separators);
            is_inside.then_some((old.len(), new, rest))
        });
        match inside.max_by_key(|(length, ..)| *length) {
            Some((_, new, rest)) => {
                let names = rest.split(separators).filter(|name| !name.is_empty());
                new.iter().chain(names.map(AsRef::as_ref)).collect()
            }
            None => PathBuf::from(folder),
        }
    }

    /// Returns the folder in which the agent is to be started. `None` if it is not known.
    #[must_use]
    pub fn working_dir_of(&self, session: &Session) -> Option<PathBuf> {
        let bound = || session.working_dir.as_ref().map(WorkingDir::as_str);
        let given = self.working_dir.clone();
        given.or_else(|| bound().map(|folder| self.map(folder)))
    }

    /// Returns the folder for the agent's variable, `None` if the agent is to use its usual one.
    #[must_use]
    pub fn config_dir_of(&self, session: &Session) -> Option<PathBuf> {
        let bound = || session.config_dir.as_ref().map(|folder| folder.as_str());
        let given = self.home.clone();
        given.or_else(|| bound().map(|folder| self.map(folder)))
    }

    /// Returns the home with the session. `None` for an agent of which no home is known.
    #[must_use]
    pub fn home_of(&self, session: &Session, homes: &AgentHomes) -> Option<PathBuf> {
        let given = self.config_dir_of(session);
        match session.backend_type {
            BackendType::Claude => given.or_else(|| Some(homes.claude.clone())),
            BackendType::Codex => given.or_else(|| Some(homes.codex.clone())),
            BackendType::Goose => {
                let data = given.map(|root| root.join("data"));
                data.or_else(|| Some(homes.goose.clone()))
            }
            _ => None,
        }
    }
}

/// Returns the separators in a path. One of Windows begins with a drive or two backslashes; elsewhere a backslash is a
/// character of a name.
fn separators(path: &str) -> &'static [char] {
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    match is_drive || path.starts_with("\\\\") {
        true => &['/', '\\'],
        false => &['/'],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use turnkeep_repo::chrono::DateTime;
    use turnkeep_repo::{ConfigDir, NewSession};

    use super::*;

    fn session(backend: BackendType) -> Session {
        let binding = NewSession::new(backend, "1".parse().unwrap())
            .working_dir(WorkingDir::new("/home/anna/app").unwrap())
            .config_dir(ConfigDir::new("/srv/agents").unwrap());
        let time = DateTime::UNIX_EPOCH;
        Session::new("t".parse().unwrap(), binding, time, time)
    }

    fn homes() -> AgentHomes {
        AgentHomes::new("/h/.claude", "/h/.codex", "/h/goose")
    }

    fn of(prefixes: &[(&str, &str)]) -> Relocation {
        let prefixes = prefixes.iter();
        Relocation {
            prefixes: prefixes
                .map(|(old, new)| ((*old).into(), new.into()))
                .collect(),
            ..Relocation::default()
        }
    }

    #[test]
    fn the_longest_prefix_of_whole_names_counts() {
        let relocation = of(&[("/a", "/x"), ("/a/b/", "/y"), ("/a/b/c", "/z")]);
        for (old, new) in [
            ("/a", "/x"),
            ("/a/", "/x"),
            ("/a/bc", "/x/bc"),
            ("/a/b/d", "/y/d"),
            ("/a/b/c", "/z"),
            ("/ab", "/ab"),
            (r"/a/b/c\d", r"/y/c\d"),
        ] {
            assert_eq!(relocation.map(old), Path::new(new), "{old}");
        }
        let windows = of(&[(r"C:\Users\anna", "/home/anna")]);
        assert_eq!(
            windows.map(r"C:\Users\anna\src\app"),
            Path::new("/home/anna/src/app")
        );
        assert_eq!(
            of(&[("/", "/mnt")]).map("/srv/app"),
            Path::new("/mnt/srv/app")
        );
    }

    #[test]
    fn the_folders_of_a_binding_move() {
        let relocation = of(&[("/home/anna", "/home/ben"), ("/srv", "/data")]);
        let session = session(BackendType::Goose);
        let moved = relocation.working_dir_of(&session);
        assert_eq!(moved.unwrap(), Path::new("/home/ben/app"));
        let home = relocation.home_of(&session, &homes());
        assert_eq!(home.unwrap(), Path::new("/data/agents/data"));
    }

    #[test]
    fn a_given_folder_counts_more_than_the_binding() {
        let relocation = Relocation {
            home: Some("/new".into()),
            working_dir: Some("/app".into()),
            ..of(&[("/", "/mnt")])
        };
        let session = session(BackendType::Codex);
        assert_eq!(
            relocation.working_dir_of(&session).unwrap(),
            Path::new("/app")
        );
        let home = relocation.home_of(&session, &homes());
        assert_eq!(home.unwrap(), Path::new("/new"));
    }

    #[test]
    fn a_binding_without_a_home_has_the_usual_one() {
        for (backend, home) in [
            (BackendType::Claude, Some("/h/.claude")),
            (BackendType::Codex, Some("/h/.codex")),
            (BackendType::Goose, Some("/h/goose")),
            ("gemini".parse().unwrap(), None),
        ] {
            let mut session = session(backend);
            session.config_dir = None;
            let of = Relocation::default().home_of(&session, &homes());
            assert_eq!(of, home.map(PathBuf::from));
        }
    }
}
