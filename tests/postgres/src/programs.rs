//! Finds the programs of PostgreSQL.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, anyhow};

use crate::URL_VARIABLE;

/// The oldest supported version.
const OLDEST: u32 = 15;

/// The programs needed to start a server.
const OF_A_SERVER: [&str; 4] = ["postgres", "initdb", "pg_basebackup", "psql"];

/// Folders with one folder per version, and the path below it.
const PER_VERSION: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"), // /usr/pgsql-15/bin
    ("/usr/local", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

/// Returns the folder with the programs of a server of version 15 or later.
pub(crate) fn of_a_server() -> anyhow::Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        newest_enough(candidates(), version_of).map_err(|too_old| missing_server(&too_old))
    });
    found.as_deref().map_err(|message| anyhow!("{message}"))
}

/// Returns the client, which is enough for a server that already runs.
pub(crate) fn psql() -> anyhow::Result<PathBuf> {
    // PATH may contain Debian's wrapper, which takes three times as long to start.
    let beside_a_server = of_a_server().ok().map(|folder| folder.join("psql"));
    beside_a_server
        .or_else(|| first_with(candidates(), "psql"))
        .context(
            "psql is not installed; install the client of PostgreSQL \
             (`apt-get install postgresql-client` or `brew install libpq`)",
        )
}

pub(crate) fn pgbouncer() -> anyhow::Result<PathBuf> {
    let mut folders = candidates();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    first_with(folders, "pgbouncer").context(
        "pgbouncer is not installed; install it \
         (`apt-get install pgbouncer` or `brew install pgbouncer`)",
    )
}

fn missing_server(too_old: &[PathBuf]) -> String {
    let mut message = format!(
        "no PostgreSQL server of version {OLDEST} or later is installed; install one \
         (`apt-get install postgresql` or `brew install postgresql`), or set {URL_VARIABLE} \
         to the postgres:// address of a running one"
    );
    for folder in too_old {
        message += &format!("; too old: {}", folder.display());
    }
    message
}

/// Returns the first folder whose server is not too old, or else the folders that are.
fn newest_enough(
    folders: Vec<PathBuf>,
    version_of: impl Fn(&Path) -> Option<u32>,
) -> Result<PathBuf, Vec<PathBuf>> {
    let mut too_old = Vec::new();
    for folder in folders {
        if !OF_A_SERVER.iter().all(|name| folder.join(name).is_file()) {
            continue;
        }
        match version_of(&folder) {
            Some(version) if version >= OLDEST => return Ok(folder),
            _ => too_old.push(folder),
        }
    }
    Err(too_old)
}

fn first_with(folders: Vec<PathBuf>, program: &str) -> Option<PathBuf> {
    folders
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Returns folders that may contain the programs, in order of preference.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(
        output_of(Command::new("pg_config").arg("--bindir")).map(|text| text.trim().into()),
    );
    for (parent, below) in PER_VERSION {
        folders.extend(versions_in(Path::new(parent), below));
    }
    folders.push("/opt/homebrew/bin".into());
    folders
}

/// Returns the subfolders named after a version of PostgreSQL, newest first.
fn versions_in(parent: &Path, below: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = version_in_name(entry.file_name().to_str()?)?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// `15`, `pgsql-15` and `postgresql@15` are folders of version 15. `postgresql` alone is one of
/// Homebrew's, without a version.
fn version_in_name(name: &str) -> Option<u32> {
    if name == "postgresql" {
        return Some(0);
    }
    ["pgsql-", "postgresql@", "postgresql-", ""]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix)?.parse().ok())
}

fn version_of(folder: &Path) -> Option<u32> {
    version_in_text(&output_of(
        Command::new(folder.join("postgres")).arg("--version"),
    )?)
}

/// Returns the first number of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `…
/// 19devel`.
fn version_in_text(text: &str) -> Option<u32> {
    let version = text.split_whitespace().nth(2)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn with(&self, folder: &str, programs: &[&str]) -> PathBuf {
            let path = self.0.join(folder);
            std::fs::create_dir_all(&path).unwrap();
            for program in programs {
                std::fs::write(path.join(program), "").unwrap();
            }
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_first_folder_with_a_whole_new_server_is_taken() {
        let folder = Folder::new("turnkeep-programs");
        let only_client = folder.with("client", &["psql"]);
        let old = folder.with("14", &OF_A_SERVER);
        let new = folder.with("16", &OF_A_SERVER);
        let newer = folder.with("17", &OF_A_SERVER);
        let version_of = |folder: &Path| folder.file_name()?.to_str()?.parse().ok();

        let all = vec![only_client.clone(), old.clone(), new.clone(), newer];
        assert_eq!(newest_enough(all, version_of), Ok(new));
        let lacking = vec![only_client.clone(), old.clone()];
        assert_eq!(
            newest_enough(lacking.clone(), version_of),
            Err(vec![old.clone()])
        );
        assert_eq!(
            first_with(lacking.clone(), "psql"),
            Some(only_client.join("psql"))
        );
        assert_eq!(
            first_with(lacking.clone(), "initdb"),
            Some(old.join("initdb"))
        );
        assert_eq!(first_with(lacking, "pgbouncer"), None);
    }

    #[test]
    fn newer_versions_come_first() {
        let folder = Folder::new("turnkeep-versions");
        for name in ["9.6", "15", "pgsql-9", "postgresql@17", "16", "share"] {
            folder.with(&format!("{name}/bin"), &[]);
        }
        let found = versions_in(&folder.0, "bin");
        let expected =
            ["postgresql@17", "16", "15", "pgsql-9"].map(|name| folder.0.join(name).join("bin"));
        assert_eq!(found, expected);
        assert!(versions_in(&folder.0.join("none"), "bin").is_empty());
    }

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(version_in_text(debian), Some(15));
        assert_eq!(version_in_text("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(version_in_text("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(version_in_text("sh: not found"), None);
        assert_eq!(version_in_text(""), None);
    }

    #[test]
    fn what_is_missing_says_what_to_install() {
        let message = missing_server(&["/usr/lib/postgresql/14/bin".into()]);
        for part in [
            "apt-get install postgresql",
            "brew install postgresql",
            URL_VARIABLE,
            "too old: /usr/lib/postgresql/14/bin",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
