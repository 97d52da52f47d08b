//! Folders that people name, as agents record them.

use std::path::{Component, Path, PathBuf, absolute};

use anyhow::Context as _;
use turnkeep_model::visible_path;
use turnkeep_repo::WorkingDir;

/// Returns the absolute paths of a folder. Agents record the one of the file system, without `..` and symbolic links. A
/// folder that is gone, or was recorded elsewhere, has only the one that it was called by, without `..`.
pub(crate) fn as_recorded(folder: &Path) -> anyhow::Result<Vec<WorkingDir>> {
    let of = || format!("the folder {}", visible_path(folder));
    let named = without_parents(&absolute(folder).with_context(of)?);
    let mut paths: Vec<_> = folder.canonicalize().into_iter().chain([named]).collect();
    paths.dedup();
    let recorded = paths.iter().map(|it| WorkingDir::try_from(it.as_path()));
    recorded.collect::<Result<_, _>>().with_context(of)
}

/// Takes each `..` and the name before it out of an absolute path.
fn without_parents(path: &Path) -> PathBuf {
    let mut without = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(without.pop()),
            name => without.push(name),
        }
    }
    without
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_is_its_name_without_parents() {
        for (folder, recorded) in [
            ("/nowhere/a/../b/./c/", "/nowhere/b/c"),
            ("/nowhere/../../x-nowhere", "/x-nowhere"),
            ("/", "/"),
        ] {
            let folders = as_recorded(Path::new(folder)).unwrap();
            assert_eq!(folders, [WorkingDir::new(recorded).unwrap()], "{folder}");
        }
        assert!(as_recorded(Path::new("")).is_err());
    }
}
