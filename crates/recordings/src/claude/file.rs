use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::claude::line::Line;
use crate::claude::project::{MAX_SLUG, slug};
use crate::claude::title::Titles;
use crate::file_name::{file_stem, is_uuid};

/// The facts about a transcript file that do not depend on the other files of its session.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) unparsable_lines: u64,
    /// The latest time of a line.
    pub(super) latest: Option<DateTime<Utc>>,
    pub(super) titles: Titles,
    stem: String,
    has_own_id: bool,
    /// The session of the first line that names one.
    first_id: Option<String>,
    has_several_ids: bool,
    first_dir: Option<String>,
    /// The folder in which the session was started, which a resume needs. A session may change its folder,
    /// but its project folder keeps the name of the first one.
    started_in: Option<String>,
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            unparsable_lines: 0,
            latest: None,
            titles: Titles::default(),
            stem: file_stem(path),
            has_own_id: false,
            first_id: None,
            has_several_ids: false,
            first_dir: None,
            started_in: None,
        }
    }

    pub(super) fn line(&mut self, line: &mut Line) {
        self.titles.line(line);
        self.latest = self.latest.max(line.time());
        if let Some(id) = line.session_id.0.as_ref().filter(|id| !id.is_empty()) {
            self.has_own_id |= *id == self.stem;
            let first = self.first_id.get_or_insert_with(|| id.clone());
            self.has_several_ids |= first != id;
        }
        let Some(dir) = line.cwd.0.as_ref().filter(|dir| !dir.is_empty()) else {
            return;
        };
        self.first_dir.get_or_insert_with(|| dir.clone());
        if self.started_in.is_none() && self.is_of_project(dir) {
            self.started_in = Some(dir.clone());
        }
    }

    /// Returns the session in the file's name, if it is a UUID and a line has it as well. Histories
    /// that were copied keep the ids of their origin.
    pub(super) fn session_id(&self, is_named: bool) -> Option<&str> {
        if self.has_own_id && is_uuid(&self.stem) {
            return Some(&self.stem);
        }
        let only = self.first_id.as_deref().filter(|_| !self.has_several_ids);
        only.filter(|_| is_named)
    }

    /// Returns the session from which the first lines were copied, if they were.
    pub(super) fn origin(&self) -> Option<&str> {
        let first = self.first_id.as_deref();
        first.filter(|first| self.has_own_id && *first != self.stem)
    }

    /// Returns the folder in which the session was started, if a line has it.
    pub(super) fn started_in(self) -> Option<String> {
        self.started_in
    }

    pub(super) fn working_dir(self) -> Option<String> {
        self.started_in.or(self.first_dir)
    }

    /// Whether the project folder that holds the file is named after this working folder.
    fn is_of_project(&self, dir: &str) -> bool {
        let project = self.path.parent().and_then(Path::file_name);
        let Some(project) = project.and_then(|name| name.to_str()) else {
            return false;
        };
        let slug = slug(dir);
        match (project.get(..MAX_SLUG), slug.get(..MAX_SLUG)) {
            (Some(start), Some(of_dir)) if project.len() > MAX_SLUG => start == of_dir,
            _ => project == slug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_of_project(project: &str, dir: &str) -> bool {
        File::new(&Path::new(project).join("x.jsonl")).is_of_project(dir)
    }

    #[test]
    fn a_project_folder_is_named_after_the_working_folder() {
        assert!(is_of_project("-srv-my-app", "/srv/my.app"));
        assert!(is_of_project("D--x", r"D:\x"));
        assert!(is_of_project(
            "-home-dev---rocket",
            "/home/dev/\u{1f680}rocket"
        ));
        assert!(is_of_project("-e-", "/e\u{301}"));
        assert!(!is_of_project("-srv", "/srv/app"));
    }

    #[test]
    fn a_long_name_is_cut_and_gets_a_hash() {
        let dir = format!("/{}", "x".repeat(250));
        let cut = slug(&dir)[..200].to_owned();
        assert!(is_of_project(&format!("{cut}-1a2b3c"), &dir));
        assert!(!is_of_project(&cut, &dir));
        let whole = format!("/{}", "x".repeat(199));
        assert!(is_of_project(&slug(&whole), &whole));
        assert!(!is_of_project(&format!("{cut}-1a2b3c"), "/x"));
    }
}
