//! SQL from another program, by psql.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::address::Address;
use crate::programs;

/// A client of a server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: Address,
    /// Whether this process started the server. If so, the environment must not affect the client.
    pub(crate) of_ours: bool,
}

impl Client {
    /// Runs statements, each in its own transaction, and returns a line per row, with columns
    /// separated by `|`.
    pub(crate) fn psql(&self, sql: &str) -> anyhow::Result<String> {
        finish(self.spawn("psql", sql)?)
    }

    /// Starts to run statements. `finish` waits for the end.
    pub(crate) fn spawn(&self, application: &str, sql: &str) -> anyhow::Result<Child> {
        let mut psql = Command::new(programs::psql()?);
        if self.of_ours {
            forget_environment(&mut psql);
        }
        psql.env("PGAPPNAME", application);
        // Other users can read the command line.
        if let Some(password) = self.address.password() {
            psql.env("PGPASSWORD", password);
        }
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.address.without_password().url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = psql.spawn().context("starting psql")?;
        let mut stdin = child.stdin.take().context("no pipe to psql")?;
        // psql may end early, for example without a server. Its standard error has the reason.
        let _ = stdin.write_all(sql.as_bytes());
        Ok(child)
    }
}

pub(crate) fn finish(child: Child) -> anyhow::Result<String> {
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("psql answered what is not UTF-8")?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// Removes variables that change the server or the language of PostgreSQL's programs.
pub(crate) fn forget_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
}
