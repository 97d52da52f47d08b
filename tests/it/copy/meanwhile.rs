//! Stores that others use while they are copied.

use std::thread;

use turnkeep_admin::{CopiedTable, Error, copy};
use turnkeep_repo::{NewTask, Role};

use super::scene::{fill, fill_pages};
use super::{Place, copy_all, from_each_to_each, id, written};

from_each_to_each![
    copies_at_the_same_time_complete_each_other,
    a_source_that_is_being_written_is_copied_in_the_end,
];

fn copies_at_the_same_time_complete_each_other(from: &Place, to: &Place) -> anyhow::Result<()> {
    fill(&from.open()?)?;
    fill_pages(&from.open()?)?;
    drop(to.open()?);
    let reports = thread::scope(|scope| {
        let copy = || -> anyhow::Result<Vec<CopiedTable>> {
            Ok(copy(&from.open()?, &to.open()?, |_| ())?)
        };
        let copies = [0, 1, 2].map(|_| scope.spawn(copy));
        copies.map(|copy| copy.join().expect("no panic"))
    });
    let mut sums = [0; 9];
    for report in reports {
        for (sum, written) in sums.iter_mut().zip(written(&report?)) {
            *sum += written;
        }
    }
    assert_eq!(
        sums,
        [312, 208, 3, 12, 9_485, 5, 0, 0, 0],
        "each row by one of them"
    );
    assert!(from.rows()? == to.rows()?);
    Ok(())
}

/// A source that is written to is copied as far as it can be; when it rests, whole.
fn a_source_that_is_being_written_is_copied_in_the_end(
    from: &Place,
    to: &Place,
) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    fill(&source)?;
    let mut turn = 0;
    // From within the copy, so that each one meets changes, however fast it is.
    let result = copy(&source, &destination, |_| {
        turn += 1;
        source
            .save_message(&id("s0"), Role::User, &turn.to_string())
            .expect("the source can be written to");
        if turn == 1 {
            source
                .delete_task(&id("s5"))
                .expect("a task can be deleted");
            let task = NewTask::new(id("zz"), "late").depends_on([id("s0")]);
            source.save_task(&task).expect("a task can be saved");
        }
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert!(error.to_string().ends_with("copy again"), "{error}");
    copy_all(&source, &destination)?;
    Ok(())
}

/// The copy waits for a server that dies and comes back.
#[cfg(feature = "postgres")]
#[test]
fn a_server_may_restart_in_the_middle() -> anyhow::Result<()> {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use turnkeep_repo::Repo;
    use turnkeep_test_postgres::Server;

    let server = Server::start(&[])?;
    let database = server.database()?;
    let (from, back) = (Place::file()?, Place::file()?);
    fill_pages(&from.open()?)?;
    let on_server = Repo::builder(database.url())
        .timeout(Duration::from_secs(120))
        .open()?;
    for (source, destination) in [(&from.open()?, &on_server), (&on_server, &back.open()?)] {
        let (sender, asked) = channel();
        thread::scope(|scope| {
            let server = &server;
            let restarts = scope.spawn(move || -> anyhow::Result<usize> {
                let mut restarts = 0;
                for () in asked {
                    server.kill()?;
                    server.start_again()?;
                    restarts += 1;
                }
                Ok(restarts)
            });
            let mut told = 0;
            let result = copy(source, destination, |_| {
                told += 1;
                if [2, 4, 7, 12, 17].contains(&told) {
                    sender.send(()).expect("somebody listens");
                }
            });
            drop(sender);
            let restarts = restarts.join().expect("no panic")?;
            assert_eq!(restarts, 5);
            // A commit that was not answered is not counted.
            assert!(written(&result?)[4] <= 9_461);
            anyhow::Ok(())
        })?;
    }
    assert!(from.rows()? == back.rows()?);
    Ok(())
}

/// A binding that others retire while a copy is about to retire it is a conflict.
#[cfg(feature = "postgres")]
#[test]
fn a_session_that_others_retire_meanwhile_is_a_conflict() -> anyhow::Result<()> {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use turnkeep_repo::{BackendType, Repo, SessionId};

    use crate::support::{binding, save_task};

    let place = Place::server()?;
    let source = Repo::open_in_memory()?;
    let task = save_task(&source, "t")?;
    source.save_session(&task, &binding(BackendType::Claude, "a", None)?)?;
    let destination = place.open()?;
    copy_all(&source, &destination)?;
    assert!(source.retire_session(&task, &SessionId::new("a")?, "here")?);

    let address = place.address();
    let mut other = diesel::PgConnection::establish(address.to_str().expect("UTF-8"))?;
    other.batch_execute(
        "BEGIN; UPDATE session_revisions SET retired_at = 1, retired_reason = 'there'; \
         DELETE FROM sessions",
    )?;
    let waiting = "SELECT count(*) AS line FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database()";
    let result = thread::scope(|scope| {
        let copying = scope.spawn(|| copy(&source, &destination, |_| ()));
        while place.lines(waiting)? != ["1"] {
            thread::yield_now();
        }
        other.batch_execute("COMMIT")?;
        anyhow::Ok(copying.join().expect("no panic"))
    })?;
    assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    let record = destination.list_session_revisions(&task)?;
    assert_eq!(record[0].retired_reason.as_deref(), Some("there"));
    Ok(())
}
