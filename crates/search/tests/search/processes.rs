//! Several processes and threads that update one index.

use std::env;
use std::fs;
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context as _, Result};
use turnkeep_repo::Repo;
use turnkeep_search::{Error, Index, Query};

use crate::support::{Scene, say};

const FOLDER: &str = "TURNKEEP_SEARCH_TEST_FOLDER";

/// The other process.
#[test]
#[ignore = "other tests start it"]
fn update_in_another_process() -> Result<()> {
    let folder = env::var_os(FOLDER).context("no folder")?;
    let folder = std::path::Path::new(&folder);
    let repo = Repo::open(folder.join("store.db"))?;
    Index::open(&repo, folder.join("store.db.search"))?.update()?;
    Ok(())
}

const UPDATE: [&str; 3] = [
    "--ignored",
    "--exact",
    "processes::update_in_another_process",
];

fn spawn(scene: &Scene) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.args(UPDATE);
    Ok(command.env(FOLDER, scene.folder.path()).spawn()?)
}

/// Saves tasks with 10 long turns and a needle each. Ten of them are more than two steps of an update.
fn fill(repo: &Repo, tasks: usize) -> Result<()> {
    let text = "some filler of the turn ".repeat(4_000);
    let mut turns = vec![text.as_str(); 10];
    turns.push("needle");
    for task in 0..tasks {
        say(repo, &format!("t{task}"), &turns)?;
    }
    Ok(())
}

/// The system kills a process that makes a file longer than it may.
#[cfg(unix)]
#[test]
fn a_killed_update_goes_on() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene.repo, 20)?;
    // In blocks of 512 bytes: more than one step of the update, and less than all.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c 0; ulimit -f 6000; exec \"$0\" \"$@\""])
        .arg(env::current_exe()?)
        .args(UPDATE);
    let killed = shell.env(FOLDER, scene.folder.path()).output()?;
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let added = scene.index.update()?.added_turns;
    assert!(0 < added && added < 220, "{added} of 220 turns");
    let needle = Query::new("needle").limit(1_000);
    assert_eq!(scene.index.search(&needle)?.len(), 20);
    Ok(())
}

#[test]
fn processes_and_threads_share_the_work() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene.repo, 12)?;
    let mut children = [spawn(&scene)?, spawn(&scene)?];
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| scene.index.clone().update()));
        threads
            .into_iter()
            .try_for_each(|it| it.join().expect("a thread").map(drop))
    })?;
    for child in &mut children {
        assert!(child.wait()?.success());
    }
    assert_eq!(scene.index.update()?.added_turns, 0);
    assert_eq!(
        scene
            .index
            .search(&Query::new("needle").limit(1_000))?
            .len(),
        12
    );
    Ok(())
}

#[test]
fn searches_beside_an_update_find_what_is_stored() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene.repo, 2)?;
    scene.index.update()?;
    fill(&scene.repo, 12)?;
    let mut child = spawn(&scene)?;
    while child.try_wait()?.is_none() {
        match scene.index.search(&Query::new("needle").limit(2)) {
            Ok(hits) => assert_eq!(hits.len(), 2),
            // The disk may take long for one commit.
            Err(Error::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert!(child.wait()?.success());
    Ok(())
}

#[test]
fn an_index_deleted_during_an_update_is_made_anew() -> Result<()> {
    let scene = Scene::new()?;
    fill(&scene.repo, 20)?;
    let needle = Query::new("needle").limit(1_000);
    let updated = thread::scope(|scope| {
        let update = scope.spawn(|| scene.index.update());
        while scene.index.search(&needle)?.is_empty() && !update.is_finished() {}
        fs::remove_file(scene.folder.path().join("store.db.search"))?;
        anyhow::Ok(update.join().expect("a thread")?)
    })?;
    assert_eq!(updated.added_turns, 220);
    assert_eq!(scene.index.search(&needle)?.len(), 20);
    Ok(())
}
