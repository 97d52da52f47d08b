//! The sessions of removed tasks, page by page.

use turnkeep_model::RemovedSession;

use crate::error::Result;
use crate::read::Reader;

/// The most in a page.
pub(crate) const MAX_REMOVALS: usize = 1_000;

/// Calls `each` with all removed sessions, in order of their agents and ids, a page at a time.
pub(crate) fn for_each_removal(
    reader: &impl Reader,
    mut each: impl FnMut(&[RemovedSession]) -> Result<()>,
) -> Result<()> {
    let mut last = None;
    loop {
        let page = reader.read(|rows| rows.removed_sessions(last.as_ref(), MAX_REMOVALS as i64))?;
        let Some(end) = page.last() else {
            return Ok(());
        };
        each(&page)?;
        last = Some(end.clone());
    }
}
