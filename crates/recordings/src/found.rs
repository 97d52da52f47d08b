use std::path::PathBuf;

use crate::copies::combine;
use crate::error::Error;
use crate::source::Source;

/// The recordings at some paths.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The recordings, sorted by their paths. Recordings with the least certain session come last.
    pub sources: Vec<Source>,
    /// Files that look like a session, but are none: their place or their name says otherwise. They are not
    /// read. Each error names a file and the reason.
    pub passed_over: Vec<Error>,
    /// Recordings that [`find_changed`](crate::find_changed) has left out, sorted.
    pub unchanged: Vec<PathBuf>,
}

impl Found {
    /// Adds the recordings at another path. The files of one session become one source.
    pub fn add(&mut self, other: Self) {
        let mut sources = std::mem::take(&mut self.sources);
        sources.extend(other.sources);
        self.sources = combine(sources);
        self.passed_over.extend(other.passed_over);
        self.unchanged.extend(other.unchanged);
        self.unchanged.sort();
        self.unchanged.dedup();
    }
}
