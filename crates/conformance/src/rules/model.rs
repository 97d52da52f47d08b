//! Compares the store with an in-memory model over random operations and reopens.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnkeep_repo::{
    BackendType, Durability, Error, ErrorKind, HistoryPage, MessageKey, Metadata, NewMessage,
    NewTask, Role, Seq, SessionId, StatusUpdate, TaskId, TaskQuery, TaskStatus,
};

use crate::scene::{binding, place};
use crate::{Harness, Options, Store};

#[derive(Debug, Clone)]
enum Op {
    SaveTask {
        task: u8,
        name: u8,
        depends_on: Vec<u8>,
    },
    SaveTasks {
        /// The names and the dependencies.
        plan: BTreeMap<u8, (u8, Vec<u8>)>,
    },
    UpdateStatus {
        task: u8,
        status: TaskStatus,
        error: Option<String>,
    },
    Claim {
        task: u8,
    },
    Requeue,
    Delete {
        task: u8,
    },
    SaveSession {
        task: u8,
        backend: u8,
        session: u8,
        /// Both folders, and a value in metadata.
        rest: [Option<u8>; 3],
    },
    Retire {
        task: u8,
        session: u8,
    },
    SaveMessages {
        task: u8,
        after: Option<i64>,
        /// The role, the content, the key and a value in metadata.
        messages: Vec<(u8, String, Option<u8>, Option<u8>)>,
    },
    HideAfter {
        task: u8,
        after: i64,
    },
    Page {
        task: u8,
        after: i64,
        limit: u32,
        with_hidden: bool,
    },
    Last {
        task: u8,
        count: u32,
    },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let task = 0..4u8;
    prop_oneof![
        3 => (task.clone(), 0..3u8, prop::collection::vec(0..5u8, 0..3))
            .prop_map(|(task, name, depends_on)| Op::SaveTask { task, name, depends_on }),
        1 => prop::collection::btree_map(task.clone(), (0..3u8, prop::collection::vec(0..5u8, 0..3)), 0..4)
            .prop_map(|plan| Op::SaveTasks { plan }),
        1 => (task.clone(), prop::sample::select(TaskStatus::ALL), prop::option::of("[a-z]{0,3}"))
            .prop_map(|(task, status, error)| Op::UpdateStatus { task, status, error }),
        1 => task.clone().prop_map(|task| Op::Claim { task }),
        1 => Just(Op::Requeue),
        1 => task.clone().prop_map(|task| Op::Delete { task }),
        3 => (task.clone(), 0..2u8, 0..3u8, prop::array::uniform3(prop::option::of(0..2u8)))
            .prop_map(|(task, backend, session, rest)| Op::SaveSession { task, backend, session, rest }),
        1 => (task.clone(), 0..3u8).prop_map(|(task, session)| Op::Retire { task, session }),
        6 => (
            task.clone(),
            prop::option::of(0..4i64),
            prop::collection::vec(
                (0..4u8, ".{0,3}", prop::option::of(0..4u8), prop::option::weighted(0.2, 0..2u8)),
                0..4,
            ),
        )
            .prop_map(|(task, after, messages)| Op::SaveMessages { task, after, messages }),
        2 => (task.clone(), 0..8i64).prop_map(|(task, after)| Op::HideAfter { task, after }),
        2 => (task.clone(), 0..8i64, 0..4u32, any::<bool>())
            .prop_map(|(task, after, limit, with_hidden)| Op::Page { task, after, limit, with_hidden }),
        1 => (task, 0..4u32).prop_map(|(task, count)| Op::Last { task, count }),
        1 => Just(Op::Reopen),
    ]
}

/// The kinds of refusal that the model predicts.
#[derive(Debug, Clone, PartialEq)]
enum Refusal {
    TaskNotFound,
    DependencyNotFound,
    DependencyCycle,
    SeqConflict(Option<Seq>, Option<Seq>),
    KeyConflict(Seq),
}

