//! Processes with their own mounts.

use std::process::Command;

use anyhow::Context;

/// Commands that let a process mount something that no other process sees.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--mount"],
    &["unshare", "--user", "--map-root-user", "--mount"],
    &["sudo", "-n", "unshare", "--mount"],
];

/// The mount point, an existing folder.
pub(crate) const MOUNTED: &str = "/mnt";

/// A command that may mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way(&'static [&'static str]);

impl Way {
    /// Finds a command that works on this machine.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mount = format!("mount -t tmpfs turnkeep-faults {MOUNTED}");
        let works = |way: &Self| {
            let output = way.after(&mount, Command::new("true")).output();
            output.is_ok_and(|output| output.status.success())
        };
        WAYS.into_iter().map(Self).find(works).context(
            "not run: no file system can be mounted here (root, user namespaces or sudo would do; \
             `--without mount` leaves this out)",
        )
    }

    /// Returns `command`, run after the shell command `first` in the new mount namespace.
    pub(crate) fn after(self, first: &str, command: Command) -> Command {
        let (program, args) = self.0.split_first().unwrap_or((&"false", &[]));
        let mut whole = Command::new(program);
        whole
            .args(args)
            .args(["sh", "-c"])
            .arg(format!("{first} && exec \"$@\""))
            .arg("sh")
            .env("RUST_BACKTRACE", "0")
            .arg(command.get_program())
            .args(command.get_args());
        whole
    }

    /// Whether it may give files to other users.
    pub(crate) fn knows_other_users(self) -> bool {
        !self.0.contains(&"--user")
    }

    pub(crate) fn name(self) -> String {
        self.0.join(" ")
    }
}
