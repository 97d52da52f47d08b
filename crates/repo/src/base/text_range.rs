//! Ranges of texts in the order of their bytes, in which the indexes of both engines have them.

use turnkeep_model::WorkingDir;

/// The texts from `low` to before `high`. Stored texts have no U+0000.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TextRange {
    pub(crate) low: String,
    pub(crate) high: String,
}

impl TextRange {
    /// The ids that begin with a text.
    pub(crate) fn of_ids(beginning: &str) -> Self {
        // An id has at most 512 bytes, so what follows the beginning is less than 516 bytes of the last character.
        let last = char::MAX.to_string().repeat(129);
        Self {
            low: beginning.to_owned(),
            high: format!("{beginning}{last}"),
        }
    }

    /// A folder, and those below it. Below a folder that begins with `/`, only `/` separates names.
    pub(crate) fn of_folders(folder: &WorkingDir) -> Vec<Self> {
        let folder = folder.as_str();
        let separators = match folder.starts_with('/') {
            true => &["/"][..],
            false => &["/", "\\"],
        };
        let folder = folder.trim_end_matches(|it| separators.iter().any(|one| one.contains(it)));
        let below = separators.iter().map(|separator| Self {
            low: format!("{folder}{separator}"),
            // The character after the separator.
            high: format!("{folder}{}", if *separator == "/" { '0' } else { ']' }),
        });
        let itself = Self {
            low: folder.to_owned(),
            high: format!("{folder}\u{1}"),
        };
        below.chain([itself]).collect()
    }
}
