//! Threads and futures in one queue, over an engine that fails in every way that it may.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::runtime::Runtime;

use super::scene::{or_hang, runtime, single_thread, two_workers, wait_until};
use crate::Repo;
use crate::base::deadline::Deadline;
use crate::base::error::{ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::{Classify, ErrorClass, QueryError};
use crate::base::stats::Calls;
use crate::base::trace::Committed;
use crate::commit::engine::{Batch, Engine};
use crate::commit::group_commit::Writer;
use crate::commit::job::JobEnd;
use crate::commit::queue::QueuedJob;
use crate::commit::write::Write;

/// Many times as many have been run.
const ROUNDS: u64 = 100;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Stores numbers.
struct Fickle {
    stored: Mutex<Vec<u64>>,
    dice: AtomicU64,
    clock: Clock,
}

/// What a transaction has stored so far.
type Staged = Vec<u64>;

impl Fickle {
    fn dice(&self) -> Dice {
        Dice(
            self.dice
                .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed),
        )
    }

    fn commit(&self, mut staged: Staged, writes: usize) -> Committed {
        self.stored.lock().unwrap().append(&mut staged);
        Committed {
            writes,
            wait: Duration::ZERO,
            commit: Duration::ZERO,
            lock_retries: 0,
        }
    }
}

fn database_error(text: &str) -> QueryError {
    DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text.to_owned())).into()
}

struct FickleErrors;

impl Classify for FickleErrors {
    fn class(error: &DieselError) -> ErrorClass {
        Self::connect_class(&error.to_string())
    }

    fn connect_class(text: &str) -> ErrorClass {
        match text {
            "locked" => ErrorClass::Busy,
            _ => ErrorClass::Io,
        }
    }
}

fn broken() -> ! {
    resume_unwind(Box::new("broken engine"))
}

impl Engine for Fickle {
    type Conn = Staged;
    type Errors = FickleErrors;

    const TAKES_ONCE: bool = false;

    fn is_shared<W: Write<Staged>>(_: &W) -> bool {
        true
    }

    fn run_alone<T>(
        &self,
        deadline: Deadline,
        write: impl FnMut(&mut Staged, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.run_once(deadline, write)
    }

    fn run_once<T>(
        &self,
        _: Deadline,
        code: impl FnOnce(&mut Staged, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        let mut dice = self.dice();
        thread::sleep(Duration::from_micros(dice.roll(100)));
        match dice.roll(30) {
            0 => return Err(database_error("locked")),
            1 => return Err(database_error("broken disk")),
            2 => broken(),
            _ => {}
        }
        let mut staged = Staged::new();
        let output = code(&mut staged, &self.clock)?;
        Ok((output, self.commit(staged, 1)))
    }

    fn with_savepoint<T>(
        staged: &mut Staged,
        part: impl FnOnce(&mut Staged) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        part(staged)
    }

    fn run_leading<W: Write<Staged>>(
        &self,
        deadline: Deadline,
        write: &mut W,
    ) -> Result<Option<(W::Output, Committed)>, QueryError> {
        if self.dice().roll(4) == 0 {
            return Ok(None);
        }
        self.run_alone(deadline, |staged, clock| write.run(staged, clock))
            .map(Some)
    }

    fn run_batch(
        &self,
        _: Deadline,
        mut take: impl FnMut() -> Vec<QueuedJob<Staged>>,
    ) -> Result<Batch<Staged>, QueryError> {
        let mut dice = self.dice();
        match dice.roll(30) {
            0 => return Err(database_error("locked")),
            1 => return Err(database_error("broken disk")),
            2 => broken(),
            3 => thread::sleep(Duration::from_millis(3)),
            _ => thread::sleep(Duration::from_micros(dice.roll(100))),
        }
        let mut jobs = take();
        match dice.roll(30) {
            0 => broken(),
            1 => {
                let call = Operation::on_store("write");
                let error = database_error("broken disk");
                let error = error.translate::<FickleErrors>(&call, Duration::ZERO);
                return Ok(Batch::failed(jobs, &error));
            }
            2 => thread::sleep(Duration::from_millis(3)),
            _ => {}
        }
        let mut staged = Staged::new();
        let mut ends = Vec::new();
        loop {
            let index = ends.len();
            if index == jobs.len() {
                jobs.append(&mut take());
            }
            let Some(QueuedJob { job, .. }) = jobs.get_mut(index) else {
                break;
            };
            let run = AssertUnwindSafe(|| job.run(&mut staged, &self.clock));
            let end = match catch_unwind(run) {
                Ok(Ok(())) if dice.roll(10) == 0 => {
                    staged.pop();
                    JobEnd::RunAlone
                }
                Ok(Ok(())) => JobEnd::Committed,
                Ok(Err(error)) => {
                    let error = error.translate::<FickleErrors>(&job.call(), Duration::ZERO);
                    JobEnd::Failed(error)
                }
                Err(payload) => {
                    ends = jobs.iter().map(|_| JobEnd::PutBack).collect();
                    ends[index] = JobEnd::Panicked(payload);
                    staged.clear();
                    break;
                }
            };
            ends.push(end);
        }
        let writes = jobs.len();
        Ok(Batch {
            jobs: jobs.into_iter().zip(ends).collect(),
            committed: (!staged.is_empty()).then(|| self.commit(staged, writes)),
        })
    }
}

struct Number {
    number: u64,
    panics: bool,
}

impl Write<Staged> for Number {
    type Output = u64;

    fn call(&self) -> Operation<'_> {
        Operation::on_store("number")
    }

    fn run(&mut self, staged: &mut Staged, _: &Clock) -> Result<u64, QueryError> {
        if self.panics {
            resume_unwind(Box::new("asked for"));
        }
        staged.push(self.number);
        Ok(self.number)
    }
}

/// How often a number may be stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Once,
    Never,
    Perhaps,
}