fn refusal(error: Error) -> Refusal {
    match *error.kind() {
        ErrorKind::TaskNotFound => Refusal::TaskNotFound,
        ErrorKind::DependencyNotFound { .. } => Refusal::DependencyNotFound,
        ErrorKind::DependencyCycle { .. } => Refusal::DependencyCycle,
        ErrorKind::SeqConflict { expected, actual } => Refusal::SeqConflict(expected, actual),
        ErrorKind::KeyConflict { seq, .. } => Refusal::KeyConflict(seq),
        _ => panic!("unexpected {error:?}"),
    }
}

/// The role, the content, the key and a value in metadata.
type Turn = (Role, String, Option<u8>, Option<u8>);

/// The agent, the session, both folders and a value in metadata.
type Binding = (u8, u8, [Option<u8>; 3]);

#[derive(Debug, Clone, Default, PartialEq)]
struct ModelTask {
    name: u8,
    depends_on: BTreeSet<u8>,
    status: Option<TaskStatus>,
    error: Option<String>,
    session: Option<Binding>,
    /// The binding, and why it was retired.
    revisions: Vec<(Binding, Option<&'static str>)>,
    turns: Vec<Turn>,
    hidden: BTreeSet<i64>,
}

impl ModelTask {
    fn visible_seqs(&self) -> Vec<i64> {
        let seqs = 1..=self.turns.len() as i64;
        seqs.filter(|seq| !self.hidden.contains(seq)).collect()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    tasks: BTreeMap<u8, ModelTask>,
}

impl Model {
    fn task(&mut self, task: u8) -> Result<&mut ModelTask, Refusal> {
        self.tasks.get_mut(&task).ok_or(Refusal::TaskNotFound)
    }

    fn save_tasks(&mut self, plan: &BTreeMap<u8, (u8, Vec<u8>)>) -> Result<(), Refusal> {
        let mut saved = self.clone();
        for (task, (name, depends_on)) in plan {
            let entry = saved.tasks.entry(*task).or_insert_with(|| ModelTask {
                status: Some(TaskStatus::Pending),
                ..ModelTask::default()
            });
            entry.name = *name;
            entry.depends_on = depends_on.iter().copied().collect();
        }
        let mut all = plan.values().flat_map(|(_, depends_on)| depends_on);
        if !all.all(|dependency| saved.tasks.contains_key(dependency)) {
            return Err(Refusal::DependencyNotFound);
        }
        // Without the tasks that wait for none of the others, again and again, only circles are left.
        let mut left = saved.tasks.clone();
        while let Some(free) = left
            .iter()
            .find(|(_, task)| task.depends_on.iter().all(|it| !left.contains_key(it)))
            .map(|(id, _)| *id)
        {
            left.remove(&free);
        }
        if !left.is_empty() {
            return Err(Refusal::DependencyCycle);
        }
        *self = saved;
        Ok(())
    }

    fn save_session(&mut self, task: u8, binding: Binding) -> Result<(), Refusal> {
        let task = self.task(task)?;
        if task.session != Some(binding) {
            if task.session.is_some() {
                task.revisions.last_mut().expect("the current one").1 = Some("replaced");
            }
            task.session = Some(binding);
            task.revisions.push((binding, None));
        }
        Ok(())
    }

    fn retire(&mut self, task: u8, session: u8) -> bool {
        let Ok(task) = self.task(task) else {
            return false;
        };
        if task.session.is_none_or(|current| current.1 != session) {
            return false;
        }
        task.session = None;
        task.revisions.last_mut().expect("the current one").1 = Some("dead");
        true
    }

    fn save_messages(
        &mut self,
        task: u8,
        after: Option<i64>,
        messages: &[Turn],
    ) -> Result<Vec<Seq>, Refusal> {
        let last = self
            .tasks
            .get(&task)
            .map_or(0, |task| task.turns.len() as i64);
        if let Some(expected) = after.filter(|expected| *expected != last) {
            return Err(Refusal::SeqConflict(place(expected), place(last)));
        }
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let task = self.task(task)?;
        let mut turns = task.turns.clone();
        let mut seqs = Vec::new();
        for message in messages {
            let same_key = |turn: &Turn| message.2.is_some() && turn.2 == message.2;
            let stored = turns.iter().position(same_key);
            let seq = Seq::new(stored.unwrap_or(turns.len()) as i64 + 1).unwrap();
            match stored {
                Some(at) if turns[at] != *message => return Err(Refusal::KeyConflict(seq)),
                Some(_) => {}
                None => turns.push(message.clone()),
            }
            seqs.push(seq);
        }
        task.turns = turns;
        Ok(seqs)
    }

