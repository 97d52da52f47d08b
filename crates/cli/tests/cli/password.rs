//! No output shows a password, and no address becomes the name of a file.

use std::process::Command;

use crate::support::{Sandbox, run};

/// The password. No other part of an output contains it.
const SECRET: &str = "s3cret";

/// Notations of an address with a password, valid and invalid. No server listens on port 1.
const ADDRESSES: [&str; 54] = [
    // Valid for libpq.
    "postgres://u:s3cret@127.0.0.1:1/db",
    "postgresql://u:s3cret@127.0.0.1:1/db",
    "postgres://:s3cret@127.0.0.1:1",
    "postgres://u:a%20s3cret@127.0.0.1:1,127.0.0.1:1/db",
    "postgres://u@127.0.0.1:1/db?password=s3cret",
    "postgres://127.0.0.1:1/db?user=u&sslpassword=s3cret",
    "postgres://u:s3cret@[::1]:1/db?connect_timeout=x",
    "postgres:///db?host=/nowhere&port=1&user=u&password=s3cret",
    // With another meaning for libpq, or invalid.
    "postgres://u:s3cret",
    "postgres://u:s3cret/db",
    "postgres://u:s3@cret@127.0.0.1:1/db",
    "postgres://u:s3cret#@127.0.0.1:1/s3cret#",
    "postgres://u:100%s3cret@127.0.0.1:1/db",
    "postgres://u:my s3cret@127.0.0.1:1/db",
    "postgres://u:x/s3cret@127.0.0.1:1/db",
    "postgres://u%3As3cret%40127.0.0.1/db",
    "postgres://127.0.0.1:s3cret/db",
    "postgres://[u:s3cret]/db",
    "postgres://127.0.0.1:1/db&password=s3cret",
    "postgres://127.0.0.1:1/db;password=s3cret",
    "postgres://127.0.0.1:1/db?u:s3cret@h",
    "postgres://127.0.0.1:1/db?u:s3cret@h=x",
    "postgres://127.0.0.1:1/db?port=s3cret",
    "postgres://127.0.0.1:1/db?dbname=password%3Ds3cret",
    "postgres://127.0.0.1:1/db password=s3cret",
    // Other notations.
    "POSTGRES://u:s3cret@127.0.0.1:1/db",
    " postgres://u:s3cret@127.0.0.1:1/db",
    "\tpostgres://u:s3cret@127.0.0.1:1/db",
    "\"postgres://u:s3cret@127.0.0.1:1/db\"",
    "'postgres://u:s3cret@127.0.0.1:1/db'",
    "<postgres://u:s3cret@127.0.0.1:1/db>",
    "postgres:/u:s3cret@127.0.0.1/db",
    "postgres:u:s3cret@127.0.0.1/db",
    "postgres: u:s3cret",
    "postgresql:/u:s3cret@127.0.0.1",
    "postgres ://u:s3cret@127.0.0.1",
    "postgresql+psycopg2://u:s3cret@127.0.0.1/db",
    "jdbc:postgresql://127.0.0.1/db?user=u&password=s3cret",
    "jdbc:postgresql:db?user=u&pass=s3cret",
    "DATABASE_URL=postgres://u:s3cret@127.0.0.1/db",
    "postgres%3A%2F%2Fu%3As3cret%40127.0.0.1%2Fdb",
    "./postgres://u:s3cret@127.0.0.1/db",
    "host=127.0.0.1 user=u password=s3cret",
    "password=s3cret",
    "host=127.0.0.1 PASSWORD = 's3cret'",
    "Host=127.0.0.1;Username=u;Password=s3cret",
    "dbname=db password%3Ds3cret",
    "Server=127.0.0.1;Uid=u;Pwd=s3cret;",
    "user=u pass=s3cret",
    "mysql://u:s3cret@127.0.0.1/db",
    "mysql:/u:s3cret@127.0.0.1/db",
    "redis://:s3cret@127.0.0.1",
    "//u:s3cret@127.0.0.1/db",
    "u:s3cret@127.0.0.1:1/db",
];

/// All commands with an argument that is an address, or may be one by mistake.
fn commands(sandbox: &Sandbox, address: &str) -> Vec<Command> {
    let turnkeep = |args: &[&str]| sandbox.turnkeep(args);
    let mut by_variable = turnkeep(&["task", "add", "t"]);
    by_variable.env("TURNKEEP_DB", address);
    vec![
        by_variable,
        turnkeep(&["task", "add", "t", "--json", &format!("--db={address}")]),
        turnkeep(&["task", "list", "--db", address]),
        turnkeep(&["check", "--db", address]),
        turnkeep(&["copy", "--from", "store.db", "--to", address]),
        turnkeep(&["copy", "--from", address, "--to", "other.db"]),
        turnkeep(&["backup", address]),
        turnkeep(&["backup", "restore", address]),
        turnkeep(&["export", address]),
        turnkeep(&["import", address]),
        turnkeep(&["task", "show", address]),
        turnkeep(&["task", &format!("--dd={address}")]),
        turnkeep(&[address]),
    ]
}

#[test]
fn no_notation_of_an_address_shows_its_password_or_creates_a_file() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let mut found = Vec::new();
    for address in ADDRESSES {
        for mut command in commands(&sandbox, address) {
            let shown = run(&mut command);
            let fails = shown.code != Some(0);
            let tells =
                format!("{shown:?}").contains(SECRET) || format!("{shown:?}").contains("@cret");
            let args = command.get_args().map(|arg| arg.to_string_lossy());
            let args: Vec<_> = args.collect();
            if !fails || tells {
                found.push(format!("{args:?}: {shown:?}"));
            }
            let files = std::fs::read_dir(sandbox.path("")).unwrap();
            for file in files.map(|file| file.unwrap().path()) {
                if !file
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("store.db")
                {
                    found.push(format!("{args:?} made {}", file.display()));
                    let _ = std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir_all(&file));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}: {}", found.len(), found.join("\n"));
}
