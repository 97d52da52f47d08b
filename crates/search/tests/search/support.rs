use anyhow::Result;
use tempfile::TempDir;
use turnkeep_repo::{NewTask, Repo, Role, TaskId};
use turnkeep_search::{Hit, Index, Passage, Query};

/// A store and its index, which is empty.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) repo: Repo,
    pub(crate) index: Index,
    #[cfg(feature = "postgres")]
    _database: Option<turnkeep_test_postgres::Database>,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let repo = Repo::open(folder.path().join("store.db"))?;
        Ok(Self {
            index: Index::open(&repo, folder.path().join("store.db.search"))?,
            repo,
            folder,
            #[cfg(feature = "postgres")]
            _database: None,
        })
    }

    /// One on a server.
    #[cfg(feature = "postgres")]
    pub(crate) fn on_server() -> Result<Self> {
        let database = turnkeep_test_postgres::Server::shared()?.database()?;
        let folder = tempfile::tempdir()?;
        let repo = Repo::open(database.url())?;
        Ok(Self {
            index: Index::open(&repo, folder.path().join("server.search"))?,
            repo,
            folder,
            _database: Some(database),
        })
    }

    /// Saves a task with these turns, or appends them.
    pub(crate) fn say(&self, task: &str, turns: &[&str]) -> Result<TaskId> {
        say(&self.repo, task, turns)
    }

    /// Returns the hits after an update.
    pub(crate) fn hits(&self, query: Query) -> Result<Vec<Hit>> {
        self.index.update()?;
        Ok(self.index.search(&query)?)
    }

    /// Returns the places of the hits of some words, as `task:seq`, sorted.
    pub(crate) fn places(&self, words: &str) -> Result<Vec<String>> {
        Ok(places(&self.hits(Query::new(words))?))
    }
}

pub(crate) fn say(repo: &Repo, task: &str, turns: &[&str]) -> Result<TaskId> {
    let task = TaskId::new(task)?;
    repo.save_task(&NewTask::new(task.clone(), format!("The task {task}")))?;
    for turn in turns {
        repo.save_message(&task, Role::User, turn)?;
    }
    Ok(task)
}

pub(crate) fn places(hits: &[Hit]) -> Vec<String> {
    let mut places: Vec<_> = hits
        .iter()
        .map(|hit| format!("{}:{}", hit.task_id, hit.seq))
        .collect();
    places.sort();
    places
}

/// Returns the highlighted words of a hit.
pub(crate) fn highlights(hit: &Hit) -> Vec<&str> {
    words(&hit.passage)
}

/// Returns the highlighted words of a passage.
pub(crate) fn words(passage: &Passage) -> Vec<&str> {
    let ranges = passage.highlights.iter();
    ranges.map(|it| &passage.text[it.clone()]).collect()
}

/// Makes a test on each engine of each function.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(&crate::support::Scene::new()?)
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(&crate::support::Scene::on_server()?)
            })*
        }
    };
}

pub(crate) use on_each_engine;
