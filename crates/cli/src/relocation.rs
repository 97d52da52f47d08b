//! The options that say where a session goes on this machine.

use std::path::{Path, PathBuf};
use std::{env, io};

use clap::Args;
use turnkeep_agents::Relocation;

use crate::failure::{Kind, Problem};

/// Names folders of a session anew.
#[derive(Debug, Args)]
pub(crate) struct RelocationArgs {
    /// Use this folder with the agent's sessions: `CLAUDE_CONFIG_DIR`, `CODEX_HOME` or `GOOSE_PATH_ROOT`
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Start the agent in this folder; `OLD=NEW` for all folders below one; may be repeated
    ///
    /// The environment variable `TURNKEEP_FOLDERS` does the same for every command: `OLD=NEW` once or several times,
    /// with `:` between them (`;` on Windows).
    #[arg(long = "folder", value_name = "NEW|OLD=NEW", value_parser = Folder::parse, allow_hyphen_values = true)]
    folders: Vec<Folder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Folder {
    WorkingDir(PathBuf),
    Prefix(String, PathBuf),
}

impl Folder {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if !text.contains('=') {
            return Ok(Self::WorkingDir(text.into()));
        }
        // Either name may have a `=` in it.
        let mut splits = text.match_indices('=').map(|(at, _)| text.split_at(at));
        let split = splits.find(|(old, new)| !old.is_empty() && Path::new(&new[1..]).is_absolute());
        match split {
            Some((old, new)) => Ok(Self::Prefix(old.to_owned(), new[1..].into())),
            None => Err("the new folder is not an absolute path".to_owned()),
        }
    }
}

impl RelocationArgs {
    /// Returns the folders of the options, followed by the ones of the environment.
    pub(crate) fn relocation(&self) -> anyhow::Result<Relocation> {
        let absolute = |path: &PathBuf| -> io::Result<PathBuf> { std::path::absolute(path) };
        let mut relocation = Relocation::default();
        relocation.home = self.home.as_ref().map(absolute).transpose()?;
        for folder in &self.folders {
            match folder {
                Folder::WorkingDir(new) => {
                    let new = absolute(new)?;
                    if relocation.working_dir.replace(new).is_some() {
                        let message = "`--folder NEW` may be given once";
                        return Err(Problem::new(Kind::USAGE, message).into());
                    }
                }
                Folder::Prefix(old, new) => relocation.prefixes.push((old.clone(), new.clone())),
            }
        }
        let variable = env::var_os("TURNKEEP_FOLDERS").unwrap_or_default();
        for folder in env::split_paths(&variable).filter(|it| !it.as_os_str().is_empty()) {
            match folder.to_str().map(Folder::parse) {
                Some(Ok(Folder::Prefix(old, new))) => relocation.prefixes.push((old, new)),
                _ => {
                    let folder = folder.display();
                    let message = format!("TURNKEEP_FOLDERS has `{folder}`, which is not OLD=NEW");
                    return Err(Problem::new(Kind::USAGE, message).into());
                }
            }
        }
        Ok(relocation)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_new_or_has_a_new_name() {
        let prefix = |old: &str, new: &str| Ok(Folder::Prefix(old.into(), new.into()));
        assert_eq!(Folder::parse("work"), Ok(Folder::WorkingDir("work".into())));
        assert_eq!(Folder::parse("/a=/b"), prefix("/a", "/b"));
        assert_eq!(Folder::parse("/a=1=/b=2"), prefix("/a=1", "/b=2"));
        assert_eq!(Folder::parse(r"C:\a=/b"), prefix(r"C:\a", "/b"));
        for text in ["", "=/b", "/a=b", "/a="] {
            assert!(Folder::parse(text).is_err(), "{text}");
        }
    }
}