type Outcome = (u64, Expected);

/// All callers of a round.
struct Storm {
    writer: Arc<Writer<Fickle>>,
    /// For the signature only.
    repo: Repo,
    timeout: Duration,
    outcomes: Mutex<Vec<Outcome>>,
    numbers: AtomicU64,
}

impl Storm {
    fn new(seed: u64, timeout: Duration) -> Self {
        let engine = Fickle {
            stored: Mutex::default(),
            dice: AtomicU64::new(seed),
            clock: Arc::new(chrono::Utc::now),
        };
        let calls = Arc::new(Calls::new(Opened::new("open").unwrap()));
        Self {
            writer: Arc::new(Writer::new(engine, calls, timeout)),
            repo: Repo::open_in_memory().unwrap(),
            timeout,
            outcomes: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    /// Returns a write, and the place where its caller finds the result.
    fn next(&self, dice: &mut Dice) -> (Number, Told<'_>) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let panics = dice.roll(20) == 0;
        let told = Told {
            storm: self,
            number,
            begin: Instant::now(),
            expected: Expected::Perhaps,
        };
        (Number { number, panics }, told)
    }

    fn write_blocking(&self, dice: &mut Dice) {
        let (write, mut told) = self.next(dice);
        let result = catch_unwind(AssertUnwindSafe(|| self.writer.write(write)));
        told.ended(result);
    }

    async fn write(&self, dice: &mut Dice) {
        let (write, mut told) = self.next(dice);
        let mut writing = pin!(super::super::write(&self.repo, &self.writer, write));
        // Polled once by a host whose waker panics. (In its timer that would end tokio.)
        if self.timeout > Duration::from_secs(1) && dice.roll(6) == 0 {
            let waker = Waker::from(Arc::new(BrokenWaker));
            let mut context = Context::from_waker(&waker);
            let poll = AssertUnwindSafe(|| writing.as_mut().poll(&mut context));
            match catch_unwind(poll) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(result)) => return told.ended(Ok(result)),
                Err(payload) => return told.ended(Err(payload)),
            }
        }
        let guarded = std::future::poll_fn(|context| {
            let poll = AssertUnwindSafe(|| writing.as_mut().poll(context));
            match catch_unwind(poll) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(payload) => Poll::Ready(Err(payload)),
            }
        });
        // Some give up early, and never learn what became of the write.
        let patience = match dice.roll(5) {
            0 => Duration::from_micros(dice.roll(3_000)),
            _ => Duration::from_secs(600),
        };
        if let Ok(result) = tokio::time::timeout(patience, guarded).await {
            told.ended(result);
        }
    }
}

struct BrokenWaker;

impl Wake for BrokenWaker {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("broken waker"));
    }
}

/// What the caller of a write was told, if anything.
struct Told<'a> {
    storm: &'a Storm,
    number: u64,
    begin: Instant,
    expected: Expected,
}

