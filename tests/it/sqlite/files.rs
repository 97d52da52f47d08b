//! How a path selects a file, and which files the store refuses to open.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Error, ErrorKind, Repo, Role};

use super::{Opened, TempStore};
use crate::sql::Sql as _;
use crate::sqlite::temp_store::listing;
use crate::support::*;

fn works(path: &Path) -> anyhow::Result<()> {
    let repo = Opened::open_at(path)?;
    let task = save_task(&repo, "t")?;
    repo.save_message(&task, Role::User, "here")?;
    drop(repo);
    assert_eq!(contents(&Opened::open_at(path)?, &task)?, ["here"]);
    Ok(())
}

#[test]
fn a_path_with_special_characters_names_one_file() -> anyhow::Result<()> {
    let names = [
        "plain.db",
        "with space.db",
        "q?mode=memory",
        "h#ash",
        "p%41ercent",
        "a&b=c",
        "file:x.db",
        ":memory:",
        "sqlite:x",
        "semi;colon",
        "quote'\"`",
        "new\nline",
        "ü中👍",
        "-dash",
        "~tilde",
        "$HOME",
        "*",
        "[x]",
        "back\\slash",
        "no-extension",
        ".hidden",
        "..dots",
        "trailing ",
        "x-wal.db",
        "-wal-",
        "CON",
        "a:b",
        "{}",
    ];
    let store = TempStore::new()?;
    for (number, name) in names.iter().enumerate() {
        let folder = store.folder().join(number.to_string());
        fs::create_dir(&folder)?;
        works(&folder.join(name))?;
        assert_eq!(listing(&folder)?, [folder.join(name)], "only that file");
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_path_need_not_be_unicode() -> anyhow::Result<()> {
    use std::os::unix::ffi::OsStrExt;

    let store = TempStore::new()?;
    let folder = store
        .folder()
        .join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    let path = folder.join(std::ffi::OsStr::from_bytes(b"st\x80re"));
    works(&path)?;
    assert_eq!(listing(&folder)?, [path]);
    Ok(())
}

#[test]
fn relative_paths_and_links_lead_to_the_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    works(&store.path())?;
    let odd = store.folder().join("./sub/../store.db");
    fs::create_dir(store.folder().join("sub"))?;
    assert_eq!(Opened::open_at(&odd)?.get_tasks()?.len(), 1);

    #[cfg(unix)]
    {
        let link = store.folder().join("sub/link.db");
        std::os::unix::fs::symlink(store.path(), &link)?;
        let (by_link, by_name) = (Opened::open_at(&link)?, store.open()?);
        let task = save_task(&by_link, "linked")?;
        by_link.save_message(&task, Role::User, "1")?;
        by_name.save_message(&task, Role::User, "2")?;
        assert_eq!(contents(&by_link, &task)?, ["1", "2"]);
        drop((by_link, by_name));

        let dangling = store.folder().join("dangling.db");
        std::os::unix::fs::symlink(store.folder().join("nowhere.db"), &dangling)?;
        assert!(matches!(
            Opened::open_at(&dangling).unwrap_err().kind(),
            ErrorKind::Io
        ));
        assert!(!store.folder().join("nowhere.db").exists());
    }
    Ok(())
}

#[test]
fn a_path_without_a_file_name_is_refused() -> anyhow::Result<()> {
    for path in [
        "",
        ".",
        "..",
        "/",
        "folder/",
        "file:x.db",
        ":memory:",
        "mysql://u:pw@host/db",
    ] {
        let error = Opened::open_at(path).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { field: "path", .. }),
            "{path:?}: {error:?}"
        );
        assert!(!format!("{error:?} {error}").contains("pw"));
    }
    Ok(())
}

/// A PostgreSQL address is never opened as a file, even in a build without PostgreSQL.
#[test]
#[cfg(not(feature = "postgres"))]
fn an_address_is_never_a_path() {
    for address in ["postgres://u:pw@host/db", "postgresql://u:pw@host/db"] {
        let error = Opened::open_at(address).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unsupported { .. }),
            "{error:?}"
        );
        assert!(!format!("{error:?} {error}").contains("pw"));
    }
}

