//! The rows of a copy.

use turnkeep_admin::{CopyStage, copy};
use turnkeep_repo::Repo;

#[cfg(feature = "postgres")]
use super::scene::fill_recordings;
use super::scene::{LEASES, fill, fill_pages};
use super::{Place, TempStore, copy_all, from_each_to_each, written};
use crate::support::Harness as _;

from_each_to_each![
    a_copy_has_every_column_of_every_row,
    what_does_not_fit_a_page_is_copied_in_several,
    a_store_copied_onto_itself_stays_as_it_is,
];

fn a_copy_has_every_column_of_every_row(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    from.execute(LEASES)?;
    let report = copy_all(&source, &destination)?;
    assert_eq!(from.rows()?, to.rows()?);
    assert_eq!(written(&report), [8, 8, 3, 7, 24, 2, 0, 0, 0]);
    let stored = "SELECT task_id || revision || coalesce(retired_reason, '') AS line \
                  FROM session_revisions ORDER BY task_id, revision";
    assert_eq!(from.lines(stored)?, to.lines(stored)?);

    let again = copy_all(&source, &destination)?;
    assert_eq!(written(&again), [0; 9]);
    assert_eq!(destination.stats().writes, 3, "those are of the first copy");
    Ok(())
}

fn what_does_not_fit_a_page_is_copied_in_several(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill_pages(&source)?;
    let mut told = Vec::new();
    copy(&source, &destination, |progress| told.push(progress))?;
    assert!(from.rows()? == to.rows()?);
    assert_eq!(written(&copy_all(&source, &destination)?), [0; 9]);

    let turns = (300 / 4) * (1 + 2 + 3) + 9_000 + 9 + 2;
    for stage in [CopyStage::Copying, CopyStage::Verifying] {
        let told: Vec<_> = told.iter().filter(|told| told.stage == stage).collect();
        assert!(told.is_sorted_by_key(|told| (told.turns, told.tasks)));
        let last = told.last().expect("it was told of each stage");
        assert_eq!((last.tasks, last.turns), (304, turns));
        assert_eq!((last.all_tasks, last.all_turns), (304, turns));
    }
    Ok(())
}

fn a_store_copied_onto_itself_stays_as_it_is(place: &Place, _: &Place) -> anyhow::Result<()> {
    let repo = place.open()?;
    fill(&repo)?;
    let before = place.rows()?;
    for destination in [repo.clone(), place.open()?] {
        let writes = destination.stats().writes;
        let report = copy_all(&repo, &destination)?;
        assert_eq!(written(&report), [0; 9]);
        assert_eq!(report[0].left_alone, 0);
        assert_eq!(destination.stats().writes, writes);
    }
    assert_eq!(place.rows()?, before);
    Ok(())
}

#[test]
fn a_store_in_memory_can_be_copied_onto_itself() -> anyhow::Result<()> {
    let memory = Repo::open_in_memory()?;
    fill(&memory)?;
    assert_eq!(written(&copy_all(&memory, &memory)?), [0; 9]);
    Ok(())
}

/// The bytes of a store that nobody has open.
fn bytes(store: &TempStore) -> anyhow::Result<Vec<u8>> {
    assert!(!store.folder().join("store.db-wal").exists());
    Ok(std::fs::read(store.path())?)
}

#[test]
fn copying_again_leaves_the_file_byte_for_byte() -> anyhow::Result<()> {
    let (source, to) = (Repo::open_in_memory()?, TempStore::new()?);
    fill(&source)?;
    copy_all(&source, &to.open()?)?;
    let before = bytes(&to)?;
    let destination = to.open()?;
    copy_all(&source, &destination)?;
    assert_eq!(destination.stats().writes, 0);
    drop(destination);
    assert!(bytes(&to)? == before);
    Ok(())
}

#[cfg(feature = "postgres")]
fn text(repo: &Repo) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    turnkeep_admin::export_jsonl(repo, &mut text, |_| ())?;
    Ok(text)
}

/// Back and forth, and the file that comes back says the same.
#[cfg(feature = "postgres")]
#[test]
fn a_store_that_went_to_a_server_comes_back_the_same() -> anyhow::Result<()> {
    let (from, server, back) = (Place::file()?, Place::server()?, Place::file()?);
    let source = from.open()?;
    fill(&source)?;
    fill_pages(&source)?;
    fill_recordings(&source)?;
    from.execute(LEASES)?;
    copy_all(&source, &server.open()?)?;
    copy_all(&server.open()?, &back.open()?)?;
    assert!(from.rows()? == back.rows()?);
    assert!(text(&source)? == text(&back.open()?)?, "byte for byte");
    // The copy did not write the rows that both have.
    assert_eq!(written(&copy_all(&back.open()?, &source)?), [0; 9]);
    Ok(())
}

#[test]
fn an_empty_store_is_copied_too() -> anyhow::Result<()> {
    let report = copy_all(&Repo::open_in_memory()?, &Repo::open_in_memory()?)?;
    assert_eq!(written(&report), [0; 9]);
    assert!(report.iter().all(|table| table.rows == 0));
    Ok(())
}
