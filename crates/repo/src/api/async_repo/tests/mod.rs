//! Behaviour that only futures have: they wait without a thread, be dropped, outlive their runtime. What the
//! methods return is tested through the integration tests, all of which run on both APIs.

mod cancelling;
mod closing;
mod crowds;
mod failing;
mod following;
mod runtimes;
mod scene;
mod storm;

use std::time::Duration;

use turnkeep_model::{
    BackendType, MessageKey, NewSession, NewTask, Role, SessionId, TaskId, TaskStatus,
};

use super::AsyncRepo;
use crate::HistoryPage;

/// A host may spawn them on a runtime of many threads.
#[test]
fn futures_can_be_sent_to_another_thread() {
    fn check<T: Send>(future: T) {
        drop(future);
    }
    fn check_handle<T: Clone + Send + Sync + 'static>(_: &T) {}

    let repo = AsyncRepo::from(crate::Repo::open_in_memory().unwrap());
    let (task, session) = (TaskId::new("t").unwrap(), SessionId::new("s").unwrap());
    let new_task = NewTask::new(task.clone(), "T");
    let binding = NewSession::new(BackendType::Claude, session.clone());
    check_handle(&repo);
    check(AsyncRepo::open("store.db"));
    check(AsyncRepo::builder("store.db").open_async());
    check(AsyncRepo::open_in_memory());
    check(repo.save_task(&new_task));
    check(repo.get_task(&task));
    check(repo.get_tasks());
    check(repo.ready_tasks());
    check(repo.update_task_status(&task, TaskStatus::Running));
    check(repo.claim_task(&task));
    check(repo.requeue_running());
    check(repo.delete_task(&task));
    check(repo.save_session(&task, &binding));
    check(repo.get_session(&task));
    check(repo.find_session(&task));
    check(repo.get_session_for_backend(&task, &BackendType::Claude));
    check(repo.list_sessions());
    check(repo.list_session_revisions(&task));
    check(repo.retire_session(&task, &session, "dead"));
    check(repo.save_message(&task, Role::User, "text"));
    check(repo.save_messages(&task, &[]));
    check(repo.save_missing_messages(&task, &[]));
    check(repo.save_messages_after(&task, None, &[]));
    check(repo.get_history(&task));
    check(repo.get_history_last(&task, 1));
    check(repo.get_history_page(&task, HistoryPage::new(1)));
    check(repo.find_turn_by_key(&task, &MessageKey::new("k").unwrap()));
    check(repo.count_history(&task));
    check(repo.last_seq(&task));
    check(repo.get_conversation(&task));
    check(repo.hide_after(&task, None));
    check(repo.wait_for_turns(&task, None, Duration::ZERO));
    check(repo.follow(&task, None).next());
    check(repo.close());
}