/// Opens `path`, expects an error, and checks that no file around it changed.
fn refused(path: &Path) -> anyhow::Result<Error> {
    let folder = path.parent().expect("a parent");
    let names = listing(folder)?;
    let bytes =
        |names: &[PathBuf]| -> Vec<_> { names.iter().map(|name| fs::read(name).ok()).collect() };
    let before = bytes(&names);
    let error = Opened::open_at(path).expect_err("must be refused");
    assert_eq!(listing(folder)?, names, "the folder did not change");
    assert!(bytes(&names) == before, "the files did not change");
    Ok(error)
}

#[test]
fn a_file_that_is_not_a_database_is_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    fs::create_dir(store.path())?;
    let error = refused(&store.path())?;
    assert!(
        matches!(
            error.kind(),
            ErrorKind::NotAStore {
                reason: "is a folder"
            }
        ),
        "{error:?}"
    );

    for junk in [
        &b"x"[..],
        b"\0",
        b"hello, this is a text file and no database at all\n",
        &[0; 4096],
        &[0xff; 10_000],
        b"SQLite format 2\0",
        b"{\"json\": true}",
    ] {
        let store = TempStore::new()?;
        fs::write(store.path(), junk)?;
        let error = refused(&store.path())?;
        assert!(
            matches!(error.kind(), ErrorKind::NotAStore { .. }),
            "{junk:?}: {error:?}"
        );
    }

    #[cfg(unix)]
    {
        let store = TempStore::new()?;
        assert!(Command::new("mkfifo").arg(store.path()).status()?.success());
        let error = Opened::open_at(store.path()).unwrap_err();
        assert!(matches!(
            error.kind(),
            ErrorKind::NotAStore {
                reason: "is no regular file"
            }
        ));
        assert!(matches!(
            Opened::open_at("/dev/null").unwrap_err().kind(),
            ErrorKind::NotAStore { .. }
        ));
    }
    Ok(())
}

#[test]
fn a_truncated_store_is_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for _ in 0..20 {
        repo.save_message(&task, Role::User, &"x".repeat(3_000))?;
    }
    drop(repo);
    let whole = fs::read(store.path())?;
    for length in [
        17,
        100,
        1_000,
        4_095,
        4_096,
        10_000,
        whole.len() / 2,
        whole.len() - 4_096,
    ] {
        fs::write(store.path(), &whole[..length])?;
        let error = refused(&store.path())?;
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Corrupt | ErrorKind::NotAStore { .. }
            ),
            "{length}: {error:?}"
        );
    }
    Ok(())
}

/// SQLite reads the missing end of the last page as zeros, so a store that was cut short would
/// return NUL characters and accept more turns.
#[test]
fn a_store_that_ends_within_a_page_is_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, &"x".repeat(20_000))?;
    drop(repo);
    // A backup is in rollback mode. SQLite reads no schema from a file that is shorter than its
    // header says.
    let backup = store.folder().join("backup.db");
    Repo::open(store.path())?.backup(&backup)?;
    let whole = fs::read(store.path())?;
    for whole in [&whole, &fs::read(&backup)?] {
        for bytes in [
            &whole[..whole.len() - 300],
            &whole[..whole.len() - 4_096 * 2 - 300],
            &[whole, &[0; 300][..]].concat(),
        ] {
            fs::write(store.path(), bytes)?;
            let error = refused(&store.path())?;
            assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
        }
    }
    fs::write(store.path(), whole)?;
    assert_eq!(contents(&store.open()?, &task)?, ["x".repeat(20_000)]);
    Ok(())
}

