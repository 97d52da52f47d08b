//! The command line. Its parsers check all values.

mod help;
mod keep;
mod raw;
mod read;
mod resume;
mod session;
mod store;
mod task;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use keep::{
    ExportArgs, ExportFormat, HookArgs, ImportArgs, ImportFormat, RemovedArgs, RemovedCommand,
    WatchArgs,
};
pub(crate) use raw::{Form, is_command};
pub(crate) use read::{HistoryArgs, ListArgs, SearchArgs, ShowArgs, TaskSort};
pub(crate) use resume::{RestoreArgs, ResumeArgs};
pub(crate) use session::{
    AppendArgs, RecordingCommand, SessionCommand, SessionRetireArgs, SessionSetArgs,
};
pub(crate) use store::{BackupArgs, BackupCommand, CopyArgs, PruneArgs, RmArgs, StatsArgs};
pub(crate) use task::{TaskAddArgs, TaskCommand, TaskStatusArgs};

const GLOBAL: &str = "Global options";

/// Keep, import and show the sessions and conversations of coding agents
#[derive(Debug, Parser)]
#[command(name = "turnkeep", version, arg_required_else_help = true, after_long_help = help::EXIT_CODES)]
pub(crate) struct Cli {
    /// Use this store instead of the one in your data folder: a file, or `postgres://…`
    ///
    /// The environment variable `TURNKEEP_DB` does the same. The address of a server is a connection URI:
    /// `postgres://user@host:port/database`. Keep its password in `~/.pgpass`, because other users of the
    /// machine can see the arguments of a command.
    #[arg(long, value_name = "STORE", global = true, help_heading = GLOBAL)]
    pub(crate) db: Option<PathBuf>,

    /// Trust this role as the owner of the store on a server
    ///
    /// Needed if the role that administers the store is not the owner of the database, not a superuser, and
    /// not a role of which the user is a member. See docs/postgresql.md.
    #[arg(long, value_name = "ROLE", global = true, help_heading = GLOBAL)]
    pub(crate) owner: Option<String>,

    /// Print JSON, one object a line, also of errors
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,

    /// Print colours. `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = GLOBAL)]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Parses the arguments, the first of which is the program.
    pub(crate) fn parse(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = help::with_groups(Self::command());
        let args = raw::with_excluded_words(args);
        let mut matches = command.try_get_matches_from_mut(args)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }

