//! The interfaces of other programs on top of the store, each in a few lines, and the tests that those programs have
//! for them.

pub mod original;

/// Stamps the tests of this folder for one engine.
macro_rules! suite {
    ($harness:ty) => {
        mod callers {
            $crate::callers::suite! { @ super::super::HarnessOfTheSuite:
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