/// A power loss during a checkpoint may tear the last page. The log still has it.
#[test]
fn a_torn_last_page_is_read_from_the_log() -> anyhow::Result<()> {
    let live = TempStore::new()?;
    let (repo, task) = open_with_task(&live, "t")?;
    repo.save_message(&task, Role::User, &"x".repeat(20_000))?;
    live.execute("PRAGMA wal_checkpoint(PASSIVE)")?;
    let crashed = crashed_copy(&live)?;
    let whole = fs::read(crashed.path())?;
    let torn = &whole[..whole.len() - 300];
    fs::write(crashed.path(), torn)?;
    assert_eq!(contents(&crashed.open()?, &task)?, ["x".repeat(20_000)]);

    // The restarted log does not contain the torn page.
    live.execute("PRAGMA wal_checkpoint(RESTART)")?;
    save_task(&repo, "another")?;
    let crashed = crashed_copy(&live)?;
    assert!(fs::read(crashed.path())? == whole, "the task is in the log");
    fs::write(crashed.path(), torn)?;
    assert!(matches!(
        refused_with_log(&crashed)?.kind(),
        ErrorKind::Corrupt
    ));
    Ok(())
}

#[test]
fn a_log_without_its_database_is_kept() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    fs::write(
        store.folder().join("store.db-wal"),
        b"the only copy of something",
    )?;
    let error = refused(&store.path())?;
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    fs::write(store.path(), b"")?;
    let error = refused(&store.path())?;
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    Ok(())
}

#[test]
fn another_programs_database_is_refused() -> anyhow::Result<()> {
    for setup in [
        "CREATE TABLE tasks (id INTEGER)",
        "CREATE TABLE sessions (id TEXT); PRAGMA journal_mode = WAL; INSERT INTO sessions VALUES ('x')",
        "PRAGMA application_id = 1; PRAGMA user_version = 3",
        "PRAGMA user_version = 7",
        "CREATE VIEW theirs AS SELECT 1",
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP); \
         INSERT INTO __diesel_schema_migrations VALUES ('20200101000000', ''); CREATE TABLE theirs (x)",
    ] {
        let store = TempStore::new()?;
        store.execute(setup)?;
        let error = refused(&store.path())?;
        assert!(
            matches!(error.kind(), ErrorKind::NotAStore { .. }),
            "{setup}: {error:?}"
        );
        assert!(error.to_string().contains("is another program's database"));
    }
    Ok(())
}

/// The WAL of a crashed program contains its data. A checkpoint would change the file, so the store
/// is refused without opening it.
#[test]
fn another_programs_log_is_not_checkpointed() -> anyhow::Result<()> {
    let live = TempStore::new()?;
    let mut conn = live.raw()?;
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; CREATE TABLE sessions (id TEXT); \
         PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO sessions VALUES ('only in the log')",
    )?;
    let crashed = crashed_copy(&live)?;
    let error = refused(&crashed.path())?;
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { .. }),
        "{error:?}"
    );
    drop(conn);
    Ok(())
}

/// Copies a database and its log while `conn` has them open, like after a crash.
fn crashed_copy(live: &TempStore) -> anyhow::Result<TempStore> {
    let crashed = TempStore::new()?;
    for name in ["store.db", "store.db-wal"] {
        fs::copy(live.folder().join(name), crashed.folder().join(name))?;
    }
    Ok(crashed)
}

/// Opens the store, expects an error, and checks that file and log did not change. Opening may
/// create the shared memory, which holds no data.
fn refused_with_log(store: &TempStore) -> anyhow::Result<Error> {
    let read = || -> anyhow::Result<_> {
        let log = store.folder().join("store.db-wal");
        Ok((fs::read(store.path())?, fs::read(log)?))
    };
    let before = read()?;
    let error = Opened::open_at(store.path()).expect_err("must be refused");
    assert!(read()? == before, "file and log did not change");
    Ok(error)
}