impl Told<'_> {
    fn ended(&mut self, result: Result<Result<u64>, Box<dyn Any + Send>>) {
        self.expected = match result {
            Ok(Ok(number)) => {
                assert_eq!(number, self.number);
                Expected::Once
            }
            Ok(Err(error)) if *error.kind() == ErrorKind::OutcomeUnknown => Expected::Perhaps,
            Ok(Err(error)) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Busy { .. } | ErrorKind::Io),
                    "{error:?}"
                );
                Expected::Never
            }
            // Asked for, or as the leader for others.
            Err(_) => Expected::Perhaps,
        };
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        // No transaction takes long, so that nobody is to wait for the longest timeout.
        let limit = self.storm.timeout.min(Duration::from_secs(1)) + Duration::from_secs(9);
        let time = self.begin.elapsed();
        assert!(time < limit, "{time:?}, timeout {:?}", self.storm.timeout);
        let outcome = (self.number, self.expected);
        self.storm.outcomes.lock().unwrap().push(outcome);
    }
}

/// A runtime that ends in the middle of its writes.
fn ends_early(seed: u64, storm: &Arc<Storm>) {
    let mut dice = Dice(seed);
    let runtime = two_workers().max_blocking_threads(1).build().unwrap();
    spawn_futures(&runtime, seed, storm, 6);
    thread::sleep(Duration::from_micros(dice.roll(5_000)));
    match dice.roll(2) {
        0 => runtime.shutdown_background(),
        _ => drop(runtime),
    }
}

fn spawn_futures(
    runtime: &Runtime,
    seed: u64,
    storm: &Arc<Storm>,
    count: u64,
) -> Vec<tokio::task::JoinHandle<()>> {
    (0..count)
        .map(|caller| {
            let storm = Arc::clone(storm);
            let mut dice = Dice(seed ^ (caller << 20));
            runtime.spawn(async move {
                for _ in 0..10 {
                    storm.write(&mut dice).await;
                }
            })
        })
        .collect()
}

fn round(seed: u64, runtimes: &[Runtime]) {
    let mut dice = Dice(seed);
    let timeout = [1, 10, 60_000][dice.roll(3) as usize];
    let storm = Arc::new(Storm::new(seed, Duration::from_millis(timeout)));
    let mut threads = Vec::new();
    for caller in 0..dice.roll(6) {
        let storm = Arc::clone(&storm);
        let mut dice = Dice(seed ^ (caller << 40));
        threads.push(thread::spawn(move || {
            for _ in 0..10 {
                storm.write_blocking(&mut dice);
            }
        }));
    }
    if dice.roll(3) == 0 {
        let storm = Arc::clone(&storm);
        threads.push(thread::spawn(move || ends_early(seed, &storm)));
    }
    let mut tasks = Vec::new();
    for (number, runtime) in runtimes.iter().enumerate() {
        let count = dice.roll(8);
        for task in spawn_futures(runtime, seed ^ ((number as u64) << 50), &storm, count) {
            tasks.push((number, task));
        }
    }
    for (number, task) in tasks {
        if dice.roll(5) == 0 {
            task.abort();
        }
        if let Err(error) = runtimes[number].block_on(task) {
            assert!(error.is_cancelled(), "{error}");
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    // Nobody is left, but for the spawned threads and the tasks of a runtime that has ended.
    wait_until(|| storm.writer.queue.is_idle() && Arc::strong_count(&storm) == 1);
    let mut stored = storm.writer.engine.stored.lock().unwrap().clone();
    stored.sort_unstable();
    let mut outcomes = storm.outcomes.lock().unwrap().clone();
    outcomes.sort_unstable_by_key(|outcome| outcome.0);
    assert_eq!(outcomes.len() as u64, storm.numbers.load(Ordering::Relaxed));
    for (number, expected) in outcomes {
        let times = stored.iter().filter(|it| **it == number).count();
        match expected {
            Expected::Once => assert_eq!(times, 1, "{number}, seed {seed}"),
            Expected::Never => assert_eq!(times, 0, "{number}, seed {seed}"),
            Expected::Perhaps => assert!(times <= 1, "{number}, seed {seed}"),
        }
    }
    wait_until(|| Arc::strong_count(&storm.writer) == 1);
}

#[test]
fn whatever_fails_each_caller_gets_the_truth_in_time() {
    or_hang(|| {
        let runtimes = [
            runtime(),
            single_thread().max_blocking_threads(1).build().unwrap(),
            two_workers().max_blocking_threads(1).build().unwrap(),
        ];
        for seed in 0..ROUNDS {
            round(seed, &runtimes);
        }
    });
}
