use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use turnkeep_model::BackendType;

use crate::detect::Format;
use crate::file_name::{file_stem, has_suffix};
use crate::goose;
use crate::source::Source;

/// Orders the sources and puts all files of a session into one.
///
/// A file that was found twice counts once. A compressed rollout beside the plain one is dropped, and a JSONL
/// file of Goose if a database has its session. Sources come in the order of their paths, but sources that
/// prove their session least come last.
pub(crate) fn combine(found: Vec<Source>) -> Vec<Source> {
    let mut sources = found;
    sources.sort_by(|a, b| (a.rank(), a.path()).cmp(&(b.rank(), b.path())));
    drop_named_again(&mut sources);
    let mut seen = HashSet::new();
    sources.retain(|source| {
        let mut is_new = |path: &PathBuf| seen.insert((source.format(), real(path)));
        // Sources that were combined before have several files, all of them seen or none.
        source.files().iter().filter(|path| is_new(path)).count() > 0
    });
    drop_second_copies(&mut sources);
    let mut combined: Vec<Source> = Vec::new();
    let mut indexes: HashMap<(BackendType, String), usize> = HashMap::new();
    for source in sources {
        let Some(session) = source.session() else {
            combined.push(source);
            continue;
        };
        let next = combined.len();
        let index = *indexes.entry(session).or_insert(next);
        match combined.get_mut(index) {
            Some(first) => first.add_files(source),
            None => combined.push(source),
        }
    }
    combined
}

/// Drops the files that the user named, if a search has found them as files of a session: it may have more.
fn drop_named_again(sources: &mut Vec<Source>) {
    let of_sessions = sources.iter().filter(|source| source.session().is_some());
    let found: HashSet<_> = of_sessions
        .flat_map(|source| {
            source
                .files()
                .iter()
                .map(|path| (source.format(), real(path)))
        })
        .collect();
    sources.retain(|source| {
        let mut files = source.files().iter();
        source.session().is_some()
            || !files.all(|path| found.contains(&(source.format(), real(path))))
    });
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn drop_second_copies(sources: &mut Vec<Source>) {
    let plain: HashSet<PathBuf> = sources
        .iter()
        .filter(|source| source.format() == Format::Codex)
        .flat_map(|source| source.files().to_vec())
        .collect();
    let has_legacy = sources
        .iter()
        .any(|source| source.format() == Format::GooseJsonl);
    let databases = sources
        .iter()
        .filter(|source| has_legacy && source.format() == Format::GooseDatabase);
    let migrated: HashSet<String> = databases
        .flat_map(|source| goose::session_ids(source.path()))
        .collect();
    let is_second =
        |path: &Path| has_suffix(path, ".zst") && plain.contains(&path.with_extension(""));
    sources.retain(|source| match source.format() {
        Format::Codex | Format::Unreadable => !source.files().iter().all(|path| is_second(path)),
        Format::GooseJsonl => !migrated.contains(&file_stem(source.path())),
        _ => true,
    });
}