#[test]
fn a_crashed_log_is_not_checkpointed_before_the_file_is_verified() -> anyhow::Result<()> {
    // A file that is no database, with a log that is no log.
    let junk = TempStore::new()?;
    fs::write(
        junk.path(),
        "no database at all, but long enough to be one".repeat(200),
    )?;
    fs::write(junk.folder().join("store.db-wal"), "no log either")?;
    assert!(matches!(
        refused_with_log(&junk)?.kind(),
        ErrorKind::NotAStore { .. }
    ));

    // Another program's tables that only the log contains.
    let live = TempStore::new()?;
    let mut conn = live.raw()?;
    conn.batch_execute("PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)")?;
    let crashed = crashed_copy(&live)?;
    assert!(matches!(
        refused_with_log(&crashed)?.kind(),
        ErrorKind::NotAStore { .. }
    ));

    // A newer program's migration that only the log contains.
    let live = TempStore::new()?;
    let _repo = live.open()?;
    live.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")?;
    let crashed = crashed_copy(&live)?;
    assert!(matches!(
        refused_with_log(&crashed)?.kind(),
        ErrorKind::SchemaTooNew { .. }
    ));

    // Half a store, and a log without the missing pages.
    let live = TempStore::new()?;
    let (repo, task) = open_with_task(&live, "t")?;
    for _ in 0..20 {
        repo.save_message(&task, Role::User, &"x".repeat(3_000))?;
    }
    live.execute("PRAGMA wal_checkpoint(RESTART)")?;
    repo.save_message(&task, Role::User, "in the log")?;
    let crashed = crashed_copy(&live)?;
    let whole = fs::read(crashed.path())?;
    fs::write(crashed.path(), &whole[..whole.len() / 2])?;
    assert!(matches!(
        refused_with_log(&crashed)?.kind(),
        ErrorKind::Corrupt
    ));
    fs::write(crashed.path(), &whole)?;
    assert_eq!(
        contents(&Opened::open_at(crashed.path())?, &task)?.len(),
        21,
        "whole with its log"
    );
    Ok(())
}

/// A killed transaction in rollback mode leaves a hot journal. Opening the store rolls the
/// transaction back.
#[test]
fn a_hot_journal_is_rolled_back() -> anyhow::Result<()> {
    let live = TempStore::new()?;
    let (repo, task) = open_with_task(&live, "t")?;
    for _ in 0..200 {
        repo.save_message(&task, Role::User, &"x".repeat(1_000))?;
    }
    drop(repo);
    live.execute("PRAGMA journal_mode = DELETE")?;
    let mut conn = live.raw()?;
    // A small cache spills pages into the file before the commit.
    conn.batch_execute(
        "PRAGMA cache_size = 2; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; \
         UPDATE tasks SET prompt = hex(zeroblob(200000)); DROP VIEW tasks_readable; \
         CREATE TABLE half AS SELECT * FROM conversation_history",
    )?;
    let crashed = TempStore::new()?;
    for name in ["store.db", "store.db-journal"] {
        fs::copy(live.folder().join(name), crashed.folder().join(name))?;
    }
    assert!(fs::metadata(crashed.folder().join("store.db-journal"))?.len() > 512);
    let repo = crashed.open()?;
    assert_eq!(contents(&repo, &task)?.len(), 200);
    assert_eq!(repo.get_task(&task)?.prompt, "");
    Ok(())
}

/// Switching an empty file to WAL mode takes a transaction in rollback mode. A power loss soon
/// after may bring its journal back beside the log.
#[test]
fn a_journal_beside_a_log_is_rolled_back() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    store.execute("PRAGMA journal_mode = WAL")?;
    fs::write(store.folder().join("store.db-wal"), [0; 32])?;
    // The journal of an empty file: the magic number, no saved pages, sectors of 512 bytes and
    // pages of 4,096.
    let mut journal = [0; 512];
    journal[..8].copy_from_slice(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7");
    journal[22] = 2;
    journal[26] = 16;
    fs::write(store.folder().join("store.db-journal"), journal)?;
    works(&store.path())?;
    assert_eq!(listing(store.folder())?, [store.path()]);
    Ok(())
}

