/// An invalid value: its name and the rule that it breaks.
///
/// The reason does not repeat the value, which may be private or a gigabyte long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {field}: {reason}")]
#[non_exhaustive]
pub struct InvalidValue {
    /// The name of the value, in words: `task id`, `timestamp`, `role`.
    pub field: &'static str,
    /// The rule that it breaks, as a clause without a full stop.
    pub reason: String,
}

impl InvalidValue {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }

    /// Checks that a text has no control character, because a shell into which the text is pasted obeys some
    /// of them even inside quotes.
    ///
    /// # Errors
    /// [`InvalidValue`] with `field` if the text has one.
    ///
    /// ```
    /// use turnkeep_model::InvalidValue;
    ///
    /// assert!(InvalidValue::check_printable("session id", "5f0c").is_ok());
    /// assert!(InvalidValue::check_printable("session id", "5f0c\n").is_err());
    /// ```
    pub fn check_printable(field: &'static str, text: &str) -> Result<(), Self> {
        match text.contains(char::is_control) {
            true => Err(Self::new(field, "has a control character")),
            false => Ok(()),
        }
    }

    /// Checks the rule for all short texts: 1 to `max` bytes, no NUL.
    pub(crate) fn check_short_text(
        field: &'static str,
        text: &str,
        max: usize,
    ) -> Result<(), Self> {
        if text.is_empty() {
            return Err(Self::new(field, "must not be empty"));
        }
        if text.len() > max {
            let reason = format!("is {} bytes long, at most {max} are allowed", text.len());
            return Err(Self::new(field, reason));
        }
        if text.contains('\0') {
            return Err(Self::new(field, "must not contain a NUL character"));
        }
        Ok(())
    }
}
