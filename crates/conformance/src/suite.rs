/// Makes a `#[test]` of each rule for one [`Harness`](crate::Harness), in a module per area.
///
/// Call it in a module named after the store, which gives test names such as
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
        /// The harness of the tests in the modules below.
        type HarnessOfTheSuite = $harness;

        $crate::__area! { session:
            save_and_get_session,
            save_session_upsert,
            a_binding_keeps_its_folders_and_metadata,
            get_session_not_found,
            session_for_an_unknown_task_is_refused,
            session_backend_types,
            get_session_for_backend_checks_the_backend,
            retire_session_is_compare_and_set,
            list_sessions_is_ordered_by_task,
            a_task_is_found_by_its_session,
        }
        $crate::__area! { history:
            save_and_get_history,
            get_history_empty,
            get_history_ordering,
            order_ignores_the_clock,
            message_for_an_unknown_task_is_refused,
            message_keys_are_idempotent,
            metadata_of_turns_are_kept,
            find_turn_by_key_is_per_task,
            save_missing_messages_keeps_stored_turns,
            expected_last_seq_is_checked_before_keys,
            a_batch_is_atomic,
            pages_and_last_turns_are_slices_of_the_history,
            appends_follow_a_history_that_was_recreated,
        }
        $crate::__area! { read_only:
            a_viewer_reads_all_and_writes_nothing,
            a_viewer_follows_writers,
            a_viewer_makes_no_store,
        }
        $crate::__area! { follow:
            followers_get_each_turn_once_in_order,
            a_long_history_is_followed_in_order,
            a_wait_ends_with_a_turn_or_its_timeout,
            another_handle_is_followed,
            another_process_is_followed,
            a_deleted_task_ends_the_wait,
            a_shorter_history_is_a_conflict,
        }
        $crate::__area! { conversation:
            each_turn_has_the_session_that_said_it,
            a_conversation_is_of_one_moment,
        }
        $crate::__area! { retraction:
            undo_rewind_and_pop,
            pages_skip_hidden_turns,
            hidden_turns_keep_their_seqs_and_keys,
            hiding_nothing_records_nothing,
            a_transaction_can_hide_and_go_on,
            a_follower_skips_hidden_turns,
            each_turn_is_hidden_once,
            readers_see_whole_retractions,
            readers_see_no_part_of_a_deleted_history,
        }
        $crate::__area! { recording:
            a_file_grows,
            the_time_of_a_file_is_not_set_back,
            a_rewritten_file_gets_a_new_number,
            refused_bytes_change_nothing,
            dropped_files_leave_the_words,
            a_transaction_keeps_files,
            writers_of_one_file_keep_it_once,
            kill_nine_loses_no_acknowledged_bytes,
        }
        $crate::__area! { task:
            save_and_get_task,
            save_task_idempotent,
            a_recorded_task_keeps_its_times,
            a_new_task_may_have_ended,
            status_changed_at_follows_only_status_writes,
            metadata_and_not_before_are_part_of_the_plan,
            a_task_is_not_ready_before_its_time,
            update_task_status,
            update_task_status_not_found,
            task_error_persistence,
            get_tasks,
            refused_dependencies_change_nothing,
            replacing_dependencies_keeps_dependents,
            delete_task_cascades,
            ready_tasks_respects_failure_modes,
            progress_counts_every_task_once,
            progress_names_the_task_that_stops_another,
            claim_task_has_one_winner,
            requeue_running,
        }
        $crate::__area! { task_list:
            list_tasks_in_pages,
            list_tasks_that_meet_conditions,
            list_tasks_by_last_activity,
            list_tasks_by_metadata,
            list_tasks_in_folders,
            list_tasks_by_beginnings_of_ids,
            a_summary_has_the_last_activity,
        }
        $crate::__area! { transaction:
            a_checkpoint_is_one_transaction,
            an_error_or_a_panic_rolls_back,
            a_transaction_sees_its_own_writes,
            a_refused_method_is_undone_alone,
            seqs_stay_right_beside_other_writers,
            transactions_on_one_task_are_serial,
            a_fence_is_checked_in_a_transaction,
            a_write_beside_the_transaction_is_busy,
            others_wait_for_a_transaction,
            a_panic_in_a_method_ends_the_transaction,
        }
        $crate::__area! { plan:
            a_plan_is_saved_in_any_order,
            a_plan_is_saved_again_without_its_progress,
            dependencies_can_be_turned_around,
            a_refused_plan_changes_nothing,
            a_circle_is_named_with_its_members,
            a_plan_has_thousands_of_tasks,
        }
        $crate::__area! { import:
            a_removed_task_leaves_its_sessions_on_record,
            a_new_binding_ends_a_removal,
            a_removal_in_a_transaction_is_undone_with_it,
            remove_unchanged_keeps_changed_tasks,
            an_acknowledged_turn_keeps_its_listed_task,
            imported_files_are_replaced_by_their_path,
            a_changed_session_forgets_its_files,
        }
        $crate::__area! { lease:
            claim_ready_returns_the_oldest_first,
            claim_ready_returns_at_most_1000,
            claim_ready_includes_eligible_tasks,
            claim_takes_a_task_that_could_start_now,
            reclaim_returns_the_tasks_of_a_worker_with_new_fences,
            threads_claim_one_task_once,
            lease_length_is_bounded,
            an_expired_lease_can_be_claimed,
            leases_use_the_database_clock,
            renew_fails_once_the_lease_is_lost,
            release_gives_the_task_back,
            lost_follows_clock_and_fence,
            a_claim_reads_its_task,
            a_stale_fence_refuses_every_write,
            the_fence_is_checked_before_the_seq,
            fence_check_and_write_are_atomic,
            any_status_but_running_ends_the_lease,
            requeue_and_claim_task_invalidate_the_fence,
            save_task_keeps_the_lease,
            threads_claim_disjoint_tasks,
            a_stale_fence_is_refused_among_concurrent_writes,
            a_lost_claim_does_not_go_on_with_its_history,
            fences_are_unique,
            processes_claim_disjoint_tasks,
        }
        $crate::__area! { claim_filter:
            a_filter_selects_by_role_and_metadata,
            a_filter_reads_strings_at_the_top,
            a_filter_keeps_the_other_rules,
            a_refused_filter_changes_nothing,
        }
        $crate::__area! { written_files:
            a_written_file_has_one_running_task,
            waiting_tasks_do_not_hide_free_ones,
            an_expired_lease_holds_no_file,
            concurrent_claims_share_no_file,
        }
        $crate::__area! { prune:
            only_finished_tasks_are_deleted,
            a_dry_run_reports_the_same_and_deletes_nothing,
            age_uses_the_database_clock,
            a_recent_turn_keeps_its_task,
            a_status_change_is_activity_and_save_task_is_not,
            the_least_recently_active_are_deleted_first,
            prune_planned_skips_changed_tasks,
            a_concurrent_append_keeps_its_task,
            keep_bytes_deletes_no_more_than_needed,
            dependencies_of_unfinished_tasks_are_kept,
            an_empty_or_impossible_rule_is_refused,
            a_concurrent_dependent_keeps_its_dependency,
        }
        $crate::__area! { usage:
            usage_counts_tasks_turns_and_bytes,
            usage_counts_metadata,
            usage_counts_recordings,
            usage_lists_the_ten_largest_tasks,
        }
        $crate::__area! { contents:
            texts_round_trip_byte_for_byte,
            a_message_of_50_mb_round_trips,
            a_text_over_the_limit_is_refused,
            ids_are_compared_byte_for_byte,
            message_texts_are_not_in_debug_or_errors,
            nul_is_valid_in_texts_and_not_in_ids,
        }
        $crate::__area! { isolation:
            tasks_are_isolated,
        }
        $crate::__area! { concurrency:
            threads_append_without_gap_or_loss,
            handles_append_without_gap_or_loss,
            an_append_follows_what_others_have_done,
            one_writer_wins_an_expected_seq,
            a_message_key_is_unique_across_handles,
            keyed_messages_can_be_retried,
            missing_messages_are_stored_once,
            concurrent_dependencies_form_no_cycle,
            concurrent_bindings_are_all_recorded,
            one_caller_retires_a_binding,
            a_new_task_can_be_saved_concurrently,
            claim_task_has_one_winner_across_handles,
            a_concurrent_delete_leaves_no_rows,
            readers_see_whole_batches,
            readers_see_whole_tasks,
            handles_open_and_close_beside_others,
            a_clone_outlives_its_handle,
        }
        $crate::__area! { processes:
            readers_do_not_wait_for_a_writer,
            a_held_lock_is_busy_after_the_timeout,
            a_write_waits_for_a_short_lock,
            two_processes_append,
            sixteen_processes_append,
            sixteen_processes_create_one_store,
            claim_task_has_one_winner_across_processes,
        }
        $crate::__area! { crash:
            kill_nine_loses_no_acknowledged_write,
            kill_nine_during_creation_leaves_a_usable_store,
            kill_nine_leaves_whole_transactions,
        }
        $crate::__area! { errors:
            foreign_key_enforced,
            conversation_history_foreign_key,
            a_missing_store_is_created_only_on_request,
        }
        $crate::__area! { model:
            the_store_matches_the_model,
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

    /// A rule that the macro does not list never runs.
    #[test]
    fn every_rule_is_listed() -> anyhow::Result<()> {
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
        assert!(written.len() > 50, "found too few rules: {written:?}");
        let missing: Vec<_> = written.difference(&listed).collect();
        assert!(missing.is_empty(), "{missing:?}");
        Ok(())
    }
}
