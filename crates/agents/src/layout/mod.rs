//! Where the agents keep the files of a session, as paths below their homes. The names come from a store, which may
//! be another person's: no path leads out of the folder that it belongs to.

pub(crate) mod claude;
pub(crate) mod codex;

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Returns the entries of a folder, none if it does not exist.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    /// The most entries of a folder that are looked at.
    const MAX_ENTRIES: usize = 1_000_000;
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().take(MAX_ENTRIES).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Returns the path without links as the agents write it, or a path that does not exist unchanged.
pub(crate) fn real(path: &Path) -> PathBuf {
    match fs::canonicalize(path) {
        Ok(real) => plain(real),
        Err(_) => path.to_owned(),
    }
}

/// Takes the prefix `\\?\` from a path, with which Windows itself begins the real path of a drive.
fn plain(real: PathBuf) -> PathBuf {
    let drive = real.to_str().and_then(|path| path.strip_prefix(r"\\?\"));
    let drive = drive.filter(|path| path.as_bytes().get(1) == Some(&b':'));
    drive.map(PathBuf::from).unwrap_or(real)
}

/// Whether a text has the form `8-4-4-4-12` of hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns a path below a home of at most a few names, or `None` if a name could lead elsewhere.
pub(crate) fn below(names: &str) -> Option<PathBuf> {
    const MAX_NAMES: usize = 16;
    const MAX_NAME: usize = 255;
    let is_plain = |name: &str| {
        let mut components = Path::new(name).components();
        let is_one = matches!(components.next(), Some(Component::Normal(it)) if it == name)
            && components.next().is_none();
        // A colon names a drive or a stream on Windows.
        let is_foreign = |c: char| matches!(c, '\\' | ':') || c.is_control();
        is_one && name.len() <= MAX_NAME && !name.contains(is_foreign)
    };
    let names: Vec<_> = names.split('/').collect();
    let is_safe = names.len() <= MAX_NAMES && names.iter().all(|name| is_plain(name));
    is_safe.then(|| names.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_path_of_windows_begins_with_its_drive() {
        for (real, expected) in [
            (r"\\?\C:\x", r"C:\x"),
            (r"\\?\UNC\server\x", r"\\?\UNC\server\x"),
            (r"\\?\", r"\\?\"),
            ("/srv/app", "/srv/app"),
        ] {
            assert_eq!(plain(real.into()), Path::new(expected), "{real}");
        }
    }

    #[test]
    fn a_path_below_a_home_has_only_plain_names() {
        assert_eq!(below("a/b.c").unwrap(), Path::new("a/b.c"));
        let deep = vec!["a"; 17].join("/");
        let long = "a".repeat(256);
        for names in [
            "", "/", "/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\\b", "C:", "a\0", "a\nb",
            &deep, &long,
        ] {
            assert_eq!(below(names), None, "{names:?}");
        }
    }
}
