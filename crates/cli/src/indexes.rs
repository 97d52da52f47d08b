//! The full-text indexes of a store: beside it, and in the user's cache folder.

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use turnkeep_model::visible_path;
use turnkeep_repo::Repo;
use turnkeep_search::{Error, Index};

use crate::failure::{warn, warn_of};
use crate::output::Output;
use crate::store::Store;

/// Opens the index and brings it up to date, its tool calls too if they are asked for: the one beside the store, or in the
/// user's cache folder if that can't be written or belongs to another user.
pub(crate) fn open_up_to_date(
    repo: &Repo,
    store: &Store,
    tools: bool,
    out: &mut Output,
) -> anyhow::Result<Index> {
    let paths = store.index_paths()?;
    if out.is_terminal() && !paths.iter().any(|path| path.exists()) {
        out.note("making the full-text index of the store, once")?;
    }
    let mut failed = anyhow!("there is no place for an index");
    for path in paths {
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        match up_to_date(repo, path, tools, out) {
            Err(error @ Error::File { .. }) => failed = error.into(),
            index => return Ok(index?),
        }
    }
    Err(failed)
}

fn up_to_date(repo: &Repo, path: PathBuf, tools: bool, out: &mut Output) -> Result<Index, Error> {
    let index = Index::open(repo, path)?;
    if tools && out.is_terminal() && !index.has_tool_calls()? {
        // A terminal that is gone is no failure of the index.
        let _ = out.note("adding the tool calls to the full-text index, once");
    }
    let update = || -> Result<(), Error> {
        for error in index.update()?.unreadable {
            warn_of(anyhow::Error::from(error).context("not all turns can be found"));
        }
        if tools {
            for error in index.update_tool_calls()?.unreadable {
                warn_of(anyhow::Error::from(error).context("not all tool calls can be found"));
            }
        }
        Ok(())
    };
    match update() {
        Err(error @ Error::Busy { .. }) => {
            warn(format_args!("the latest turns may be missing: {error}"));
        }
        result => result?,
    }
    Ok(index)
}

/// Makes a folder that only this user can read, if there is none.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.recursive(true).create(folder);
    made.with_context(|| format!("cannot make the folder {}", visible_path(folder)))
}

/// Brings the existing indexes up to date.
pub(crate) fn update(repo: &Repo, store: &Store) -> anyhow::Result<()> {
    with_each(repo, store, |index| index.update().map(drop))
}

/// Takes the words of tasks that were removed from the store out of its indexes.
pub(crate) fn forget_removed(repo: &Repo, store: &Store) {
    warn_of_words(update(repo, store));
}

/// Takes the words of recordings that were removed from the store out of its indexes.
pub(crate) fn forget_recordings(repo: &Repo, store: &Store) {
    warn_of_words(with_each(repo, store, |index| {
        if index.has_tool_calls()? {
            index.update_tool_calls()?;
        }
        Ok(())
    }));
}

fn warn_of_words(result: anyhow::Result<()>) {
    if let Err(error) = result {
        warn(format_args!(
            "removed words stay in the full-text index until a search: {error:#}"
        ));
    }
}

/// Deletes the indexes.
pub(crate) fn delete(repo: &Repo, store: &Store) -> anyhow::Result<()> {
    with_each(repo, store, Index::delete)
}

/// Calls `act` with each existing index. One that fails does not keep the others from it. Returns the last failure.
fn with_each(
    repo: &Repo,
    store: &Store,
    act: impl Fn(&Index) -> Result<(), Error>,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    for path in store.index_paths()? {
        // A path that can't be looked at is tried.
        if path.try_exists().unwrap_or(true)
            && let Err(error) = Index::open(repo, path).and_then(|index| act(&index))
        {
            result = Err(error.into());
        }
    }
    result
}
