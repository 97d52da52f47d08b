use crate::{BackendType, ConfigDir, InvalidValue, Session, WorkingDir};

/// The command that resumes a session in its agent's terminal: program, arguments, environment and working
/// folder, without shell quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeCommand {
    /// The program, to be looked up in PATH.
    pub program: &'static str,
    /// The arguments after the program, in order.
    pub args: Vec<String>,
    /// The folder to run it in. Claude Code finds a session only in its original folder.
    pub working_dir: Option<WorkingDir>,
    /// The variable of its environment that names the folder with the agent's sessions, and that folder. `None` if
    /// it is the agent's usual one.
    pub config_dir: Option<(&'static str, ConfigDir)>,
}

impl ResumeCommand {
    /// Returns the command as a line for a POSIX shell, with quotes where needed:
    /// `cd DIR && VARIABLE=DIR PROGRAM ARGS`, without the parts that are not known.
    #[must_use]
    pub fn shell_line(&self) -> String {
        let command: Vec<String> = std::iter::once(self.program)
            .chain(self.args.iter().map(String::as_str))
            .map(quote)
            .collect();
        let mut command = command.join(" ");
        if let Some((variable, dir)) = &self.config_dir {
            command = format!("{variable}={} {command}", quote(dir.as_str()));
        }
        match self.working_dir.as_ref().map(WorkingDir::as_str) {
            None => command,
            // Both `cd -` and `cd -- -` change to the previous folder.
            Some("-") => format!("cd ./- && {command}"),
            Some(dir) if dir.starts_with('-') => format!("cd -- {} && {command}", quote(dir)),
            Some(dir) => format!("cd {} && {command}", quote(dir)),
        }
    }
}

fn quote(word: &str) -> String {
    // Only NUL can't be quoted. Session ids and working folders do not contain it.
    let quoter = shlex::Quoter::new().allow_nul(true);
    quoter
        .quote(word)
        .map_or_else(|_| format!("{word:?}"), |quoted| quoted.into_owned())
}

impl Session {
    /// Returns the command that resumes the session, `None` for [`BackendType::Other`].
    ///
    /// A session id that begins with `-` is passed in a form that the agent does not parse as an option.
    ///
    /// # Errors
    /// [`InvalidValue`] if the session id or a folder has a control character. A terminal or shell into
    /// which the command is pasted would obey it even inside quotes.
    ///
    /// ```
    /// # use turnkeep_model::{InvalidValue, Session};
    /// # fn example(session: &Session) -> Result<(), InvalidValue> {
    /// if let Some(resume) = session.resume_command()? {
    ///     println!("{}", resume.shell_line());
    ///     let mut command = std::process::Command::new(resume.program);
    ///     command.args(&resume.args);
    ///     if let Some(dir) = &resume.working_dir {
    ///         command.current_dir(dir.as_path());
    ///     }
    ///     if let Some((variable, dir)) = &resume.config_dir {
    ///         command.env(variable, dir.as_path());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_command(&self) -> Result<Option<ResumeCommand>, InvalidValue> {
        let id = self.session_id.as_str();
        InvalidValue::check_printable("session id", id)?;
        if let Some(dir) = &self.working_dir {
            InvalidValue::check_printable("working folder", dir.as_str())?;
        }
        if let Some(dir) = &self.config_dir {
            InvalidValue::check_printable("config folder", dir.as_str())?;
        }
        let looks_like_option = id.starts_with('-');
        let (program, variable, args) = match self.backend_type {
            BackendType::Claude => {
                let args = match looks_like_option {
                    true => vec![format!("--resume={id}")],
                    false => vec!["--resume".into(), id.into()],
                };
                ("claude", "CLAUDE_CONFIG_DIR", args)
            }
            BackendType::Codex => {
                let mut args = vec!["resume".into(), id.into()];
                if looks_like_option {
                    args.insert(1, "--".into());
                }
                ("codex", "CODEX_HOME", args)
            }
            BackendType::Goose => {
                let mut args = vec!["session".into(), "--resume".into()];
                if looks_like_option {
                    args.push(format!("--session-id={id}"));
                } else {
                    args.extend(["--session-id".into(), id.into()]);
                }
                ("goose", "GOOSE_PATH_ROOT", args)
            }
            BackendType::Other(_) => return Ok(None),
        };
        Ok(Some(ResumeCommand {
            program,
            args,
            working_dir: self.working_dir.clone(),
            config_dir: self.config_dir.clone().map(|dir| (variable, dir)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SessionId, TaskId};
    use chrono::DateTime;

    fn session(backend: &str, id: &str) -> Session {
        Session {
            task_id: TaskId::new("t").unwrap(),
            backend_type: backend.parse().unwrap(),
            session_id: SessionId::new(id).unwrap(),
            working_dir: None,
            config_dir: None,
            metadata: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    fn args(backend: &str, id: &str) -> Option<String> {
        let command = session(backend, id).resume_command().unwrap()?;
        Some(format!("{} {}", command.program, command.args.join(" ")))
    }

    #[test]
    fn a_control_character_in_id_or_folder_is_refused() {
        for control in ['\n', '\r', '\t', '\x1b', '\x03', '\x7f', '\u{9b}'] {
            let text = format!("a{control}b");
            let error = session("claude", &text).resume_command().unwrap_err();
            assert_eq!(error.field, "session id");
            assert!(!error.reason.contains(control));
            let mut session = session("codex", "1");
            session.working_dir = Some(WorkingDir::new(text).unwrap());
            let error = session.resume_command().unwrap_err();
            assert_eq!(error.field, "working folder");
            session.config_dir = Some(ConfigDir::new("a\nb").unwrap());
            session.working_dir = None;
            let error = session.resume_command().unwrap_err();
            assert_eq!(error.field, "config folder");
        }
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
    fn the_shell_line_has_quotes_where_needed() {
        let line = |dir: Option<&str>, id: &str| {
            ResumeCommand {
                program: "claude",
                args: vec!["--resume".into(), id.into()],
                working_dir: dir.map(|dir| WorkingDir::new(dir).unwrap()),
                config_dir: None,
            }
            .shell_line()
        };
        assert_eq!(line(None, "a-1"), "claude --resume a-1");
        assert_eq!(line(Some("/srv"), "a"), "cd /srv && claude --resume a");
        assert_eq!(
            line(Some("/a b"), "$(x)"),
            "cd '/a b' && claude --resume '$(x)'"
        );
        assert_eq!(line(Some("-x"), "a"), "cd -- -x && claude --resume a");
        assert_eq!(line(Some("-"), "a"), "cd ./- && claude --resume a");
    }

    #[test]
    fn the_folder_of_the_sessions_is_a_variable_of_the_agent() {
        for (backend, line) in [
            ("claude", "CLAUDE_CONFIG_DIR='/a b' claude --resume x"),
            ("codex", "CODEX_HOME='/a b' codex resume x"),
            (
                "goose",
                "GOOSE_PATH_ROOT='/a b' goose session --resume --session-id x",
            ),
        ] {
            let mut session = session(backend, "x");
            session.config_dir = Some(ConfigDir::new("/a b").unwrap());
            let command = session.resume_command().unwrap().unwrap();
            assert_eq!(command.shell_line(), line);
            session.working_dir = Some(WorkingDir::new("/srv").unwrap());
            let command = session.resume_command().unwrap().unwrap();
            assert_eq!(command.shell_line(), format!("cd /srv && {line}"));
        }
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
