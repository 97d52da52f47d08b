//! Whole plans: tasks that depend on each other, saved at once.

use turnkeep_repo::{ErrorKind, NewTask, StatusUpdate, TaskId, TaskStatus};

use crate::scene::{open_with_task, save_task};
use crate::{Harness, Store};

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn task(task: &str, depends_on: &[&str]) -> NewTask {
    NewTask::new(id(task), "A task").depends_on(depends_on.iter().map(|it| id(it)))
}

/// The ids and dependencies of all tasks.
fn stored(repo: &impl Store) -> turnkeep_repo::Result<Vec<(TaskId, Vec<TaskId>)>> {
    let tasks = repo.get_tasks()?.into_iter();
    let mut stored: Vec<_> = tasks.map(|task| (task.id, task.depends_on)).collect();
    stored.sort();
    Ok(stored)
}

/// A task of a plan may depend on a later one, and on one that was stored before.
pub fn a_plan_is_saved_in_any_order<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, _) = open_with_task(&store, "stored")?;
    repo.save_tasks(&[])?;
    let mut plan = vec![
        task("deploy", &["test", "build"]),
        task("test", &["build", "stored"]),
        task("write the docs", &[]),
        task("build", &["stored"])
            .prompt("Build it.")
            .agent_role("coder"),
    ];
    repo.save_tasks(&plan)?;
    let expected = [
        (id("build"), vec![id("stored")]),
        (id("deploy"), vec![id("build"), id("test")]),
        (id("stored"), vec![]),
        (id("test"), vec![id("build"), id("stored")]),
        (id("write the docs"), vec![]),
    ];
    assert_eq!(stored(&repo)?, expected);
    let build = repo.get_task(&id("build"))?;
    assert_eq!(build.prompt, "Build it.");
    assert_eq!(build.agent_role.as_deref(), Some("coder"));
    assert_eq!(build.status, TaskStatus::Pending);

    plan.reverse();
    let store = H::new()?;
    let other = store.open()?;
    other.save_task(&task("stored", &[]))?;
    other.save_tasks(&plan)?;
    assert_eq!(stored(&other)?, expected);
    Ok(())
}

/// Saving a plan again updates it, and leaves the progress and unchanged tasks alone.
pub fn a_plan_is_saved_again_without_its_progress<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let mut plan = [task("a", &["b"]), task("b", &[]), task("c", &["a", "b"])];
    repo.save_tasks(&plan)?;
    repo.update_task_status(&id("b"), StatusUpdate::completed("done"))?;
    let before = repo.get_tasks()?;
    repo.save_tasks(&plan)?;
    assert_eq!(repo.get_tasks()?, before, "the same again");

    plan[1].name = "Another name".into();
    plan[2].depends_on = vec![id("b")];
    repo.save_tasks(&plan)?;
    let b = repo.get_task(&id("b"))?;
    assert_eq!(b.name, "Another name");
    assert_eq!(
        (b.status, b.result.as_deref()),
        (TaskStatus::Completed, Some("done"))
    );
    assert_eq!(repo.get_task(&id("c"))?.depends_on, [id("b")]);
    assert_eq!(repo.get_task(&id("a"))?, before[0]);
    Ok(())
}

/// A plan may reverse stored dependencies: the stored ones of its tasks do not count.
pub fn dependencies_can_be_turned_around<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    repo.save_tasks(&[
        task("a", &["b"]),
        task("b", &["c"]),
        task("c", &[]),
        task("z", &["a"]),
    ])?;
    repo.save_tasks(&[task("a", &[]), task("b", &["a"]), task("c", &["b", "a"])])?;
    let expected = [
        (id("a"), vec![]),
        (id("b"), vec![id("a")]),
        (id("c"), vec![id("a"), id("b")]),
        (id("z"), vec![id("a")]),
    ];
    assert_eq!(stored(&repo)?, expected);
    Ok(())
}

