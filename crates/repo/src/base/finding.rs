//! The aspects that a check of a store looks at, and its findings.

use std::iter;

use diesel::result::Error as DieselError;

use crate::base::error::{Error, ErrorKind};
use crate::base::query_error::QueryError;
use crate::base::schema_parts::Difference;

/// The name of the operation in errors.
pub(crate) const OPERATION: &str = "check";

/// The check that compares the schema with the one that this program knows.
pub(crate) const SCHEMA: &str = "schema";

/// The most findings of one kind that a report lists.
pub(crate) const MAX_FINDINGS: i64 = 100;

/// The advice for damage that only a backup can undo.
pub(crate) const RESTORE: &str =
    "restore a backup; without one, `sqlite3 FILE .recover` reads what is left";

/// The advice for rows that no version of this library writes.
pub(crate) const SALVAGE: &str = "another program wrote it; mend it by hand, or restore a backup";

/// One aspect of a store that a check has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Its name, one or two words.
    pub name: &'static str,
    /// The counts, in words: `5 tasks, 120 turns`.
    pub result: String,
    /// Its findings. Empty when all is well.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The damage in words, without any text of a conversation.
    pub what: String,
    /// The advice.
    pub advice: &'static str,
}

impl Check {
    pub(crate) fn new(name: &'static str, result: impl Into<String>) -> Self {
        Self {
            name,
            result: result.into(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn find(&mut self, what: impl Into<String>, advice: &'static str) {
        self.findings.push(Finding {
            what: what.into(),
            advice,
        });
    }

    /// Adds the differences of the schema as findings.
    pub(crate) fn find_differences(&mut self, differences: &[Difference]) {
        for difference in differences.iter().take(MAX_FINDINGS as usize) {
            self.find(difference.to_string(), difference.advice());
        }
    }

    /// Makes a check that found the data unreadable. Fails with the failure itself if it has another
    /// reason.
    pub(crate) fn failed(
        name: &'static str,
        failure: QueryError,
        is_about_data: impl Fn(&DieselError) -> bool,
    ) -> Result<Self, QueryError> {
        let what = match failure {
            QueryError::Database(error) if is_about_data(&error) => error.to_string(),
            QueryError::Refused(error) if *error.kind() == ErrorKind::Corrupt => in_words(&error),
            other => return Err(other),
        };
        let mut check = Self::new(name, "can't be read");
        check.find(what, RESTORE);
        Ok(check)
    }
}

/// Returns the error with its causes, without the operation.
pub(crate) fn in_words(error: &Error) -> String {
    let text = error.to_string();
    let mut words = match text.split_once(": ") {
        Some((_, words)) => words.to_owned(),
        None => text,
    };
    let cause = std::error::Error::source(error);
    for cause in iter::successors(cause, |cause| cause.source()) {
        words.push_str(&format!(": {cause}"));
    }
    words
}