#[test]
fn a_reverted_store_with_statistics_counts_as_empty() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    store.execute("ANALYZE")?;
    diesel_migrations::MigrationHarness::revert_all_migrations(
        &mut store.raw()?,
        turnkeep_schema::SQLITE_MIGRATIONS,
    )
    .map_err(|error| anyhow::anyhow!(error))?;
    works(&store.path())
}

#[test]
fn a_newer_schema_keeps_its_journal_mode() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(store.open()?);
    store.execute("PRAGMA journal_mode = DELETE")?;
    store.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")?;
    assert!(matches!(
        refused(&store.path())?.kind(),
        ErrorKind::SchemaTooNew { .. }
    ));
    Ok(())
}

#[test]
fn a_path_too_long_for_sqlite_is_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let longest = "n".repeat(247);
    works(&store.folder().join(&longest))?;
    let too_long = format!("{longest}n");
    let deep: PathBuf = std::iter::repeat_n("d".repeat(100), 5).collect();
    for path in [
        store.folder().join(too_long),
        store.folder().join(deep).join("s.db"),
    ] {
        let error = Opened::open_at(&path).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { field: "path", .. }),
            "{error:?}"
        );
    }
    assert_eq!(
        listing(store.folder())?,
        [store.folder().join(&longest)],
        "no file was created"
    );
    Ok(())
}

#[test]
fn an_address_with_a_password_is_never_shown() {
    let builder = Repo::builder("postgres://user:secret@host/db");
    assert!(!format!("{builder:?}").contains("secret"));
    let error = builder.open().unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"));
}

/// When the last handle is dropped, all data is in the one file, even right after concurrent reads.
#[test]
fn a_dropped_store_can_be_moved_at_once() -> anyhow::Result<()> {
    for round in 0..30 {
        let store = TempStore::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        repo.save_message(&task, Role::User, "acknowledged")?;
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| repo.get_history(&task).unwrap());
            }
        });
        drop(repo);
        let moved = store.folder().join("moved.db");
        fs::rename(store.path(), &moved)?;
        assert_eq!(
            listing(store.folder())?,
            std::slice::from_ref(&moved),
            "round {round}"
        );
        assert_eq!(
            contents(&Opened::open_at(&moved)?, &task)?,
            ["acknowledged"],
            "round {round}"
        );
    }
    Ok(())
}

#[test]
fn a_newer_schema_is_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(store.open()?);
    store.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")?;
    let error = refused(&store.path())?;
    assert!(
        matches!(error.kind(), ErrorKind::SchemaTooNew { version, .. } if version == "99990101000000"),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .ends_with("which is newer than this program")
    );
    Ok(())
}

#[test]
fn a_missing_store_is_created_only_with_create_if_missing() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let look = || store.open_with(Options::new().create_if_missing(false));
    let error = look().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::StoreNotFound),
        "{error:?}"
    );
    assert!(listing(store.folder())?.is_empty());
    works(&store.path())?;
    assert_eq!(look()?.get_tasks()?.len(), 1);
    Ok(())
}

#[test]
fn an_empty_file_becomes_a_store_only_with_create_if_missing() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    fs::write(store.path(), b"")?;
    let look = || store.open_with(Options::new().create_if_missing(false));
    let error = look().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { reason: "is empty" }),
        "{error:?}"
    );
    assert_eq!(listing(store.folder())?, [store.path()]);
    assert_eq!(fs::metadata(store.path())?.len(), 0);
    works(&store.path())?;
    assert_eq!(look()?.get_tasks()?.len(), 1);
    Ok(())
}

#[test]
fn a_database_without_tables_becomes_a_store_only_with_create_if_missing() -> anyhow::Result<()> {
    for mode in ["DELETE", "WAL"] {
        let store = TempStore::new()?;
        store.execute(&format!("PRAGMA journal_mode = {mode}; VACUUM"))?;
        let bytes = fs::read(store.path())?;
        assert!(!bytes.is_empty());
        let error = store
            .open_with(Options::new().create_if_missing(false))
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::StoreNotFound),
            "{error:?}"
        );
        assert!(fs::read(store.path())? == bytes);
        assert_eq!(listing(store.folder())?, [store.path()]);
        works(&store.path())?;
    }
    Ok(())
}

