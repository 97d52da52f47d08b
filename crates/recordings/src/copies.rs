use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::detect::Format;
use crate::file_name::{file_stem, has_suffix};
use crate::goose;
use crate::source::Source;

/// Drops the outdated copy of a session: a compressed rollout beside the plain one, and a JSONL file of Goose
/// if the database of the same folder has the session.
pub(crate) fn drop_second_copies(sources: &mut Vec<Source>) {
    let plain = paths(sources, Format::Codex);
    let legacy = paths(sources, Format::GooseJsonl);
    let legacy_folders: HashSet<&Path> = legacy.iter().filter_map(|path| path.parent()).collect();
    let migrated: HashMap<PathBuf, HashSet<String>> = paths(sources, Format::GooseDatabase)
        .into_iter()
        .filter_map(|path| {
            let folder = path.parent().filter(|dir| legacy_folders.contains(dir))?;
            Some((folder.to_owned(), goose::session_ids(&path)))
        })
        .collect();
    sources.retain(|source| match source.format() {
        Format::Codex | Format::Unreadable if has_suffix(source.path(), ".zst") => {
            !plain.contains(&source.path().with_extension(""))
        }
        Format::GooseJsonl => {
            let ids = source.path().parent().and_then(|dir| migrated.get(dir));
            ids.is_none_or(|ids| !ids.contains(&file_stem(source.path())))
        }
        _ => true,
    });
}

fn paths(sources: &[Source], format: Format) -> HashSet<PathBuf> {
    let matching = sources.iter().filter(|source| source.format() == format);
    matching.map(|source| source.path().to_owned()).collect()
}
