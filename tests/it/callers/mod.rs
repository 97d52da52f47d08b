//! The interfaces of other programs on top of the store, each in a few lines, and the tests that those programs have
//! for them.

pub mod claude_session_store;
pub mod openai_session;
pub mod orchestrator;
pub mod original;

/// Stamps the tests of this folder for one engine.
macro_rules! suite {
    ($harness:ty) => {
        mod callers {
            $crate::callers::suite! { @ super::super::HarnessOfTheSuite:
                claude_session_store {
                    appended_entries_are_loaded_in_order,
                    a_repeated_append_is_stored_once,
                    an_empty_append_makes_no_transcript,
                    projects_and_subpaths_are_apart,
                    delete_takes_the_subpaths_of_a_session,
                }
                openai_session {
                    items_are_returned_in_order,
                    a_limit_returns_the_latest_in_order,
                    no_items_are_added,
                    pop_item_removes_the_latest,
                    clear_session_removes_all_items,
                    equal_items_are_all_kept,
                    an_item_with_nul_is_refused,
                }
                orchestrator {
                    a_person_opens_a_chosen_task,
                    a_worker_takes_the_tasks_for_its_machine,
                    two_agents_never_write_one_file,
                    a_restarted_worker_goes_on,
                    a_hook_finds_the_task_of_its_session,
                    a_board_lists_tasks_in_pages,
                    a_failed_task_stops_its_dependents,
                    an_eligible_task_is_ready,
                    a_window_shows_turns_as_they_come,
                    a_viewer_cannot_write,
                }
                original {
                    save_and_get_task,
                    save_task_idempotent,
                    a_new_task_with_a_result,
                    a_plan_in_any_order,
                    update_task_status,
                    update_task_status_not_found,
                    list_tasks,
                    foreign_key_enforced,
                    task_error_persistence,
                    save_and_get_session,
                    save_session_upsert,
                    a_session_saved_twice,
                    get_session_not_found,
                    session_backend_types,
                    save_and_get_history,
                    get_history_empty,
                    get_history_ordering,
                    conversation_history_foreign_key,
                }
            }
        }
    };
    (@ $harness:ty: $($contract:ident { $($test:ident,)+ })+) => {
        $(
            mod $contract {
                $(
                    #[test]
                    fn $test() -> anyhow::Result<()> {
                        $crate::callers::$contract::$test::<$harness>()
                    }
                )+
            }
        )+
    };
}

pub(crate) use suite;
