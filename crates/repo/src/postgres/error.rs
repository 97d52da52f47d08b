//! Classifies the errors of PostgreSQL.
//!
//! Diesel has kinds for a handful of the codes (SQLSTATE): a broken constraint, a serialization failure, a
//! read-only transaction, a lost connection. The other codes are recognised by the server's English text, so
//! a connection to a server with messages in another language is refused. Only this file reads those texts;
//! a test provokes them on a server.

use diesel::result::{DatabaseErrorKind as Db, Error as DieselError};

use crate::base::query_error::{Classify, ErrorClass, QueryError};

/// How PostgreSQL reports errors.
pub(crate) struct PostgresErrors;

impl Classify for PostgresErrors {
    fn class(error: &DieselError) -> ErrorClass {
        match error {
            DieselError::DatabaseError(kind, information) => match kind {
                // 08000, 08001, 08004, 08006, or the connection is gone for another reason.
                Db::ClosedConnection | Db::UnableToSendCommand => ErrorClass::Lost,
                // 25006: a standby, or a leader that is being replaced.
                Db::ReadOnlyTransaction => ErrorClass::Lost,
                // 40001, and 23505: another transaction stored the same key at the same time. Keys that
                // were stored before are looked up first.
                Db::SerializationFailure | Db::UniqueViolation => ErrorClass::Busy,
                Db::Unknown => class_of_text(information.message()),
                _ => ErrorClass::Other,
            },
            DieselError::DeserializationError(_) => ErrorClass::Corrupt,
            DieselError::BrokenTransactionManager => ErrorClass::Lost,
            _ => ErrorClass::Other,
        }
    }

    /// Classifies the text of a failed connection. libpq reports every host that it tried, and an unreachable
    /// host may stand beside one that rejects the user. The rejection decides, because it needs a fix.
    fn connect_class(text: &str) -> ErrorClass {
        // A pooler that had accepted the client omits the word FATAL.
        if begins_with_any(text, &LOST) {
            return ErrorClass::Lost;
        }
        let mut refusals = text.split("FATAL:").skip(1).map(str::trim_start);
        let is_refused = refusals.any(|refusal| !begins_with_any(refusal, &LOST));
        match is_refused || text.starts_with(REFUSED) || is_refused_by_libpq(text) {
            true => ErrorClass::Other,
            false => ErrorClass::Lost,
        }
    }
}

/// Translates the error of a statement that commits. A lost server may have done so; a server that refuses writes
/// has not.
pub(crate) fn commit_error(error: DieselError) -> QueryError {
    match &error {
        DieselError::DatabaseError(Db::ReadOnlyTransaction, _) => QueryError::Database(error),
        _ if PostgresErrors::class(&error) == ErrorClass::Lost => QueryError::OutcomeUnknown(error),
        _ => QueryError::Database(error),
    }
}

/// The beginning of the text in [`refuse_newer`], which is no number.
const NEWER: &str = "turnkeep schema ";

/// Returns a statement that fails if the schema has more migrations than are known, with an error that names the
/// newest. Only a cast lets a plain statement fail with a given text.
pub(crate) fn refuse_newer(known_migrations: i64) -> String {
    // The casts choose the server's own operators over any in another schema.
    format!(
        "SELECT ('{NEWER}'::text || max(version::text))::integer FROM __diesel_schema_migrations \
         HAVING count(*) > {known_migrations}::bigint"
    )
}

/// Returns the newest migration in the error of [`refuse_newer`].
pub(crate) fn newer_schema(error: &DieselError) -> Option<String> {
    let DieselError::DatabaseError(_, information) = error else {
        return None;
    };
    // 22P02
    let text = information.message();
    let value = text.strip_prefix("invalid input syntax for type integer: \"")?;
    let version = value.strip_prefix(NEWER)?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// Whether `turnkeep_append` found that some turns were not stored.
pub(crate) fn is_left_out(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information)
        if information.message().starts_with("turnkeep_append: "))
}

/// The messages of a server that ends a session or takes no further one now, and of a pooler that has lost its
/// server or can't reach it.
const LOST: [&str; 12] = [
    // 57P01, 57P02, 57P03
    "terminating connection",
    "the database system is",
    // 53300
    "sorry, too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    // Of a pooler.
    "the database is shutting down",
    "server conn crashed",
    "server login has been failing",
    "server login failed: FATAL the database system is",
    "query_wait_timeout",
    "client_login_timeout",
    // The server ended while the pooler restored the settings of a client.
    "invalid server parameter",
];

