use crate::text_enum::text_enum;

text_enum! {
    /// The status of a task.
    TaskStatus, "task status", {
        /// Not started. The status of a new task.
        Pending = "pending",
        /// Not started, marked by the orchestrator as next.
        Eligible = "eligible",
        /// Claimed by one worker.
        Running = "running",
        /// Ended with success.
        Completed = "completed",
        /// Ended with a failure. The [`FailureMode`] of the task decides the effect on dependents.
        Failed = "failed",
        /// Not run. Dependents treat it as completed.
        Skipped = "skipped",
    }
}

impl TaskStatus {
    /// The statuses of a task that has not ended.
    pub const UNFINISHED: &[Self] = &[Self::Pending, Self::Eligible, Self::Running];

    /// The statuses of a task that has ended.
    pub const ENDED: &[Self] = &[Self::Completed, Self::Failed, Self::Skipped];
}

text_enum! {
    /// The effect of a failed task on its dependents.
    FailureMode, "failure mode", {
        /// Dependents stay blocked. The default of a new task.
        Hard = "hard",
        /// Dependents may run without it.
        Soft = "soft",
        /// Dependents treat the task as skipped and may run.
        Skip = "skip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_parses_to_its_value() {
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse::<TaskStatus>().as_ref(), Ok(status));
        }
        for mode in FailureMode::ALL {
            assert_eq!(mode.as_str().parse::<FailureMode>().as_ref(), Ok(mode));
        }
        assert_eq!(
            [TaskStatus::UNFINISHED, TaskStatus::ENDED].concat(),
            TaskStatus::ALL
        );
        assert!("done".parse::<TaskStatus>().is_err());
    }
}