/// Returns the command of a worker with read permission only. Root ignores permissions, so as root the worker runs as
/// `nobody`. The build folder may be closed to other users, so they run a copy in the folder of `shared`.
#[cfg(target_os = "linux")]
fn reader(
    store: &TempStore,
    shared: &TempStore,
) -> anyhow::Result<impl Fn(&[&str]) -> Command + use<>> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let is_root = fs::metadata(store.folder())?.uid() == 0;
    fs::set_permissions(shared.folder(), fs::Permissions::from_mode(0o755))?;
    let worker = shared.folder().join("worker");
    let original = store.worker();
    fs::copy(original.get_program(), &worker)?;
    let own_args: Vec<_> = original.get_args().map(ToOwned::to_owned).collect();
    Ok(move |args: &[&str]| {
        let mut command = Command::new(if is_root {
            Path::new("setpriv")
        } else {
            &worker
        });
        if is_root {
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&worker);
        }
        command.env("RUST_BACKTRACE", "0");
        command.args(&own_args).args(args);
        command
    })
}

/// A viewer that can't write gets the turns of a writer as they come.
#[test]
#[cfg(target_os = "linux")]
fn a_read_only_store_can_be_followed() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let (store, shared) = (TempStore::new()?, TempStore::new()?);
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "a")?;
    let command = reader(&store, &shared)?;
    let files = listing(store.folder())?;
    assert_eq!(files.len(), 3, "with a log: {files:?}");
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o444))?;
    }
    fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o555))?;
    let mut follower = Worker::spawn(&mut command(&["follow", "t", "3"]))?;
    assert_eq!(follower.line()?.as_deref(), Some("1 a"));
    for line in ["2 b", "3 c"] {
        repo.save_message(&task, Role::User, &line[2..])?;
        assert_eq!(follower.line()?.as_deref(), Some(line));
    }
    assert!(follower.finish()?.is_empty());
    fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Opens the store as a user with read permission only.
#[test]
#[cfg(target_os = "linux")]
fn a_read_only_store_can_be_read() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "kept")?;
    drop(repo);
    let shared = TempStore::new()?;
    let command = reader(&store, &shared)?;
    let work = |args: &[&str]| -> anyhow::Result<(String, String)> {
        let output = command(args).stdin(std::process::Stdio::null()).output()?;
        let [said, told] = [output.stdout, output.stderr].map(String::from_utf8);
        Ok((said?, told?))
    };
    let read_only = "can't be written, the store, its file or its folder is read-only";
    let history = || work(&["history", "t"]);
    let is_read_only = |turns: &str| -> anyhow::Result<()> {
        let before = listing(store.folder())?;
        for _ in 0..2 {
            assert_eq!(history()?, (turns.into(), String::new()));
            assert_eq!(work(&["view", "t"])?, (turns.into(), String::new()));
            let (said, told) = work(&["append", "t", "w", "1"])?;
            assert!(said.is_empty() && told.contains(read_only), "{said}{told}");
        }
        assert_eq!(listing(store.folder())?, before, "nothing is left behind");
        Ok(())
    };
    for (file, folder) in [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)] {
        mode(&store.path(), file)?;
        mode(store.folder(), folder)?;
        is_read_only("kept\n")?;
        let (checks, told) = work(&["check"])?;
        let mut names: Vec<_> = checks.lines().collect();
        assert!(names.contains(&"rows"), "{checks}{told}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checks.lines().count(), "each once: {checks}");
    }
    let mut reader = Worker::spawn(&mut command(&["history-later", "t"]))?;
    assert_eq!(reader.line()?.as_deref(), Some("open"));
    mode(&store.path(), 0o666)?;
    mode(store.folder(), 0o777)?;
    assert_eq!(work(&["append", "t", "w", "1"])?.0, "ack 2 w-1\n");
    // The read-only handle takes no locks, so it refuses a file that has changed.
    reader.go();
    assert_eq!(reader.line()?, None);

    // The log of a killed process.
    let mut killed = Worker::start(&store, &["append", "t", "x", "0"])?;
    killed.line()?;
    killed.kill()?;
    let files = listing(store.folder())?;
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        mode(file, 0o444)?;
    }
    mode(store.folder(), 0o555)?;
    let (said, told) = history()?;
    assert!(said.starts_with("kept\nw-1\nx-1\n"), "{said}{told}");
    is_read_only(&said)?;
    // The log can't be read without shared memory, which a read-only user can't create.
    mode(store.folder(), 0o755)?;
    fs::remove_file(store.folder().join("store.db-shm"))?;
    mode(store.folder(), 0o555)?;
    let (refused, told) = history()?;
    assert!(
        refused.is_empty() && told.contains(read_only),
        "{refused}{told}"
    );
    mode(store.folder(), 0o777)?;
    for file in &listing(store.folder())? {
        mode(file, 0o666)?;
    }
    assert_eq!(history()?, (said, String::new()));
    Ok(())
}

