//! Whether the text that names a store means a file or a server.

use std::path::Path;

use percent_encoding::percent_decode_str;

/// Returns whether the text is the address of a PostgreSQL server.
pub(crate) fn is_server(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    text.starts_with(b"postgres://") || text.starts_with(b"postgresql://")
}

/// Returns whether a text may be the address of a database, in whichever notation, and so may hold a
/// password. A program that prints its arguments leaves such a text out.
///
/// True for a text that names `postgres:`, `postgresql:` or a driver of it (`postgresql+asyncpg:`),
/// or has `password=`, `passwd=`, `pass=` or `pwd=`, in any case, with blanks between, percent-encoded or
/// not; for `scheme://…@…` of any scheme; and for `user:password@…`. [`Repo::open`](crate::Repo::open) takes
/// of these only `postgres://…` and `postgresql://…`.
///
/// ```
/// use turnkeep_repo::may_be_address;
///
/// assert!(may_be_address("postgres://user@db.example.com/turnkeep"));
/// assert!(may_be_address("host=db.example.com password=secret"));
/// assert!(!may_be_address("orchestrator.db"));
/// ```
#[must_use]
pub fn may_be_address(text: impl AsRef<Path>) -> bool {
    let text = text.as_ref();
    is_of_database(text) || has_credentials(text)
}

/// The names that drivers of databases give a password: libpq, PHP, ODBC.
const PASSWORD: [&str; 4] = ["password", "passwd", "pass", "pwd"];

/// Whether a text names PostgreSQL or a password. No file of a store can have such a name.
pub(crate) fn is_of_database(text: &Path) -> bool {
    let text = decoded(text);
    let follows = |word: &str, between: fn(char) -> bool, sign: char| {
        let mut rest = text.split(word).skip(1);
        rest.any(|after| {
            let after = after.trim_start_matches(between);
            after.trim_start().starts_with(sign)
        })
    };
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let is_given = |word: &&str| follows(word, |_| false, '=');
    follows("postgres", in_scheme, ':') || PASSWORD.iter().any(is_given)
}

/// Whether a user and a password stand before an `@`: `mysql://…@`, `user:password@host`.
fn has_credentials(text: &Path) -> bool {
    let text = decoded(text);
    let in_url = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'));
    in_url || text.split('/').any(is_credentials)
}

/// Whether a part of a path is `user:password@…`.
fn is_credentials(part: &str) -> bool {
    part.split_once(':')
        .is_some_and(|(_, after)| after.contains('@'))
}

/// Whether a path begins as a URL does, or with a user and a password. A file of that name would be an
/// empty store, made by mistake. `./` before it makes it a path.
pub(crate) fn is_url(path: &Path) -> bool {
    let text = decoded(path);
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || "\"'`<([{=".contains(c));
    if text.starts_with(['/', '.']) && !text.starts_with("//") {
        return false;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_known = ["file", "sqlite"].contains(&scheme);
    is_scheme && (is_known || rest.starts_with("//")) || text.split('/').any(is_credentials)
}

/// The text in lower case and without percent-encoding.
fn decoded(text: &Path) -> String {
    let text = text.to_string_lossy();
    percent_decode_str(&text).decode_utf8_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;
    use crate::base::error::ErrorKind;

    #[test]
    fn what_may_hold_a_password_is_known_in_any_notation() {
        for text in [
            "postgres://u:secret@h/db",
            "POSTGRES://u:secret@h/db",
            " postgres://u:secret@h/db",
            "\"postgres://u:secret@h/db\"",
            "postgres:/u:secret@h/db",
            "postgres:u:secret@h",
            "postgres ://u:secret@h",
            "postgres://u:secret",
            "postgresql+asyncpg://u:secret@h/db",
            "\"postgresql+asyncpg:/u:secret\"",
            "jdbc:postgresql://h/db?user=u&password=secret",
            "jdbc:postgresql:db",
            "DATABASE_URL=postgres://u:secret@h/db",
            "postgres%3A%2F%2Fu%3Asecret%40h%2Fdb",
            "folder/postgres://u:secret@h/db",
            "./postgres:/u:secret@h",
            "host=h user=u password=secret",
            "host=h PASSWORD = 'secret'",
            "host=h password\t=secret",
            "Host=h;Username=u;Password=secret",
            "h password%3Dsecret",
            "sslpassword=secret",
            "PGPASSWORD=secret psql -h h",
            "Server=h;Uid=u;Pwd=secret",
            "user=u passwd = secret",
            "user=u pass=secret",
        ] {
            assert!(is_of_database(Path::new(text)), "{text}");
            assert!(may_be_address(text), "{text}");
        }
        for text in [
            "mysql://secret@h",
            "mysql:/u:secret@h/db",
            "redis://:secret@h",
            "u:secret@h/db",
            "//u:secret@h/db",
        ] {
            assert!(!is_of_database(Path::new(text)), "{text}");
            assert!(may_be_address(text), "{text}");
        }
        for text in [
            "store.db",
            "a:b",
            "/srv/postgres/store.db",
            "password.db",
            "the password is = 1",
            "pwd",
            "pass.db",
            "https://example.com",
            "me@example.com",
            "100%",
            "x%4",
        ] {
            assert!(!may_be_address(text), "{text}");
        }
    }

    /// On a server it is refused by the parser of addresses, or not at all.
    #[test]
    fn no_store_is_made_of_an_address_and_no_error_repeats_it() {
        for text in [
            "POSTGRES://u:secret@h/db",
            " postgres://u:secret@h/db",
            "'postgres://u:secret@h/db'",
            "postgres:/u:secret@h/db",
            "postgres:u:secret@h",
            "jdbc:postgresql:db?password=secret",
            "NAME=postgres://u:secret@h/db",
            "postgres%3A%2F%2Fu%3Asecret%40h%2Fdb",
            "host=h password=secret",
            "h PASSWORD = secret",
            "mysql://u:secret@h",
            "u:secret@h/db",
        ] {
            let builder = Repo::builder(text);
            let shown = format!("{builder:?}");
            let opened = builder.clone().open().unwrap_err();
            let checked = builder.check_unopened().unwrap_err();
            let backup = Repo::open_in_memory().unwrap().backup(text).unwrap_err();
            for error in [&opened, &checked, &backup] {
                assert!(
                    matches!(error.kind(), ErrorKind::InvalidInput { .. }),
                    "{text}: {error:?}"
                );
            }
            let shown = format!("{shown} {opened} {opened:?} {checked:?} {backup:?}");
            assert!(!shown.contains("secret"), "{shown}");
            assert!(!Path::new(text).exists(), "{text}");
        }
    }

    #[test]
    fn a_path_is_told_from_a_url_by_its_beginning() {
        for path in [
            "file:a.db",
            "FILE:a.db",
            " sqlite:a.db",
            "'mysql://h/db'",
            "u:secret@h",
            "mysql:/u:secret@h/db",
            "//u:secret@h/db",
        ] {
            assert!(is_url(Path::new(path)), "{path}");
        }
        for path in [
            "a:b",
            "12://x",
            "./file:a.db",
            "../u:v@w",
            "/srv/u:v@w",
            "a@b:c",
            "what?mode=memory#x%41 y",
        ] {
            assert!(!is_url(Path::new(path)), "{path}");
        }
    }
}
