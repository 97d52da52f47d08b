use crate::text_enum::text_enum;

text_enum! {
    /// Where a task stands.
    TaskStatus, "task status", {
        /// Not started. The state of a new task.
        Pending = "pending",
        /// Not started, and marked by the orchestrator as next in line.
        Eligible = "eligible",
        /// Claimed by exactly one worker.
        Running = "running",
        /// Ended well.
        Completed = "completed",
        /// Ended badly. What that means for dependents is the task's [`FailureMode`].
        Failed = "failed",
        /// Left out. Counts as done for dependents.
        Skipped = "skipped",
    }
}

impl TaskStatus {
    /// The statuses of a task that has not ended.
    pub const UNFINISHED: &[Self] = &[Self::Pending, Self::Eligible, Self::Running];

    /// The statuses of a task that has ended, well or not.
    pub const ENDED: &[Self] = &[Self::Completed, Self::Failed, Self::Skipped];
}

text_enum! {
    /// What the failure of a task means for the tasks that depend on it.
    FailureMode, "failure mode", {
        /// Dependents wait: the failure blocks them. The default of a new task.
        Hard = "hard",
        /// Dependents go ahead without it.
        Soft = "soft",
        /// Counts as if the task had been skipped: dependents go ahead.
        Skip = "skip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_parses_back() {
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
