//! What is run and where, as the command line says.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::side::Side;
use crate::size::Size;
use crate::worker::Order;

/// Arguments of the program, which are part of its output when they are wrong.
const USAGE: &str = "\
cargo bench -- [--quick] [--test] [--dir FOLDER] [--only NAME] [--svg FILE]
                                 [--scale] [--side SIDE [--iterations N]]
  --quick       about a minute
  --test        as little as possible, only to compare the results of all sides
  --dir         put the databases there; default is the system's temporary folder
  --only        only the parts whose name contains this
  --svg         draw the durable appends of many threads into this file
  --scale       look at a store that grows to ten million turns instead; needs 15 GB
  --side        run the operations on one side alone, without measuring, for a profiler (collect
                in `repeat`): raw, turnkeep, diesel, sqlx, rusqlite, jsonl
  --iterations  that often (default 1000)";

/// What is run, and where.
pub(crate) struct Plan {
    pub(crate) size: Size,
    /// Where the databases are made.
    pub(crate) folder: PathBuf,
    /// Where the plot goes.
    pub(crate) svg: Option<PathBuf>,
    /// The store that grows is looked at, and nothing else.
    pub(crate) is_scale: bool,
    /// The one side to run for a profiler.
    pub(crate) side: Option<Side>,
    pub(crate) iterations: usize,
    /// What to do when this is a worker.
    pub(crate) work: Option<Order>,
    /// Results are compared, times mean nothing.
    pub(crate) is_test: bool,
    only: String,
}

impl Plan {
    /// Reads the arguments.
    ///
    /// `cargo bench` adds `--bench`. Without it this is a test run, where the arguments are
    /// meant for the test harness that this program does not have.
    pub(crate) fn from_args(args: &[String]) -> Result<Self> {
        let mut plan = Self {
            size: Size::FULL,
            folder: std::env::temp_dir(),
            svg: None,
            is_scale: false,
            side: None,
            iterations: 1000,
            work: None,
            is_test: false,
            only: String::new(),
        };
        if !args.iter().any(|arg| arg == "--bench") {
            plan.shrink_to_test();
            return Ok(plan);
        }
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} what?\n{USAGE}"));
            match arg.as_str() {
                "--bench" => {}
                "--quick" => plan.size = Size::QUICK,
                "--test" => plan.shrink_to_test(),
                "--dir" => plan.folder = value()?.into(),
                "--only" => plan.only.clone_from(value()?),
                "--svg" => plan.svg = Some(value()?.into()),
                "--scale" => plan.is_scale = true,
                "--side" => plan.side = Some(side(value()?)?),
                "--iterations" => plan.iterations = value()?.parse()?,
                "--work" => plan.work = Some(serde_json::from_str(value()?)?),
                _ => bail!("{arg} is no argument\n{USAGE}"),
            }
        }
        Ok(plan)
    }

    /// Returns whether a part was asked for.
    pub(crate) fn includes(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    fn shrink_to_test(&mut self) {
        self.is_test = true;
        self.size = Size::TEST;
    }
}

fn side(name: &str) -> Result<Side> {
    Side::named(name).with_context(|| format!("{name} is no side\n{USAGE}"))
}
