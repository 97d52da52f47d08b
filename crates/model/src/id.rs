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

short_text! {
    /// The name of a machine whose files were imported: 1 to 255 bytes, no NUL.
    HostName, "host name", 255
}

#[cfg(test)]
mod tests {
    use std::borrow::Borrow;
    use std::fmt::{Debug, Display};
    use std::hash::Hash;
    use std::path::Path;
    use std::str::FromStr;

    use super::*;
    use crate::{BackendName, BackendType, ConfigDir, InvalidValue, RecordingName, WorkingDir};

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

    #[test]
    fn ids_behave_as_a_hosts_own_types() {
        fn is_key<T: Borrow<str>>() {}
        fn check<T>()
        where
            T: Clone + Ord + Hash + Debug + Display + AsRef<str> + Into<String>,
            T: FromStr<Err = InvalidValue> + Send + Sync + 'static,
            T: for<'a> TryFrom<&'a str, Error = InvalidValue>,
            T: TryFrom<String, Error = InvalidValue>,
        {
            let id = T::try_from("a b").ok().unwrap();
            let same = [T::try_from("a b".to_owned()).ok(), "a b".parse().ok()];
            assert!(same.iter().all(|it| it.as_ref() == Some(&id)));
            assert_eq!((id.to_string().as_str(), id.as_ref()), ("a b", "a b"));
            assert!(T::try_from("").is_err() && T::try_from("b").ok().unwrap() > id);
            assert_eq!(Into::<String>::into(id), "a b");
        }
        // A BackendType is ordered by its variants, and so it is not borrowed as a text.
        check::<BackendType>();
        check::<TaskId>();
        is_key::<TaskId>();
        check::<SessionId>();
        is_key::<SessionId>();
        check::<MessageKey>();
        is_key::<MessageKey>();
        check::<WorkerId>();
        is_key::<WorkerId>();
        check::<HostName>();
        is_key::<HostName>();
        check::<BackendName>();
        is_key::<BackendName>();
        check::<WorkingDir>();
        is_key::<WorkingDir>();
        check::<RecordingName>();
        is_key::<RecordingName>();
        check::<ConfigDir>();
        is_key::<ConfigDir>();
        let path = Path::new("/srv");
        let (working, config) = (WorkingDir::try_from(path), ConfigDir::try_from(path));
        assert_eq!(AsRef::<Path>::as_ref(&working.unwrap()), path);
        assert_eq!(AsRef::<Path>::as_ref(&config.unwrap()), path);
    }
}
