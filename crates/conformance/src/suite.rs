/// Stamps one `#[test]` for each rule, in a module for each area, for the store of one
/// [`Harness`](crate::Harness).
///
/// To be written in a module named for the store, which is then part of the names:
/// `my_store::history::save_and_get_history`.
///
/// ```
/// # use turnkeep_conformance::{Harness, Options};
/// mod my_store {
/// #   pub struct MyHarness;
/// #   impl turnkeep_conformance::Harness for MyHarness {
/// #       type Store = turnkeep_repo::Repo;
/// #       fn new() -> anyhow::Result<Self> { Ok(Self) }
/// #       fn open_with(&self, _: turnkeep_conformance::Options) -> turnkeep_repo::Result<Self::Store> {
/// #           turnkeep_repo::Repo::open_in_memory()
/// #       }
/// #       fn worker(&self) -> std::process::Command { std::process::Command::new("my-worker") }
/// #       fn check(&self) -> anyhow::Result<()> { Ok(()) }
/// #   }
///     turnkeep_conformance::suite!(MyHarness);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! suite {
    ($harness:ty) => {
        /// What the tests of the modules below run on.
        type HarnessOfTheSuite = $harness;

        $crate::__area! { session:
            save_and_get_session,
            save_session_upsert,
            get_session_not_found,
            session_for_an_unknown_task_is_refused,
            session_backend_types,
            expected_backend_is_checked,
            retire_session_compares_before_it_sets,
            list_sessions_is_ordered_by_task,
        }
        $crate::__area! { history:
            save_and_get_history,
            get_history_empty,
            get_history_ordering,
            order_ignores_the_clock,
            message_for_an_unknown_task_is_refused,
            the_same_key_is_the_same_turn,
            expected_last_seq_is_checked_first,
            a_batch_is_all_or_none,
            pages_and_the_last_turns,
            a_history_begun_anew_elsewhere_is_gone_on_with,
        }
        $crate::__area! { task:
            save_and_get_task,
            save_task_idempotent,
            a_recorded_task_has_the_times_of_its_recording,
            status_changed_at_moves_with_the_status_alone,
            update_task_status,
            update_task_status_not_found,
            task_error_persistence,
            list_tasks,
            impossible_dependencies_change_nothing,
            dependencies_of_a_task_that_others_wait_for,
            delete_task_takes_everything_under_it,
            ready_tasks_heeds_failure_modes,
            claim_task_has_one_winner,
            requeue_running,
        }
        $crate::__area! { lease:
            ready_tasks_are_given_out_oldest_first,
            as_many_as_asked_for_and_no_more_than_a_thousand,
            a_lease_is_a_microsecond_to_a_day,
            a_task_whose_lease_has_ended_is_given_to_the_next,
            a_lease_goes_by_the_clock_of_the_database,
            a_lease_can_be_renewed_until_someone_else_has_the_task,
            a_worker_that_lost_its_task_can_write_nothing,
            the_fence_is_looked_at_first,
            a_task_that_is_written_to_is_not_given_away,
            any_status_but_running_ends_the_lease,
            a_task_that_is_taken_back_is_lost_to_its_worker,
            saving_a_plan_again_leaves_leases_alone,
            threads_share_the_work_and_no_task,
            a_lost_claim_is_refused_in_a_crowd,
            no_fence_is_given_out_twice,
            processes_share_the_work_and_no_task,
        }
        $crate::__area! { prune:
            only_tasks_that_are_over_go,
            a_dry_run_says_what_would_go,
            age_goes_by_the_clock_of_the_database,
            a_task_with_a_young_turn_stays,
            a_status_is_activity_and_a_saved_plan_is_none,
            the_least_recently_active_go_first,
            only_what_is_as_planned_goes,
            a_turn_that_comes_meanwhile_keeps_its_task,
            as_many_go_as_it_takes,
            what_is_still_waited_for_stays,
            a_rule_that_makes_no_sense_is_refused,
            a_task_that_is_waited_for_meanwhile_stays,
        }
        $crate::__area! { usage:
            what_there_is_is_counted,
            the_ten_largest_tasks_are_named,
        }
        $crate::__area! { contents:
            contents_survive_byte_for_byte,
            fifty_megabytes_in_one_message,
            a_text_over_the_limit_is_refused,
            ids_find_only_what_they_name,
            nothing_said_shows_in_debug_or_errors,
            nul_is_a_character_of_free_texts,
        }
        $crate::__area! { isolation:
            a_task_shows_nothing_of_another,
        }
        $crate::__area! { concurrency:
            threads_append_without_gap_or_loss,
            handles_append_without_gap_or_loss,
            one_writer_wins_an_expected_seq,
            a_key_is_one_turn_for_all_handles,
            keyed_messages_can_be_sent_again,
            dependencies_saved_at_once_close_no_circle,
            bindings_saved_at_once_are_all_on_record,
            one_caller_retires_a_binding,
            a_new_task_may_be_saved_by_many,
            one_handle_wins_a_task,
            a_task_deleted_meanwhile_leaves_nothing,
            readers_see_whole_batches,
            readers_see_whole_tasks,
            handles_share_a_store,
            a_clone_outlives_its_handle,
        }
        $crate::__area! { processes:
            readers_do_not_wait_for_a_writer,
            a_held_lock_is_busy_after_the_timeout_and_no_harm,
            a_short_lock_is_waited_for,
            two_processes_append,
            sixteen_processes_append,
            sixteen_processes_make_one_store,
            one_process_wins_a_task,
        }
        $crate::__area! { crash:
            kill_nine_loses_nothing_acknowledged,
            kill_nine_while_the_store_is_made,
        }
        $crate::__area! { errors:
            foreign_key_enforced,
            conversation_history_foreign_key,
            a_missing_store_is_made_only_when_wanted,
        }
        $crate::__area! { model:
            the_store_behaves_like_the_model,
        }
    };
}

/// One area of [`suite!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __area {
    ($area:ident: $($rule:ident,)+) => {
        mod $area {
            $(
                #[test]
                fn $rule() -> $crate::anyhow::Result<()> {
                    $crate::rules::$area::$rule::<super::HarnessOfTheSuite>()
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    /// A rule that the macro does not list would never run.
    #[test]
    fn no_rule_is_forgotten() -> anyhow::Result<()> {
        let mut area = "";
        let mut listed = BTreeSet::new();
        for line in include_str!("suite.rs").lines().map(str::trim) {
            if let Some(next) = line.strip_prefix("$crate::__area! { ") {
                area = next.trim_end_matches(':');
            } else if let Some(rule) = line.strip_suffix(',') {
                listed.insert(format!("{area}::{rule}"));
            }
        }
        let mut written = BTreeSet::new();
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules"))? {
            let path = entry?.path();
            let area = path.file_stem().unwrap_or_default().to_string_lossy();
            for line in fs::read_to_string(&path)?.lines() {
                if let Some(rule) = line.strip_prefix("pub fn ") {
                    let rule = rule.split(['<', '(']).next().unwrap_or_default();
                    written.insert(format!("{area}::{rule}"));
                }
            }
        }
        assert!(written.len() > 50, "this test finds them: {written:?}");
        let forgotten: Vec<_> = written.difference(&listed).collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
        Ok(())
    }
}
