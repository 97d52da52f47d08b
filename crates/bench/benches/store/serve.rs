//! The worker's side of a job: reads a request from each line and answers it in a line.

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::Data;
use crate::operation::Operation;
use crate::sides::raw::Db;
use crate::worker::{Job, Order};
use crate::{crowd, memory, sides};

/// Runs the worker until its input ends.
pub(crate) fn serve(order: &Order) -> Result<()> {
    let (side, path) = (order.side, order.path.as_path());
    match &order.job {
        Job::Lone { operation, tasks } => {
            let operation = Operation::named(operation)?;
            let data = Data::new(*tasks)?;
            let mut store = sides::open(side, path, operation.durability)?;
            answer(|range| store.time_block(operation, &data, range))
        }
        Job::Crowd {
            first_task,
            threads,
        } => {
            let mut data = Data::new(first_task + threads)?;
            data.tasks.drain(..first_task);
            let mut crowd = crowd::open(side, path, data)?;
            answer(|round| crowd.run(&round))
        }
        Job::Read { in_pages } => answer(|()| memory::read(path, *in_pages)),
        Job::Hold => {
            let db = Db::open(path)?;
            let mut begin = Some("BEGIN");
            answer(|()| {
                if let Some(begin) = begin.take() {
                    db.execute(begin)?;
                }
                // The transaction begins with the first read.
                db.query_integer("SELECT count(*) FROM tasks").map(drop)
            })
        }
    }
}

fn answer<Q: DeserializeOwned, A: Serialize>(mut act: impl FnMut(Q) -> Result<A>) -> Result<()> {
    for line in std::io::stdin().lines() {
        let answer = act(serde_json::from_str(&line?)?)?;
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}