    fn hide_after(&mut self, task: u8, after: i64) -> Result<i64, Refusal> {
        let task = self.task(task)?;
        let visible = task.visible_seqs();
        let newly: Vec<i64> = visible.into_iter().filter(|seq| *seq > after).collect();
        task.hidden.extend(&newly);
        Ok(newly.len() as i64)
    }

    fn ready(&self) -> Vec<u8> {
        let done = |task: &u8| {
            // All tasks have `FailureMode::Hard`.
            matches!(
                self.tasks[task].status,
                Some(TaskStatus::Completed | TaskStatus::Skipped)
            )
        };
        self.tasks
            .iter()
            .filter(|(_, task)| {
                matches!(
                    task.status,
                    Some(TaskStatus::Pending | TaskStatus::Eligible)
                )
            })
            .filter(|(_, task)| task.depends_on.iter().all(done))
            .map(|(id, _)| *id)
            .collect()
    }
}

fn id(task: u8) -> TaskId {
    TaskId::new(format!("task-{task}")).unwrap()
}

fn number(text: &str) -> u8 {
    text.rsplit('-').next().unwrap().parse().unwrap()
}

fn backend(backend: u8) -> BackendType {
    if backend == 0 {
        BackendType::Claude
    } else {
        "backend-1".parse().unwrap()
    }
}

fn object(value: &str) -> Metadata {
    Metadata::from_serialize(&BTreeMap::from([("k", value)])).unwrap()
}

fn value_of(object: &Metadata) -> u8 {
    let object: BTreeMap<String, String> = object.deserialize().unwrap();
    number(&object["k"])
}

fn new_task(task: u8, name: u8, depends_on: &[u8]) -> NewTask {
    let depends_on = depends_on.iter().map(|task| id(*task));
    NewTask::new(id(task), name.to_string()).depends_on(depends_on)
}

/// Runs the operation on both and compares the answers.
fn step(repo: &impl Store, model: &mut Model, op: &Op) {
    match op {
        Op::SaveTask {
            task,
            name,
            depends_on,
        } => {
            let answer = repo.save_task(&new_task(*task, *name, depends_on));
            let plan = BTreeMap::from([(*task, (*name, depends_on.clone()))]);
            assert_eq!(answer.map_err(refusal), model.save_tasks(&plan));
        }
        Op::SaveTasks { plan } => {
            let new = plan.iter();
            let new: Vec<_> = new.map(|(task, it)| new_task(*task, it.0, &it.1)).collect();
            let answer = repo.save_tasks(&new).map_err(refusal);
            assert_eq!(answer, model.save_tasks(plan));
        }
        Op::UpdateStatus {
            task,
            status,
            error,
        } => {
            let mut update = StatusUpdate::from(*status);
            update.error = error.clone();
            let answer = repo.update_task_status(&id(*task), update).map_err(refusal);
            let expected = model.task(*task).map(|task| {
                task.status = Some(*status);
                task.error = error.clone();
            });
            assert_eq!(answer, expected);
        }
        Op::Claim { task } => {
            let answer = repo.claim_task(&id(*task)).map_err(refusal);
            let expected = model.task(*task).map(|task| {
                let free = matches!(
                    task.status,
                    Some(TaskStatus::Pending | TaskStatus::Eligible)
                );
                if free {
                    task.status = Some(TaskStatus::Running);
                }
                free
            });
            assert_eq!(answer, expected);
        }
        Op::Requeue => {
            let mut expected = Vec::new();
            for (task, state) in &mut model.tasks {
                if state.status == Some(TaskStatus::Running) {
                    state.status = Some(TaskStatus::Pending);
                    expected.push(id(*task));
                }
            }
            assert_eq!(repo.requeue_running().unwrap(), expected);
        }
        Op::Delete { task } => {
            let expected = model.tasks.remove(task).is_some();
            for other in model.tasks.values_mut() {
                other.depends_on.remove(task);
            }
            assert_eq!(repo.delete_task(&id(*task)).unwrap(), expected);
        }
        Op::SaveSession {
            task,
            backend: of,
            session,
            rest,
        } => {
            let [dir, config, value] =
                rest.map(|number| number.map(|number| format!("/dir-{number}")));
            let session_id = format!("session-{session}");
            let mut new = binding(backend(*of), &session_id, dir.as_deref()).unwrap();
            new.config_dir = config.map(|dir| dir.parse().unwrap());
            new.metadata = value.map(|value| object(&value));
            let answer = repo.save_session(&id(*task), &new).map_err(refusal);
            let expected = model.save_session(*task, (*of, *session, *rest));
            assert_eq!(answer.map(|_| ()), expected);
        }
        Op::Retire { task, session } => {
            let session_id = SessionId::new(format!("session-{session}")).unwrap();
            let answer = repo
                .retire_session(&id(*task), &session_id, "dead")
                .unwrap();
            assert_eq!(answer, model.retire(*task, *session));
        }
        Op::SaveMessages {
            task,
            after,
            messages,
        } => {
            let messages: Vec<Turn> = messages
                .iter()
                .map(|(role, content, key, value)| {
                    let role = Role::ALL[usize::from(*role)];
                    (role, content.clone(), *key, *value)
                })
                .collect();
            let new: Vec<NewMessage<'_>> = messages
                .iter()
                .map(|(role, content, key, value)| {
                    let mut message = NewMessage::new(*role, content.as_str());
                    message.key = key.map(|key| MessageKey::new(format!("key-{key}")).unwrap());
                    message.metadata = value.map(|value| object(&value.to_string()));
                    message
                })
                .collect();
            let answer = match after {
                Some(after) => repo.save_messages_after(&id(*task), place(*after), &new),
                None => repo.save_messages(&id(*task), &new),
            };
            let expected = model.save_messages(*task, *after, &messages);
            assert_eq!(answer.map_err(refusal), expected);
        }
        Op::HideAfter { task, after } => {
            let answer = repo.hide_after(&id(*task), place(*after)).map_err(refusal);
            assert_eq!(answer, model.hide_after(*task, *after));
        }
        Op::Page {
            task,
            after,
            limit,
            with_hidden,
        } => {
            let page = HistoryPage::new(*limit).after(place(*after));
            let page = if *with_hidden {
                page.with_hidden()
            } else {
                page
            };
            let turns = repo.get_history_page(&id(*task), page).unwrap();
            let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq.get()).collect();
            let mut expected = match model.tasks.get(task) {
                Some(task) if *with_hidden => (1..=task.turns.len() as i64).collect(),
                Some(task) => task.visible_seqs(),
                None => Vec::new(),
            };
            expected.retain(|seq| seq > after);
            expected.truncate(*limit as usize);
            assert_eq!(seqs, expected);
        }
        Op::Last { task, count } => {
            let turns = repo.get_history_last(&id(*task), *count).unwrap();
            let seqs: Vec<i64> = turns.iter().map(|turn| turn.seq.get()).collect();
            let stored = model.tasks.get(task);
            let expected = stored.map_or(Vec::new(), ModelTask::visible_seqs);
            let start = expected.len().saturating_sub(*count as usize);
            assert_eq!(seqs, expected[start..]);
        }
        Op::Reopen => {}
    }
}

/// The binding of a session or of a revision.
macro_rules! found_binding {
    ($row:expr) => {{
        let row = &$row;
        let rest = [
            row.working_dir.as_ref().map(|dir| number(dir.as_str())),
            row.config_dir.as_ref().map(|dir| number(dir.as_str())),
            row.metadata.as_ref().map(value_of),
        ];
        let backend = u8::from(row.backend_type != BackendType::Claude);
        (backend, number(row.session_id.as_str()), rest)
    }};
}

/// Reads everything there is and compares it.
fn compare(repo: &impl Store, model: &Model) {
    let mut found = Model::default();
    let mut summaries = repo.list_tasks(&TaskQuery::new()).unwrap().tasks;
    for task in repo.get_tasks().unwrap() {
        assert_eq!(repo.get_task(&task.id).unwrap(), task);
        let current = repo.find_session(&task.id).unwrap();
        let revisions = repo.list_session_revisions(&task.id).unwrap();
        assert!(
            revisions
                .iter()
                .map(|revision| revision.revision)
                .eq(1..=revisions.len() as i64)
        );
        let all = HistoryPage::new(u32::MAX).with_hidden();
        let history = repo.get_history_page(&task.id, all).unwrap();
        let last_seq = history.len() as i64;
        assert!(history.iter().map(|turn| turn.seq.get()).eq(1..=last_seq));
        assert_eq!(repo.last_seq(&task.id).unwrap(), place(last_seq));
        let mut hidden: BTreeSet<i64> = (1..=last_seq).collect();
        let visible = repo.get_history(&task.id).unwrap();
        for turn in &visible {
            assert_eq!(*turn, history[turn.seq.get() as usize - 1]);
            hidden.remove(&turn.seq.get());
        }
        assert_eq!(repo.count_history(&task.id).unwrap(), visible.len() as i64);
        let times = history.iter().map(|turn| turn.timestamp);
        let last_active_at = times.chain([task.status_changed_at]).max().unwrap();
        let at = summaries.iter().position(|it| it.id == task.id).unwrap();
        let summary = summaries.swap_remove(at);
        assert_eq!(
            (summary.last_active_at, summary.turns),
            (last_active_at, history.len() as u64)
        );
        found.tasks.insert(
            number(task.id.as_str()),
            ModelTask {
                name: task.name.parse().unwrap(),
                depends_on: task
                    .depends_on
                    .iter()
                    .map(|id| number(id.as_str()))
                    .collect(),
                status: Some(task.status),
                error: task.error,
                session: current.map(|s| found_binding!(s)),
                revisions: revisions
                    .iter()
                    .map(|r| {
                        let reason = match r.retired_reason.as_deref() {
                            None => None,
                            Some("replaced") => Some("replaced"),
                            Some("dead") => Some("dead"),
                            Some(other) => panic!("unexpected reason {other}"),
                        };
                        assert_eq!(r.retired_at.is_some(), reason.is_some());
                        (found_binding!(r), reason)
                    })
                    .collect(),
                turns: history
                    .into_iter()
                    .map(|t| {
                        (
                            t.role,
                            t.content,
                            t.message_key.map(|key| number(key.as_str())),
                            t.metadata.map(|metadata| value_of(&metadata)),
                        )
                    })
                    .collect(),
                hidden,
            },
        );
    }
    assert_eq!(&found, model);
    let mut ready: Vec<u8> = repo
        .ready_tasks()
        .unwrap()
        .iter()
        .map(|task| number(task.id.as_str()))
        .collect();
    ready.sort_unstable();
    assert_eq!(ready, model.ready());
}

/// Random calls, with restarts in between, return the same as an in-memory model and leave the same
/// state.
pub fn the_store_matches_the_model<H: Harness>() -> anyhow::Result<()> {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        // Print failing cases instead of writing them into the source tree.
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let store = H::new()?;
    let open = || {
        let options = Options::new().durability(Durability::Normal);
        store.open_with(options).unwrap()
    };
    // Opening is the most expensive call, so all cases share a handle.
    let last = RefCell::new(Some(open()));
    let result = runner.run(&prop::collection::vec(op(), 1..60), |ops| {
        let mut repo = last.take().unwrap_or_else(open);
        // All cases share a store; start each with an empty one.
        for task in repo.get_tasks().unwrap() {
            assert!(repo.delete_task(&task.id).unwrap());
        }
        let mut model = Model::default();
        for op in &ops {
            if matches!(op, Op::Reopen) {
                drop(repo);
                repo = open();
            }
            step(&repo, &mut model, op);
        }
        compare(&repo, &model);
        drop(repo);
        let repo = open();
        compare(&repo, &model);
        last.replace(Some(repo));
        Ok(())
    });
    result.map_err(|error| anyhow!("{error}"))
}
