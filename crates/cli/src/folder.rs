//! Folders that people name, as agents record them.

use std::path::{Component, Path, PathBuf, absolute};

use anyhow::Context as _;
use turnkeep_model::visible_path;
use turnkeep_repo::WorkingDir;

/// Returns the absolute paths of a folder. Agents record the one of the file system, without `..` and symbolic links;
/// others may have recorded it as it is called. A folder that is gone has only the path that it is called by, without `..`.
pub(crate) fn as_recorded(folder: &Path) -> anyhow::Result<Vec<WorkingDir>> {
    let of = || format!("the folder {}", visible_path(folder));
    let named = absolute(folder).with_context(of)?;
    let mut paths = match folder.canonicalize() {
        // After a symbolic link, `..` leads to another folder than the one before the link.
        Ok(path) if folder.components().any(|it| it == Component::ParentDir) => vec![path],
        Ok(path) => vec![path, named],
        Err(_) => vec![without_parents(&named)],
    };
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

    #[cfg(unix)]
    #[test]
    fn the_folder_above_a_link_is_the_one_above_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(folder.join("data/x")).unwrap();
        std::fs::create_dir(folder.join("work")).unwrap();
        let link = folder.join("work/link");
        std::os::unix::fs::symlink(folder.join("data/x"), &link).unwrap();
        let recorded = |paths: &[&str]| -> Vec<_> {
            let paths = paths.iter().map(|path| folder.join(path));
            paths
                .map(|path| WorkingDir::try_from(path.as_path()).unwrap())
                .collect()
        };
        assert_eq!(
            as_recorded(&link).unwrap(),
            recorded(&["data/x", "work/link"])
        );
        assert_eq!(as_recorded(&link.join("..")).unwrap(), recorded(&["data"]));
    }
}
