//! The arguments of the command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::side::Side;
use crate::size::Size;
use crate::worker::Order;

/// Printed when the arguments are wrong.
const USAGE: &str = "\
cargo bench -- [--quick] [--test] [--dir FOLDER] [--only NAME] [--svg FILE]
                                 [--scale] [--side SIDE [--iterations N]]
  --quick       takes about a minute
  --test        compares the results of all sides with the smallest size
  --dir         folder of the databases (default: the system's temporary folder)
  --only        runs only the parts whose name contains NAME
  --svg         draws the durable appends of many threads into FILE
  --scale       measures a store that grows to ten million turns instead; needs 15 GB
  --side        runs the operations on one side for a profiler, which collects in `repeat`: raw,
                lean, e463321, turnkeep, diesel, sqlx, rusqlite, jsonl
  --iterations  number of runs with --side (default: 1000)";

/// The parts to run, and where.
pub(crate) struct Plan {
    pub(crate) size: Size,
    /// The folder of the databases.
    pub(crate) folder: PathBuf,
    /// The file of the plot.
    pub(crate) svg: Option<PathBuf>,
    /// Only measures a growing store.
    pub(crate) is_scale: bool,
    /// The one side to run for a profiler.
    pub(crate) side: Option<Side>,
    pub(crate) iterations: usize,
    /// The job, when this process is a worker.
    pub(crate) work: Option<Order>,
    /// Compares results only; times are meaningless.
    pub(crate) is_test: bool,
    only: String,
}

impl Plan {
    /// Reads the arguments.
    ///
    /// `cargo bench` passes `--bench`. Without it this is `cargo test`, whose arguments are meant
    /// for the standard test harness.
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
            let mut value = || {
                args.next()
                    .with_context(|| format!("{arg} needs a value\n{USAGE}"))
            };
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
                _ => bail!("unknown argument {arg}\n{USAGE}"),
            }
        }
        Ok(plan)
    }

    /// Returns whether `--only` selects a part.
    pub(crate) fn includes(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    fn shrink_to_test(&mut self) {
        self.is_test = true;
        self.size = Size::TEST;
    }
}

fn side(name: &str) -> Result<Side> {
    Side::named(name).with_context(|| format!("unknown side {name}\n{USAGE}"))
}
