use crate::short_text::short_text;

short_text! {
    /// The caller's name for a task: 1 to 512 bytes, no NUL, compared byte by byte.
    ///
    /// ```
    /// use turnkeep_model::TaskId;
    ///
    /// let id = TaskId::new("fix-login")?;
    /// assert_eq!(id.as_str(), "fix-login");
    /// assert!(TaskId::new("").is_err());
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    TaskId, "task id", 512
}

short_text! {
    /// An agent's name for a session: opaque, 1 to 512 bytes, no NUL.
    ///
    /// Agents use UUIDs, counters and names people chose; nothing is read into it.
    SessionId, "session id", 512
}

short_text! {
    /// The caller's name for one message of a task, by which saving it again is recognised:
    /// 1 to 512 bytes, no NUL.
    MessageKey, "message key", 512
}

short_text! {
    /// The caller's name for what works on tasks, a process or a machine: 1 to 512 bytes, no NUL.
    ///
    /// For people to read: a lease is told from another by its fence, not by its worker.
    WorkerId, "worker id", 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_bytes_and_inclusive() {
        assert!(TaskId::new("é".repeat(256)).is_ok());
        let error = TaskId::new("é".repeat(257)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid task id: is 514 bytes long, at most 512 are allowed"
        );
        assert_eq!(
            SessionId::new("a\0b").unwrap_err().field,
            "session id",
            "NUL is refused by the type that was asked for"
        );
        assert!(MessageKey::new("").is_err());
    }
}
