use crate::{BackendType, Session, WorkingDir};

/// How to go on with a session in its agent's own terminal: a program, its arguments and the
/// folder to start it in. Not quoted for any shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeCommand {
    /// Name of the program, to be looked up in PATH.
    pub program: &'static str,
    /// Arguments after the program's name, in order.
    pub args: Vec<String>,
    /// Where to start it. Claude Code finds a session only in its original folder.
    pub working_dir: Option<WorkingDir>,
}

impl Session {
    /// Returns the command that resumes the session, or `None` for an agent whose command is
    /// not known.
    ///
    /// A session id that begins with `-` is passed so that it can't be taken for an option.
    ///
    /// ```
    /// # use turnkeep_model::{BackendType, Session, SessionId, TaskId};
    /// # fn command_of(session: &Session) -> Option<()> {
    /// let command = session.resume_command()?;
    /// std::process::Command::new(command.program).args(&command.args);
    /// # Some(())
    /// # }
    /// ```
    #[must_use]
    pub fn resume_command(&self) -> Option<ResumeCommand> {
        let id = self.session_id.as_str();
        let looks_like_option = id.starts_with('-');
        let (program, args) = match self.backend_type {
            BackendType::Claude if looks_like_option => ("claude", vec![format!("--resume={id}")]),
            BackendType::Claude => ("claude", vec!["--resume".into(), id.into()]),
            BackendType::Codex if looks_like_option => {
                ("codex", vec!["resume".into(), "--".into(), id.into()])
            }
            BackendType::Codex => ("codex", vec!["resume".into(), id.into()]),
            BackendType::Goose => {
                let mut args = vec!["session".into(), "--resume".into()];
                if looks_like_option {
                    args.push(format!("--session-id={id}"));
                } else {
                    args.extend(["--session-id".into(), id.into()]);
                }
                ("goose", args)
            }
            BackendType::Other(_) => return None,
        };
        Some(ResumeCommand {
            program,
            args,
            working_dir: self.working_dir.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SessionId, TaskId};
    use chrono::DateTime;

    fn args(backend: &str, id: &str) -> Option<String> {
        let session = Session {
            task_id: TaskId::new("t").unwrap(),
            backend_type: backend.parse().unwrap(),
            session_id: SessionId::new(id).unwrap(),
            working_dir: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        };
        let command = session.resume_command()?;
        Some(format!("{} {}", command.program, command.args.join(" ")))
    }

    #[test]
    fn each_agent_has_its_own_command() {
        assert_eq!(args("claude", "a b").unwrap(), "claude --resume a b");
        assert_eq!(args("codex", "x").unwrap(), "codex resume x");
        assert_eq!(
            args("goose", "20260805_1").unwrap(),
            "goose session --resume --session-id 20260805_1"
        );
        assert_eq!(args("gemini", "x"), None);
    }

    #[test]
    fn an_id_is_never_an_option() {
        assert_eq!(args("claude", "-x").unwrap(), "claude --resume=-x");
        assert_eq!(args("codex", "-x").unwrap(), "codex resume -- -x");
        assert_eq!(
            args("goose", "-x").unwrap(),
            "goose session --resume --session-id=-x"
        );
    }
}
