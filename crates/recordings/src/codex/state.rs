//! The database in which Codex looks up threads before it looks for their files.

use std::fs;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use crate::error::Error;
use crate::goose::open_database;

/// The row of a thread in the database of a Codex home.
///
/// The row wins over the files: Codex 0.171 does not find a rollout that lies elsewhere than the row says, and
/// refuses one that the row calls archived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodexThread {
    /// The database.
    pub database: PathBuf,
    /// The path of the rollout, which is absolute.
    pub rollout_path: PathBuf,
    /// Whether the user has archived the thread: the row has a time for it. Codex does not look at `archived`.
    pub is_archived: bool,
    /// The id of the model provider. `None` if the row has none.
    pub model_provider: Option<String>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Binary>)]
    rollout_path: Option<Vec<u8>>,
    #[diesel(sql_type = Bool)]
    is_archived: bool,
    #[diesel(sql_type = Nullable<Binary>)]
    model_provider: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Returns the row of a thread in the newest database `state_<number>.sqlite` of a Codex home. `None` if there is
/// no database, or no such row.
///
/// Nothing is written into the home, nor beside the database.
///
/// # Errors
/// [`Error::Io`], [`Error::NotAFile`], [`Error::OpenDatabase`], [`Error::Database`], [`Error::Busy`],
/// [`Error::NoTables`], [`Error::TooLarge`], [`Error::Temporary`] if the database can't be read.
///
/// ```
/// let home = tempfile::tempdir()?;
/// let thread = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
/// assert_eq!(turnkeep_recordings::codex_thread(home.path(), thread)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn codex_thread(home: &Path, thread: &str) -> Result<Option<CodexThread>, Error> {
    let Some(database) = newest(home)? else {
        return Ok(None);
    };
    let mut opened = open_database(&database)?;
    let row = row(&mut opened.connection, &database, thread)?;
    Ok(row.and_then(|row| {
        Some(CodexThread {
            rollout_path: PathBuf::from(text(row.rollout_path?)?),
            is_archived: row.is_archived,
            model_provider: row.model_provider.and_then(text),
            database,
        })
    }))
}

/// Returns the database with the highest number. A new version of Codex begins one with the next number.
fn newest(home: &Path) -> Result<Option<PathBuf>, Error> {
    let entries = match fs::read_dir(home).map_err(Error::io(home)) {
        Ok(entries) => entries,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let numbered = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("state_")?;
        let number: u32 = number.strip_suffix(".sqlite")?.parse().ok()?;
        Some((number, entry.path()))
    });
    Ok(numbered.max().map(|(_, path)| path))
}

fn row(
    connection: &mut SqliteConnection,
    database: &Path,
    thread: &str,
) -> Result<Option<Row>, Error> {
    let mut count = |query: &str| {
        let counted = sql_query(query).get_result::<Count>(connection);
        let counted = counted.map_err(Error::database(database));
        counted.map(|counted| counted.count)
    };
    let named = count("SELECT count(*) AS count FROM sqlite_schema WHERE name = 'threads'")?;
    if named == 0 {
        return Ok(None);
    }
    // A view or a generated column may never end.
    let real = count(
        "SELECT count(*) AS count FROM sqlite_schema
         WHERE name = 'threads' AND type = 'table' AND rootpage > 0",
    )?;
    let generated =
        count("SELECT count(*) AS count FROM pragma_table_xinfo('threads') WHERE hidden > 1")?;
    if real != 1 || generated > 0 {
        let path = database.to_owned();
        return Err(Error::NoTables { path });
    }
    sql_query(
        "SELECT iif(octet_length(rollout_path) <= 8192, CAST(rollout_path AS BLOB), NULL)
                AS rollout_path,
            archived_at IS NOT NULL AS is_archived,
            iif(octet_length(model_provider) <= 8192, CAST(model_provider AS BLOB), NULL)
                AS model_provider
         FROM threads WHERE id = ? LIMIT 1",
    )
    .bind::<Text, _>(thread)
    .get_result::<Row>(connection)
    .optional()
    .map_err(Error::database(database))
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;

    use super::*;

    const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

    fn home(databases: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (name, sql) in databases {
            let path = home.path().join(name);
            let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
            connection.batch_execute(sql).unwrap();
        }
        home
    }

    const TABLE: &str = "CREATE TABLE threads (id TEXT PRIMARY KEY, rollout_path TEXT NOT NULL,
        model_provider TEXT NOT NULL, archived INTEGER NOT NULL DEFAULT 0, archived_at INTEGER);";

    #[test]
    fn the_row_of_the_newest_database_counts() {
        let row = |path| {
            format!("{TABLE} INSERT INTO threads VALUES ('{THREAD}', '{path}', 'openai', 0, 1)")
        };
        let home = home(&[
            ("state_9.sqlite", &row("/old")),
            ("state_10.sqlite", &row("/new")),
        ]);
        let found = codex_thread(home.path(), THREAD).unwrap().unwrap();
        assert_eq!(found.rollout_path, Path::new("/new"));
        assert_eq!(found.model_provider.as_deref(), Some("openai"));
        assert!(found.is_archived);
        assert_eq!(codex_thread(home.path(), "other").unwrap(), None);
        let mut names: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["state_10.sqlite", "state_9.sqlite"]);
    }

    #[test]
    fn a_home_without_the_table_has_no_rows() {
        assert_eq!(codex_thread(Path::new("/nowhere"), THREAD).unwrap(), None);
        let home = home(&[("state_5.sqlite", "CREATE TABLE other (x)")]);
        assert_eq!(codex_thread(home.path(), THREAD).unwrap(), None);
    }

    #[test]
    fn a_hostile_database_is_an_error() {
        let endless =
            "CREATE VIEW threads AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id FROM n)
            SELECT id, 'x' AS rollout_path, 0 AS archived, 'x' AS model_provider FROM n;";
        let generated =
            "CREATE TABLE threads (id TEXT AS (hex(zeroblob(1e8))), rollout_path TEXT);";
        for sql in [endless, generated] {
            let home = home(&[("state_5.sqlite", sql)]);
            let error = codex_thread(home.path(), THREAD).unwrap_err();
            assert!(matches!(error, Error::NoTables { .. }), "{error}");
        }
        let home = home(&[]);
        fs::write(home.path().join("state_5.sqlite"), "no database").unwrap();
        assert!(codex_thread(home.path(), THREAD).is_err());
    }
}
