use std::path::PathBuf;
use std::process::Command;

/// The command that resumes a session: program, arguments, environment and folder, without shell quotes.
///
/// [`ResumePlan::command`](crate::ResumePlan::command) and [`ResumePlan::headless`](crate::ResumePlan::headless)
/// make it after they have found that the agent will go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeCommand {
    /// The program, to be looked up in PATH.
    pub program: &'static str,
    /// The arguments after the program, in order. A prompt is the last one.
    pub args: Vec<String>,
    /// The folder to run it in. `None` if it is not known or does not exist: the agent goes on in the folder
    /// where the command is run.
    pub current_dir: Option<PathBuf>,
    /// The variable of its environment that names the agent's home, and that folder. `None` for the agent's usual
    /// home.
    pub env: Option<(&'static str, String)>,
    /// The index in `args` at which options of the agent may stand.
    options_at: usize,
}

impl ResumeCommand {
    pub(crate) fn new<const N: usize>(program: &'static str, args: [&str; N]) -> Self {
        Self {
            program,
            args: args.map(str::to_owned).into(),
            current_dir: None,
            env: None,
            options_at: N,
        }
    }

    /// Adds arguments behind the place for options.
    pub(crate) fn then<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Adds options of the agent, such as `--model` or `--output-format`, where the agent takes them for options.
    ///
    /// ```
    /// use turnkeep_agents::ResumeCommand;
    ///
    /// fn with_ids_in_json(command: ResumeCommand) -> ResumeCommand {
    ///     match command.program {
    ///         "claude" => command.options(["--output-format", "json"]),
    ///         "codex" => command.options(["--json"]),
    ///         _ => command,
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn options<S: Into<String>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        let mut rest = self.args.split_off(self.options_at);
        self.args.extend(options.into_iter().map(Into::into));
        self.options_at = self.args.len();
        self.args.append(&mut rest);
        self
    }

    /// Returns the command for this process to start. Its folder is `current_dir`, and `PWD` as well, so that
    /// the agent sees the links in the path as after `cd` in a shell.
    ///
    /// ```no_run
    /// # fn example(command: turnkeep_agents::ResumeCommand) -> std::io::Result<()> {
    /// let status = command.process().status()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn process(&self) -> Command {
        let mut process = Command::new(self.program);
        process.args(&self.args);
        if let Some((variable, folder)) = &self.env {
            process.env(variable, folder);
        }
        if let Some(folder) = &self.current_dir {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            process.current_dir(&folder).env("PWD", &folder);
        }
        process
    }

    /// Returns the command as a line for a POSIX shell, with quotes where needed:
    /// `cd DIR && VARIABLE=DIR PROGRAM ARGS`, without the parts that are not needed.
    #[must_use]
    pub fn shell_line(&self) -> String {
        let words = std::iter::once(self.program).chain(self.args.iter().map(String::as_str));
        let mut line = words.map(quote).collect::<Vec<_>>().join(" ");
        if let Some((variable, folder)) = &self.env {
            line = format!("{variable}={} {line}", quote(folder));
        }
        // A plan names only folders in UTF-8.
        match self.current_dir.as_ref().and_then(|dir| dir.to_str()) {
            None => line,
            // Both `cd -` and `cd -- -` change to the previous folder.
            Some("-") => format!("cd ./- && {line}"),
            Some(dir) if dir.starts_with('-') => format!("cd -- {} && {line}", quote(dir)),
            Some(dir) => format!("cd {} && {line}", quote(dir)),
        }
    }
}

fn quote(word: &str) -> String {
    // Only NUL can't be quoted. No part of a plan contains it.
    let quoter = shlex::Quoter::new().allow_nul(true);
    quoter
        .quote(word)
        .map_or_else(|_| format!("{word:?}"), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_line_has_quotes_where_needed() {
        let line = |dir: Option<&str>, id: &str| {
            let mut command = ResumeCommand::new("claude", ["--resume", id]);
            command.current_dir = dir.map(PathBuf::from);
            command.shell_line()
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
    fn the_home_of_the_agent_is_a_variable() {
        let mut command = ResumeCommand::new("codex", ["resume", "x"]);
        command.env = Some(("CODEX_HOME", "/a b".into()));
        assert_eq!(command.shell_line(), "CODEX_HOME='/a b' codex resume x");
        command.current_dir = Some("/srv".into());
        let line = "cd /srv && CODEX_HOME='/a b' codex resume x";
        assert_eq!(command.shell_line(), line);
    }

    #[test]
    fn options_stand_before_the_prompt() {
        let command = ResumeCommand::new("codex", ["exec", "resume"]);
        let command = command.then(["--", "id", "-x is wrong"]);
        let command = command.options(["--json"]).options(["-m", "gpt"]);
        let args = [
            "exec",
            "resume",
            "--json",
            "-m",
            "gpt",
            "--",
            "id",
            "-x is wrong",
        ];
        assert_eq!(command.args, args);
    }
}
