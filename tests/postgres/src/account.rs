//! The user of the servers, since PostgreSQL refuses to run as root.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::anyhow;

/// Users that a root process can switch to, in order of preference.
const INSTEAD_OF_ROOT: [&str; 2] = ["postgres", "nobody"];

/// The prefix of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    prefix: Vec<String>,
}

impl Account {
    /// Returns the user of this process, or for root another one.
    pub(crate) fn current() -> anyhow::Result<&'static Self> {
        static CURRENT: OnceLock<Result<Account, String>> = OnceLock::new();
        let current = CURRENT.get_or_init(|| match id("-u", None).as_deref() {
            Some("0") => Self::other(),
            _ => Ok(Self { prefix: Vec::new() }),
        });
        current.as_ref().map_err(|message| anyhow!("{message}"))
    }

    /// Returns a command that the account runs, without an extra process.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.prefix[..] {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }

    fn other() -> Result<Self, String> {
        INSTEAD_OF_ROOT
            .iter()
            .filter_map(|user| Some((user, id("-u", Some(user))?, id("-g", Some(user))?)))
            .flat_map(|(user, uid, gid)| ways_to_become(user, &uid, &gid))
            .find(Self::works)
            .ok_or_else(|| {
                format!(
                    "this process is root, which PostgreSQL refuses, and can't become {}; \
                     run the tests as another user, or install setpriv or runuser (util-linux)",
                    INSTEAD_OF_ROOT.join(" or ")
                )
            })
    }

    fn works(&self) -> bool {
        let mut command = self.command("true");
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

fn ways_to_become(user: &str, uid: &str, gid: &str) -> [Account; 2] {
    let setpriv = [
        "setpriv",
        &format!("--reuid={uid}"),
        &format!("--regid={gid}"),
        "--clear-groups",
        "--",
    ]
    .map(str::to_owned);
    let runuser = ["runuser", "-u", user, "--"].map(str::to_owned);
    [setpriv.into(), runuser.into()].map(|prefix| Account { prefix })
}

fn id(option: &str, user: Option<&str>) -> Option<String> {
    let output = Command::new("id").arg(option).args(user).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_behind_what_changes_the_user() {
        let [setpriv, runuser] = ways_to_become("postgres", "101", "104");
        let words = |account: &Account| {
            let command = account.command("initdb");
            let mut words = vec![command.get_program().to_owned()];
            words.extend(command.get_args().map(ToOwned::to_owned));
            words
        };
        assert_eq!(
            words(&setpriv),
            [
                "setpriv",
                "--reuid=101",
                "--regid=104",
                "--clear-groups",
                "--",
                "initdb"
            ]
        );
        assert_eq!(
            words(&runuser),
            ["runuser", "-u", "postgres", "--", "initdb"]
        );
        let own = Account { prefix: Vec::new() };
        assert_eq!(words(&own), ["initdb"]);
    }
}