#[test]
fn a_file_in_the_place_of_a_folder_is_an_error() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    fs::write(store.folder().join("file"), b"x")?;
    let error = Opened::open_at(store.folder().join("file/store.db")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
    assert_eq!(fs::read(store.folder().join("file"))?, b"x");
    Ok(())
}

/// Sixteen processes open the same missing path at once. Each creates the folders that are missing.
#[test]
fn sixteen_processes_create_one_store_at_once() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let path = store.folder().join("new/folder/store.db");
    let mut workers = (0..16)
        .map(|_| Worker::spawn(Opened::worker(&path).arg("open")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    workers.iter_mut().for_each(Worker::go);
    for worker in workers {
        assert_eq!(worker.finish()?, ["opened"]);
    }
    assert!(Opened::open_at(&path)?.get_tasks()?.is_empty());
    Ok(())
}

/// The store creates private files and folders under every umask, and keeps the mode of an existing
/// folder.
#[test]
#[cfg(unix)]
fn files_are_private_under_every_umask() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| -> anyhow::Result<u32> {
        Ok(fs::metadata(path)?.permissions().mode() & 0o777)
    };
    let store = TempStore::new()?;
    fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o755))?;
    let path = store.folder().join("a/b/store.db");
    let under_umask = |umask: &str, path: &Path, args: &[&str]| {
        let mut command = in_shell(&format!("umask {umask}"), &Opened::worker(path));
        Worker::spawn(command.args(args))
    };
    under_umask("000", &path, &["open"])?.finish()?;
    assert_eq!(mode(store.folder())?, 0o755);
    assert_eq!(mode(&store.folder().join("a"))?, 0o700);
    assert_eq!(mode(&store.folder().join("a/b"))?, 0o700);
    assert_eq!(mode(&path)?, 0o600);

    save_task(&Opened::open_at(&path)?, "t")?;
    let mut writer = under_umask("000", &path, &["append", "t", "w", "0"])?;
    writer.line()?;
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&path.with_file_name(name))?, 0o600, "{name}");
    }
    writer.kill()?;

    let closed = store.folder().join("closed.db");
    under_umask("277", &closed, &["open"])?.finish()?;
    assert_eq!(mode(&closed)?, 0o600);
    let closed = store.folder().join("c/d/closed.db");
    under_umask("777", &closed, &["open"])?.finish()?;
    assert_eq!(mode(&closed)?, 0o600);
    assert_eq!(mode(&store.folder().join("c"))?, 0o700);
    assert_eq!(mode(&store.folder().join("c/d"))?, 0o700);
    Ok(())
}

#[test]
fn zero_readers_are_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let error = Opened::open_with(Repo::builder(store.path()).readers(0)).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::InvalidInput {
            field: "readers",
            ..
        }
    ));
    assert!(!store.path().exists());
    Ok(())
}