/// A plan with an error is refused as a whole.
pub fn a_refused_plan_changes_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    repo.save_tasks(&[task("a", &[]), task("b", &["a"])])?;
    let before = repo.get_tasks()?;
    let changed = NewTask::new(id("a"), "Changed");

    let plan = [
        changed.clone(),
        task("new", &["a"]),
        task("lost", &["new", "none"]),
    ];
    let error = repo.save_tasks(&plan).unwrap_err();
    let depends_on = id("none");
    assert_eq!(*error.kind(), ErrorKind::DependencyNotFound { depends_on });
    assert_eq!(
        error.to_string(),
        "save_tasks: task `lost` can't depend on `none`, which does not exist"
    );

    let plan = [
        changed.clone(),
        task("b", &[]),
        task("new", &["new 2"]),
        task("new 2", &["new"]),
    ];
    let error = repo.save_tasks(&plan).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::DependencyCycle { .. }),
        "{error:?}"
    );

    let plan = [
        changed,
        task("new", &[]),
        task("b", &["a"]),
        task("new", &["a"]),
    ];
    let error = repo.save_tasks(&plan).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "save_tasks: invalid plan: the task `new` is in it twice"
    );
    assert_eq!(error.task_id(), Some(&id("new")));
    assert_eq!(repo.get_tasks()?, before);
    Ok(())
}

/// The error of a circle has its tasks in order, whether they are in the plan or stored.
pub fn a_circle_is_named_with_its_members<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let refused = |plan: &[NewTask]| {
        let error = repo.save_tasks(plan).unwrap_err();
        match error.kind() {
            ErrorKind::DependencyCycle { members } => {
                assert_eq!(error.task_id(), members.first());
                let members: Vec<_> = members.iter().map(|it| it.to_string()).collect();
                members.join(" ")
            }
            _ => panic!("{error:?}"),
        }
    };
    assert_eq!(refused(&[task("a", &[]), task("b", &["a", "b"])]), "b");
    let plan = [
        task("first", &["c"]),
        task("a", &["first", "b"]),
        task("b", &["c"]),
    ];
    assert_eq!(
        refused(&[&plan[..], &[task("c", &["d"]), task("d", &["b"])]].concat()),
        "c d b"
    );

    for (waiting, depends_on) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["b"])] {
        repo.save_task(&task(waiting, &depends_on))?;
    }
    save_task(&repo, "other")?;
    assert_eq!(refused(&[task("a", &["other", "c"])]), "a c b");
    assert_eq!(
        refused(&[task("new", &["c"]), task("a", &["new"])]),
        "new c b a"
    );
    // A task of the plan that does not change is a part of the circle, too.
    assert_eq!(
        refused(&[task("b", &["a"]), task("a", &["b", "other"])]),
        "a b"
    );
    assert_eq!(repo.get_tasks()?.len(), 4);
    Ok(())
}

/// Plans are larger than one statement, and deeper than a stack.
pub fn a_plan_has_thousands_of_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let name = |number: usize| format!("task {number:04}");
    let mut plan: Vec<NewTask> = (0..2_500)
        .map(|number: usize| {
            let before = [1, 7, 50].map(|steps| number.checked_sub(steps).map(name));
            let before: Vec<&str> = before.iter().flatten().map(String::as_str).collect();
            task(&name(number), &before)
        })
        .collect();
    plan.reverse();
    repo.save_tasks(&plan)?;
    let ready = repo.ready_tasks()?;
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].id, id("task 0000"));
    let last = repo.get_task(&id("task 2499"))?;
    assert_eq!(
        last.depends_on,
        [2449, 2492, 2498].map(|number| id(&name(number)))
    );

    plan[2_499].depends_on = vec![id("task 2499")];
    let error = repo.save_tasks(&plan).unwrap_err();
    match error.kind() {
        ErrorKind::DependencyCycle { members } => {
            assert!(error.to_string().len() < 500, "{error}");
            for (at, member) in members.iter().enumerate() {
                let next = &members[(at + 1) % members.len()];
                let member = plan.iter().find(|task| task.id == *member).unwrap();
                assert!(member.depends_on.contains(next), "{member:?} and {next}");
            }
        }
        _ => panic!("{error:?}"),
    }
    assert_eq!(repo.get_task(&id("task 0000"))?, ready[0]);
    Ok(())
}