    pub(crate) fn form(&self) -> Form {
        Form {
            is_json: self.json,
            color: self.color,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import recorded sessions of agents, or an export
    ///
    /// Without a path, those in the homes of Claude Code, Codex and Goose: `~/.claude`, `~/.codex` and
    /// `~/.local/share/goose`, or where the agents' own variables say. Again at any time: adds what is new.
    Import(ImportArgs),
    /// Store prompts and answers as the hooks of an agent report them
    ///
    /// Reads the event as JSON from standard input, as hooks of Claude Code and Codex get it, or from the
    /// argument that Codex adds to its `notify` command. Never fails the agent: prints nothing on standard
    /// output, and ends within 200 ms with the exit code 0. A slow store is written in the background. Errors go to
    /// `turnkeep/hook.log` in your data folder. The settings of the agents are in docs/live.md.
    Hook(HookArgs),
    /// Import all sessions, and then what changes, until it is ended
    ///
    /// Stores a change within two seconds. Follows the homes of Claude Code, Codex and Goose, which need not exist
    /// yet. Keeps words and files as `import` does, and prints a line for each session that gets something. If the
    /// store is locked or its server is away, changes wait for it. Ctrl-C or SIGTERM stores what there is and ends
    /// with the exit code 0. A unit for systemd and one for launchd are in docs/live.md.
    Watch(WatchArgs),
    /// Export the store as JSON lines, or conversations as HTML pages
    ///
    /// Exports one snapshot, while other programs may write. The same store always gives the same bytes.
    /// `import --format jsonl` reads them. The format is documented in docs/jsonl.md.
    Export(ExportArgs),
    /// Plan tasks and show their progress
    #[command(subcommand)]
    Task(TaskCommand),
    /// List sessions and tasks, the last active first
    ///
    /// Lists those that match every option, on a terminal as many as fit. Imported sessions are tasks that are completed,
    /// so their status is left out. The ids may be shortened; every command takes them.
    List(ListArgs),
    /// Show a conversation, or write it as Markdown or as an HTML page
    ///
    /// Renders the Markdown of the answers for the terminal, with local times. Output that is longer than the terminal
    /// goes through `$PAGER`, or else `less`. The page is one file without scripts, safe to open and to share.
    Show(ShowArgs),
    /// Print the turns of a task as they are, for programs
    History(HistoryArgs),
    /// Find words in all conversations
    ///
    /// Finds the turns with all the words, in any order and case, with or without accents: the best first, and of
    /// equally good ones the latest. `"login fails"` is a phrase, `fail*` the beginning of a word, and `-logout` leaves
    /// turns out. The first search makes an index, beside the store or in your cache folder, which takes some seconds
    /// per 100 MB of words. Later ones bring it up to date. It may be deleted at any time.
    Search(SearchArgs),
    /// Show and change the agent session of a task
    #[command(subcommand)]
    Session(SessionCommand),
    /// Show and drop the files that an import has kept byte for byte
    #[command(subcommand)]
    Recording(RecordingCommand),
    /// Append a message to the conversation of a task
    Append(AppendArgs),
    /// Print or run the command that resumes a session
    ///
    /// Looks first whether the agent will find the session, and prints only a command that works. The exit code is 6
    /// if the recording is gone and the store can write it back, 7 if nothing will work. `--exec` and `--restore` take
    /// the beginning of an id only on a terminal.
    Resume(ResumeArgs),
    /// Put the recording of a session back into the home of its agent
    ///
    /// Writes the files of the session as they were kept, or a recording made of its turns if none were, into the
    /// home of the agent. A file that has more than the store is never replaced, and no other that differs without
    /// `--force`. May be repeated.
    Restore(RestoreArgs),
    /// Copy a store into another, a file or a server
    ///
    /// May be interrupted; the next copy adds the rest. Stops at a task that is newer in the other store. Ends
    /// with the number and a checksum of the rows of each table, read back from both stores.
    Copy(CopyArgs),
    /// Show sizes by status, agent and month, and the largest sessions
    Stats(StatsArgs),
    /// Delete old sessions and ended tasks, for good
    ///
    /// Deletes the tasks that match every option. Unfinished tasks and their dependencies are kept. Asks
    /// first on a terminal; elsewhere it deletes only with `--yes`. Imports leave the sessions of deleted tasks out,
    /// and warn if an agent goes on with one: see `turnkeep removed`.
    #[command(
        override_usage = "turnkeep prune [OPTIONS] <--older-than|--status|--keep-size|--vacuum>"
    )]
    Prune(PruneArgs),
    /// Remove sessions with their conversations and kept files, for good
    ///
    /// Removes those that are named, or that match every option. Shows them and asks first; without a terminal it needs
    /// `--yes`. A running task is only removed if it is named. Imports leave removed sessions out, and warn if an agent
    /// goes on with one: see `turnkeep removed`. The agents' own files stay.
    #[command(
        override_usage = "turnkeep rm [OPTIONS] <ID...|--folder|--agent|--older-than|--until>"
    )]
    Rm(RmArgs),
    /// List removed sessions, which imports leave out, or lift that
    Removed(RemovedArgs),
    /// Check the store for damage
    ///
    /// Never changes, creates or migrates the store. Reads every row, runs SQLite's own check, and reports each
    /// finding with advice. With a finding the exit code is 1, also for a file that no other command would
    /// open. Of each agent's home it says how many sessions are not kept, which is no finding.
    Check,
    /// Back the store up into a new file, or restore a backup
    ///
    /// Other programs may write meanwhile. The backup is one snapshot of the store, readable only by you, read back and synced to the disk. An
    /// existing file is never overwritten.
    Backup(BackupArgs),
    /// Print the completions for a shell, also of ids, with their titles
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of the program or of a command
    Man {
        /// The command, such as `task add`
        command: Vec<String>,
    },
}
