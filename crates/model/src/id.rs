use crate::short_text::short_text;

short_text! {
    /// The caller's id of a task: 1 to 512 bytes, no NUL, compared by bytes.
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
    /// An agent's id of a session: opaque, 1 to 512 bytes, no NUL.
    ///
    /// Agents use UUIDs, counters and names that people chose. The store does not interpret it.
    SessionId, "session id", 512
}

short_text! {
    /// The caller's id of a message in a task, which makes saving it idempotent: 1 to 512 bytes, no NUL.
    MessageKey, "message key", 512
}

short_text! {
    /// The caller's name of a worker, a process or a machine: 1 to 512 bytes, no NUL.
    ///
    /// Only for people to read. The fence identifies a lease, not the worker.
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
            "the error names the type"
        );
        assert!(MessageKey::new("").is_err());
    }

    #[test]
    fn a_map_by_id_is_asked_with_a_text() {
        let id = TaskId::new("fix-login").unwrap();
        let by_hash = std::collections::HashMap::from([(id.clone(), 1)]);
        let by_order = std::collections::BTreeMap::from([(id.clone(), 1)]);
        assert_eq!((by_hash["fix-login"], by_order["fix-login"]), (1, 1));
        assert_eq!(String::from(id), "fix-login");
    }
}
