//! How much is run, as the command line says.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::operation::Operation;

/// Arguments of the program, which are part of its output when they are wrong.
const USAGE: &str = "\
cargo bench -p turnkeep-bench -- [--quick] [--test] [--dir FOLDER] [--only NAME]
                                 [--side raw|turnkeep --iterations N]
  --quick       a few seconds
  --test        as little as possible, only to compare the results of both sides
  --dir         put the databases there; default is the system's temporary folder
  --only        only operations whose name contains this
  --side        run one side alone, without measuring, for a profiler (collect in `profiled`)
  --iterations  that often (default 1000)";

/// How much to run, and where.
pub(crate) struct Plan {
    pub(crate) blocks: usize,
    most_runs_per_block: usize,
    most_tasks: usize,
    pub(crate) most_turns: usize,
    pub(crate) folder: PathBuf,
    /// The one side to run for a profiler.
    pub(crate) side: Option<Side>,
    pub(crate) iterations: usize,
    /// The database of the one side, when this is a worker (see `worker.rs`).
    pub(crate) serve: Option<PathBuf>,
    /// Results are compared, times mean nothing.
    pub(crate) is_test: bool,
    only: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Side {
    Raw,
    Turnkeep,
}

impl Plan {
    /// Reads the arguments.
    ///
    /// `cargo bench` adds `--bench`. Without it this is a test run, where the arguments are
    /// meant for the test harness that this program does not have.
    pub(crate) fn from_args(args: &[String]) -> Result<Self> {
        let mut plan = Self::full();
        if !args.iter().any(|arg| arg == "--bench") {
            plan.shrink_to_test();
            return Ok(plan);
        }
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} what?\n{USAGE}"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => plan.blocks = 8,
                "--test" => plan.shrink_to_test(),
                "--dir" => plan.folder = value()?.into(),
                "--only" => plan.only.clone_from(value()?),
                "--side" => plan.side = Some(side(value()?)?),
                "--serve" => plan.serve = Some(value()?.into()),
                "--iterations" => plan.iterations = value()?.parse()?,
                _ => bail!("{arg} is no argument\n{USAGE}"),
            }
        }
        Ok(plan)
    }

    /// Returns whether an operation was asked for.
    pub(crate) fn includes(&self, operation: &Operation) -> bool {
        operation.name.contains(&self.only)
    }

    pub(crate) fn tasks(&self, operation: &Operation) -> usize {
        operation.tasks.min(self.most_tasks)
    }

    pub(crate) fn runs_per_block(&self, operation: &Operation) -> usize {
        operation.runs_per_block.min(self.most_runs_per_block)
    }

    fn full() -> Self {
        Self {
            blocks: 60,
            most_runs_per_block: usize::MAX,
            most_tasks: usize::MAX,
            most_turns: usize::MAX,
            folder: std::env::temp_dir(),
            side: None,
            iterations: 1000,
            serve: None,
            is_test: false,
            only: String::new(),
        }
    }

    fn shrink_to_test(&mut self) {
        self.is_test = true;
        self.blocks = 2;
        self.most_runs_per_block = 6;
        self.most_tasks = 3;
        self.most_turns = 20;
    }
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Turnkeep => "turnkeep",
        }
    }
}

fn side(name: &str) -> Result<Side> {
    match name {
        "raw" => Ok(Side::Raw),
        "turnkeep" => Ok(Side::Turnkeep),
        _ => bail!("{name} is no side\n{USAGE}"),
    }
}
