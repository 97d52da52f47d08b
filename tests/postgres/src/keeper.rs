//! Programs that end with this process, however it ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::account::Account;
use crate::client::forget_environment;

/// The maximum time of a program, on a slow and busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The maximum length of the parent folder. A socket's path may be limited to 104 bytes.
const LONGEST_PARENT: usize = 70;

/// A folder, and a shell that runs programs in it one after the other. When the shell's input pipe
/// from this process closes, it ends the program and removes the folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    /// `None` at the end.
    commands: Option<ChildStdin>,
    reports: Receiver<String>,
    folder: PathBuf,
}

impl Keeper {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let account = Account::current()?;
        let mut command = account.command("sh");
        forget_environment(&mut command);
        command
            .args(["-c", include_str!("keeper.sh")])
            .arg(parent_folder(account))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Ctrl-C signals the whole process group, which the shell must survive.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut shell = command.spawn().context("starting a shell")?;
        let commands = shell.stdin.take();
        let stdout = shell.stdout.take().context("no pipe from the shell")?;
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut keeper = Self {
            shell,
            commands,
            reports,
            folder: PathBuf::new(),
        };
        keeper.folder = keeper.report()?.into();
        Ok(keeper)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a program that is later ended by `signal`, and returns its process id.
    pub(crate) fn start<S: AsRef<OsStr>>(
        &mut self,
        signal: &str,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<u32> {
        let mut line = signal.to_owned();
        line += " ";
        line += &quoted(program.as_os_str())?;
        for arg in args {
            line += " ";
            line += &quoted(arg.as_ref())?;
        }
        line += "\n";
        let commands = self.commands.as_mut().context("all is to end")?;
        commands.write_all(line.as_bytes())?;
        self.report()?.parse().context("not a process id")
    }

    /// Waits for the end of the started program and returns its status, or `None` if it still runs
    /// after `time`.
    pub(crate) fn ended_within(&mut self, time: Duration) -> anyhow::Result<Option<String>> {
        match self.reports.recv_timeout(time) {
            Ok(line) => Ok(Some(
                line.strip_prefix("ended ")
                    .context("the shell reports no end")?
                    .to_owned(),
            )),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the shell has ended"),
        }
    }

    /// Runs a program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &mut self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<()> {
        self.start("TERM", program, args)?;
        let status = self.ended_within(LIMIT)?;
        ensure!(
            status.as_deref() == Some("0"),
            "{} failed{}",
            program.display(),
            self.log()
        );
        Ok(())
    }

    /// Returns the last lines of the programs' output, for an error message.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        format!(":\n{last}")
    }

    fn report(&mut self) -> anyhow::Result<String> {
        self.reports
            .recv_timeout(LIMIT)
            .context("the shell that runs the servers says nothing")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.shell.wait();
    }
}

fn parent_folder(account: &Account) -> PathBuf {
    let folder = std::env::temp_dir();
    // The folder of root may be closed to other users.
    let mut may_write = account.command("test");
    may_write.arg("-w").arg(&folder).current_dir("/");
    let is_open = may_write.status().is_ok_and(|status| status.success());
    if is_open && folder.as_os_str().len() <= LONGEST_PARENT {
        return folder;
    }
    "/tmp".into()
}

/// Quotes a word for the shell.
fn quoted(word: &OsStr) -> anyhow::Result<String> {
    let word = word.to_str().context("a word that is not UTF-8")?;
    ensure!(!word.contains('\n'), "a word of two lines");
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted() {
        let word = r#"a'b "c" $HOME \ `x` *; # é"#;
        let line = format!("printf %s {}", quoted(word.as_ref()).unwrap());
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        assert!(quoted("two\nlines".as_ref()).is_err());
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn programs_run_in_a_folder_that_goes() -> anyhow::Result<()> {
        let mut keeper = Keeper::new()?;
        let folder = keeper.folder().to_owned();
        let sh = Path::new("sh");
        let script = format!("echo said; cd '{}' && touch it", folder.display());
        keeper.run(sh, ["-c", &script])?;
        assert!(folder.join("it").exists());
        let error = keeper.run(sh, ["-c", "echo why; exit 3"]).unwrap_err();
        assert_eq!(error.to_string(), "sh failed:\nsaid\nwhy");
        keeper.start("TERM", sh, ["-c", "sleep 1000"])?;
        assert_eq!(keeper.ended_within(Duration::ZERO)?, None);
        drop(keeper);
        assert!(!folder.exists());
        Ok(())
    }
}