/// The messages of the server's operating system for a full disk.
const NO_ROOM: [&str; 3] = [
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
];

/// Classifies a message of the server. For the codes see
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn class_of_text(text: &str) -> ErrorClass {
    match text {
        // 40P01, 55P03, 57014
        text if begins_with_any(text, &["deadlock detected", "canceling statement"]) => {
            ErrorClass::Busy
        }
        // 42501
        text if begins_with_any(text, &["permission denied", "must be owner of"]) => {
            ErrorClass::Denied
        }
        // 53100, and disks that are full without that code.
        text if text.contains(": wrote only ") => ErrorClass::Full,
        text if NO_ROOM.iter().any(|it| text.ends_with(it)) => ErrorClass::Full,
        // 58030, XX001
        text if text.starts_with("could not ") => ErrorClass::Io,
        text if text.starts_with("invalid page in block") => ErrorClass::Corrupt,
        text if begins_with_any(text, &LOST) => ErrorClass::Lost,
        _ => ErrorClass::Other,
    }
}

/// The beginning of the error for a server that a store can't rely on. r2d2 keeps only the text.
pub(crate) const REFUSED: &str = "the server can't be used: ";

/// Whether libpq refuses the address: it can't read it, or the address lacks something that the server
/// requires.
fn is_refused_by_libpq(text: &str) -> bool {
    const LACKS: [&str; 5] = [
        "no password supplied",
        "but SSL was required",
        "certificate verify failed",
        "server certificate for ",
        "root certificate file ",
    ];
    let is_unreadable = text.contains("invalid ") && !text.contains("FATAL:");
    is_unreadable || LACKS.iter().any(|it| text.contains(it))
}

fn begins_with_any(text: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|it| text.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mdextend` (md.c) and `FileWrite` (fd.c) have these texts.
    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let at = "could not extend file \"base/5/16384\": ";
        for (reason, kind) in [
            ("No space left on device", ErrorClass::Full),
            ("Disk quota exceeded", ErrorClass::Full),
            ("File too large", ErrorClass::Full),
            ("wrote only 4096 of 8192 bytes at block 7", ErrorClass::Full),
            ("Input/output error", ErrorClass::Io),
        ] {
            assert_eq!(class_of_text(&format!("{at}{reason}")), kind, "{reason}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_has_to_be_mended() {
        let at = "connection to server at \"127.0.0.1\", port 5432 failed: ";
        for (reason, kind) in [
            ("Connection refused", ErrorClass::Lost),
            ("session is read-only", ErrorClass::Lost),
            (
                "FATAL:  the database system is starting up",
                ErrorClass::Lost,
            ),
            ("FATAL:  sorry, too many clients already", ErrorClass::Lost),
            (
                "FATAL:  password authentication failed for user \"x\"",
                ErrorClass::Other,
            ),
            (
                "FATAL:  server login has been failing, try again later",
                ErrorClass::Lost,
            ),
            ("FATAL:  invalid server parameter", ErrorClass::Lost),
            ("FATAL:  database \"x\" does not exist", ErrorClass::Other),
            ("fe_sendauth: no password supplied", ErrorClass::Other),
            (
                "server does not support SSL, but SSL was required",
                ErrorClass::Other,
            ),
            ("SSL error: certificate verify failed", ErrorClass::Other),
        ] {
            assert_eq!(
                PostgresErrors::connect_class(&format!("{at}{reason}")),
                kind,
                "{reason}"
            );
        }
        let both = format!(
            "{at}FATAL:  the database system is shutting down\n{at}FATAL:  role \"x\" does not exist"
        );
        assert_eq!(PostgresErrors::connect_class(&both), ErrorClass::Other);
        assert_eq!(
            PostgresErrors::connect_class("server conn crashed?"),
            ErrorClass::Lost
        );
        assert_eq!(
            PostgresErrors::connect_class("invalid server parameter\n"),
            ErrorClass::Lost
        );
        let typing_error = "invalid sslmode value: \"x\"";
        assert_eq!(
            PostgresErrors::connect_class(typing_error),
            ErrorClass::Other
        );
    }
}
