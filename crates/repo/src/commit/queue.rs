//! Where writes wait while another caller writes.
//!
//! A caller that finds nobody writing writes at once. Otherwise it puts its job into the queue and sleeps.
//! A leader that is done hands over to the thread that waits longest, which runs all jobs of the queue
//! in one transaction, with one sync, and wakes their callers. Waiting threads sleep in groups, usually
//! one for each transaction, and one call wakes a group. All threads are the callers' own. Futures can't
//! lead; for them a thread of their runtime is spawned.
//!
//! Lock order: a [`WakeGroup`], then the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
#[cfg(feature = "tokio")]
use crate::base::operation::Operation;
use crate::commit::job::{Job, JobEnd, Pending, Reply};
use crate::commit::wakeup::WakeGroup;
use crate::commit::write::Write;

/// The most writes and the most bytes of text in a transaction, so that a huge message does not delay the
/// others for long and the log stays small. The first write of a transaction may be of any size.
const MAX_WRITES: usize = 256;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a leader waits in all for the callers that have just been woken, so that they share its transaction: the
/// longer of a least time, and the time to wake them one after the other. A lone caller never waits.
const LEAST_FOLLOWER_WAIT: Duration = Duration::from_micros(200);
const WAIT_PER_FOLLOWER: Duration = Duration::from_micros(8);

/// For how long after a shared transaction its callers are expected again.
const GROUP_MEMORY: Duration = Duration::from_millis(1);

/// The jobs that wait, in order of arrival, and whether a caller leads.
pub(crate) struct Queue<C> {
    state: Mutex<State<C>>,
    /// Wakes the leader once the followers that it waits for have arrived.
    followers: Condvar,
    /// How long a caller waits before it gives up.
    pub(crate) timeout: Duration,
}

struct State<C> {
    /// Whether a caller writes, or has been chosen to. Nobody else may.
    is_led: bool,
    /// The waiting thread that has been chosen.
    next_leader: Option<WriteId>,
    waiting: VecDeque<QueuedJob<C>>,
    last_id: u64,
    /// The group of the threads that arrive before the next transaction begins.
    next_group: Arc<WakeGroup>,
    /// When callers last shared a transaction, and how many are expected again.
    recent_group: Option<(Instant, usize)>,
    /// How many jobs the leader waits for.
    wanted: Option<usize>,
    /// Whether a thread that leads for futures was spawned, and has not left.
    #[cfg(feature = "tokio")]
    is_leader_spawned: bool,
    /// Whether a caller is spawning a leader. It checks afterwards whether that worked.
    #[cfg(feature = "tokio")]
    is_spawning: bool,
}

/// Identifies a write in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WriteId(u64);

/// A job in the queue, and how to reach its caller.
pub(crate) struct QueuedJob<C> {
    /// Dropped before the waker, because it replies when it is dropped: then the caller is woken.
    pub(crate) job: Box<dyn Job<C>>,
    pub(crate) deadline: Deadline,
    id: WriteId,
    waker: Waker,
    /// For a future, which can't lead.
    #[cfg(feature = "tokio")]
    spawn: Option<SpawnLeader>,
}

/// Wakes a thread, with its group, when it is dropped, also during a panic. `None` if the caller is a future.
pub(crate) struct Waker(Option<Arc<WakeGroup>>);

impl Drop for Waker {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.wake();
        }
    }
}

/// Spawns a thread that leads, on behalf of this write. It may fail to.
#[cfg(feature = "tokio")]
pub(crate) type SpawnLeader = Arc<dyn Fn(WriteId) + Send + Sync>;

impl<C> QueuedJob<C> {
    /// Replies to the caller. A thread is woken when the returned waker is dropped.
    pub(crate) fn finish(self, end: JobEnd) -> Waker {
        self.job.finish(end);
        self.waker
    }
}

/// How a caller gets its write done.
pub(crate) enum Admission<'q, C: 'static, W: Write<C>> {
    /// Now, by itself: nobody writes and nothing waits.
    Alone(LeaderGuard<'q, C>, W),
    /// As the leader of everything that waits, or by waiting for a leader or for the lead.
    Queued(Option<LeaderGuard<'q, C>>, Waiter<'q, C, W>),
}

impl<C: 'static> Queue<C> {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                is_led: false,
                next_leader: None,
                waiting: VecDeque::new(),
                last_id: 0,
                next_group: Arc::default(),
                recent_group: None,
                wanted: None,
                #[cfg(feature = "tokio")]
                is_leader_spawned: false,
                #[cfg(feature = "tokio")]
                is_spawning: false,
            }),
            followers: Condvar::new(),
            timeout,
        }
    }

    /// Lets a caller write at once, or enqueues its write.
    pub(crate) fn admit<W: Write<C>>(&self, write: W, deadline: Deadline) -> Admission<'_, C, W> {
        let mut state = self.state.lock();
        if !state.is_led && state.waiting.is_empty() && state.expected_group().is_none() {
            return Admission::Alone(self.lead(state), write);
        }
        // The allocations below need not delay the others.
        drop(state);
        let slot = Arc::new(Mutex::new(None));
        let replies = Arc::clone(&slot);
        let job = Box::new(Pending::new(write, move |reply| {
            *replies.lock() = Some(reply);
        }));
        let mut state = self.state.lock();
        // Choose the group and enqueue under the same lock, so that the thread can't join the group of an
        // earlier batch. The first in the queue will lead and is woken by itself.
        let group = match state.waiting.is_empty() {
            true => Arc::default(),
            false => Arc::clone(&state.next_group),
        };
        let queued = QueuedJob {
            job,
            deadline,
            id: state.next_id(),
            waker: Waker(Some(Arc::clone(&group))),
            #[cfg(feature = "tokio")]
            spawn: None,
        };
        let waiter = Waiter {
            queue: self,
            id: self.push(&mut state, queued),
            deadline,
            slot,
            group,
        };
        let leader = (!state.is_led).then(|| self.lead(state));
        Admission::Queued(leader, waiter)
    }

    /// Returns whether nobody leads and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.is_led && state.waiting.is_empty()
    }

    /// Returns the number of jobs that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Replies `Busy` to a caller whose deadline has passed, unless its job has begun or it has been chosen
    /// to lead.
    pub(crate) fn give_up(&self, id: WriteId) {
        let mut state = self.state.lock();
        if state.next_leader == Some(id) {
            return;
        }
        let Some(mut queued) = state.remove(id) else {
            return;
        };
        drop(state);
        // The caller is awake, and the others of its group need not wake.
        queued.waker.0 = None;
        let timeout = self.timeout;
        let busy = ErrorKind::Busy { timeout }.on(&queued.job.call());
        queued.finish(JobEnd::Failed(busy));
    }

    /// Makes the caller the leader if it has been chosen.
    fn take_lead(&self, id: WriteId) -> Option<LeaderGuard<'_, C>> {
        let mut state = self.state.lock();
        state.next_leader.take_if(|next| *next == id)?;
        Some(LeaderGuard::new(self, &mut state))
    }

    fn push(&self, state: &mut State<C>, queued: QueuedJob<C>) -> WriteId {
        let id = queued.id;
        state.waiting.push_back(queued);
        if state.wanted == Some(state.waiting.len()) {
            self.followers.notify_one();
        }
        id
    }

    fn lead(&self, mut state: MutexGuard<'_, State<C>>) -> LeaderGuard<'_, C> {
        state.is_led = true;
        LeaderGuard::new(self, &mut state)
    }

    /// Hands over after a transaction that this many callers have shared.
    fn hand_over(&self, group: Option<usize>) {
        let mut state = self.state.lock();
        // From now on they and the newly arrived ones are expected again, however long the sync took.
        let arrived = state.waiting.len();
        state.recent_group = group.map(|size| (Instant::now(), size + arrived));
        // Prefer a parked thread: waking it is cheaper than scheduling a blocking task.
        let mut waiting = state.waiting.iter();
        let next = waiting.find_map(|it| Some((it.id, Arc::clone(it.waker.0.as_ref()?))));
        if let Some((id, group)) = next {
            state.next_leader = Some(id);
            drop(state);
            group.wake();
            return;
        }
        state.is_led = false;
        #[cfg(feature = "tokio")]
        Self::spawn_leader(&mut state);
    }
}

/// For callers that are futures.
#[cfg(feature = "tokio")]
impl<C: 'static> Queue<C> {
    /// Enqueues a write whose caller can't lead. `spawn` starts a thread that leads for as long as
    /// [`lead_next`](Self::lead_next) returns a guard.
    pub(crate) fn submit<W: Write<C>>(
        &self,
        write: W,
        deadline: Deadline,
        reply: impl FnOnce(Reply<C, W>) + Send + 'static,
        spawn: SpawnLeader,
    ) -> WriteId {
        let job = Box::new(Pending::new(write, reply));
        let mut state = self.state.lock();
        let queued = QueuedJob {
            job,
            deadline,
            id: state.next_id(),
            waker: Waker(None),
            spawn: Some(spawn),
        };
        let id = self.push(&mut state, queued);
        Self::spawn_leader(&mut state);
        id
    }

    /// Makes a spawned thread the leader if jobs wait and nobody leads. Otherwise the thread must leave.
    pub(crate) fn lead_next(&self) -> Option<LeaderGuard<'_, C>> {
        let state = self.state.lock();
        let is_needed = !state.is_led && !state.waiting.is_empty();
        is_needed.then(|| self.lead(state))
    }

    /// Spawns another leader if one is needed after one has left, has panicked or was never run. In the last
    /// case the runtime of the write that it was `spawned_for` has ended or no thread, and that job fails.
    pub(crate) fn leader_left(&self, spawned_for: Option<WriteId>) {
        let mut state = self.state.lock();
        state.is_leader_spawned = false;
        if state.is_led {
            return;
        }
        let orphan = spawned_for.and_then(|id| state.remove(id));
        Self::spawn_leader(&mut state);
        drop(state);
        if let Some(queued) = orphan {
            let operation = queued.job.call().name;
            let error = ErrorKind::Io
                .on(&Operation::on_named(operation, "a thread of the runtime"))
                .with_source("the runtime has shut down, or the system has no thread for it");
            queued.finish(JobEnd::Failed(error));
        }
    }

    /// Spawns a leader if one is needed. Repeats that as long as spawning fails: a runtime that has ended
    /// runs none.
    fn spawn_leader(state: &mut MutexGuard<'_, State<C>>) {
        while !state.is_led && !state.is_leader_spawned && !state.is_spawning {
            let next = state.waiting.front();
            let Some((id, spawn)) = next.and_then(|it| Some((it.id, it.spawn.clone()?))) else {
                return;
            };
            state.is_leader_spawned = true;
            state.is_spawning = true;
            MutexGuard::unlocked(state, || spawn(id));
            state.is_spawning = false;
        }
    }
}

impl<C> State<C> {
    fn next_id(&mut self) -> WriteId {
        self.last_id += 1;
        WriteId(self.last_id)
    }

    fn remove(&mut self, id: WriteId) -> Option<QueuedJob<C>> {
        // Ids ascend, whatever was removed or put back.
        let index = self.waiting.binary_search_by_key(&id, |it| it.id).ok()?;
        self.waiting.remove(index)
    }

    /// Returns how many callers are likely to come again.
    fn expected_group(&mut self) -> Option<usize> {
        let (since, size) = self.recent_group?;
        if since.elapsed() > GROUP_MEMORY {
            self.recent_group = None;
            return None;
        }
        Some(size)
    }
}

/// The right to write. Dropping it, also during a panic, hands over to the next caller.
pub(crate) struct LeaderGuard<'q, C: 'static> {
    queue: &'q Queue<C>,
    /// What it has taken for its transaction.
    writes: usize,
    bytes: usize,
    /// Whether all of them are deletions.
    only_long: bool,
    /// Whether it takes nothing more.
    is_complete: bool,
    /// How many it waits for, and how long it may still wait.
    expected: usize,
    patience: Duration,
}

impl<'q, C: 'static> LeaderGuard<'q, C> {
    fn new(queue: &'q Queue<C>, state: &mut State<C>) -> Self {
        let expected = state.expected_group().unwrap_or(0).min(MAX_WRITES);
        Self {
            queue,
            writes: 0,
            bytes: 0,
            only_long: true,
            is_complete: false,
            expected,
            patience: LEAST_FOLLOWER_WAIT.max(WAIT_PER_FOLLOWER * expected as u32),
        }
    }

    /// Returns the deadline of the caller that waits longest.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let state = self.queue.state.lock();
        state.waiting.front().map(|queued| queued.deadline)
    }

    /// Removes as many jobs as still fit into the transaction, none if it is complete. Callers come while the first
    /// jobs run. If none has come meanwhile, they need this processor: then it waits for as many as shared the last
    /// transaction, as it does before the first job if all must be there `at_once`.
    ///
    /// A deletion may take seconds. So a write that has run does not wait for one, and the writes behind one stay in
    /// the queue, where they give up at their deadlines, until it has run.
    pub(crate) fn take(&mut self, at_once: bool) -> Vec<QueuedJob<C>> {
        let mut state = self.queue.state.lock();
        if at_once || state.waiting.is_empty() {
            self.wait_for(self.expected.saturating_sub(self.writes), &mut state);
        }
        let mut count = 0;
        for queued in state.waiting.iter().take(MAX_WRITES - self.writes) {
            let bytes = self.bytes + queued.job.bytes();
            let is_long = queued.job.may_take_long();
            if (self.writes > 0 && bytes > MAX_BYTES) || (is_long && !self.only_long) {
                break;
            }
            self.bytes = bytes;
            self.only_long &= is_long;
            self.writes += 1;
            count += 1;
            if is_long {
                break;
            }
        }
        if count == 0 || at_once {
            self.is_complete = true;
            state.next_group = Arc::default();
        }
        state.waiting.drain(..count).collect()
    }

    fn wait_for(&mut self, wanted: usize, state: &mut MutexGuard<'_, State<C>>) {
        let start = Instant::now();
        state.wanted = Some(wanted);
        while state.waiting.len() < wanted {
            let until = start + self.patience;
            if self.queue.followers.wait_until(state, until).timed_out() {
                break;
            }
        }
        state.wanted = None;
        self.patience = self.patience.saturating_sub(start.elapsed());
    }

    /// Puts jobs back at the front of the queue, in their order. Returns the jobs whose deadline has passed: their
    /// callers no longer look at the time.
    pub(crate) fn put_back(&self, jobs: impl Iterator<Item = QueuedJob<C>>) -> Vec<QueuedJob<C>> {
        let mut state = self.queue.state.lock();
        let (late, jobs): (_, Vec<_>) = jobs.partition(|it| it.deadline.remaining().is_zero());
        for queued in jobs.into_iter().rev() {
            state.waiting.push_front(queued);
        }
        late
    }

    /// Removes the jobs whose deadline has passed, and at least one unless `only_late`. For when no
    /// transaction can begin.
    pub(crate) fn take_late(&self, only_late: bool) -> Vec<QueuedJob<C>> {
        let waiting = &mut self.queue.state.lock().waiting;
        let is_late = |queued: &&QueuedJob<C>| queued.deadline.remaining().is_zero();
        let late = waiting.iter().take_while(is_late).count();
        let count = late.max(usize::from(!only_late)).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

impl<C> Drop for LeaderGuard<'_, C> {
    fn drop(&mut self) {
        // A transaction that did not begin, or did not come to its end, says nothing about the next one.
        let is_shared = self.is_complete && self.writes > 1;
        self.queue.hand_over(is_shared.then_some(self.writes));
    }
}

/// A thread that waits for its write.
pub(crate) struct Waiter<'q, C: 'static, W: Write<C>> {
    queue: &'q Queue<C>,
    id: WriteId,
    pub(crate) deadline: Deadline,
    slot: Arc<Mutex<Option<Reply<C, W>>>>,
    group: Arc<WakeGroup>,
}

/// Why a thread stops waiting.
pub(crate) enum WaitResult<'q, C: 'static, W: Write<C>> {
    /// The caller leads.
    Lead(LeaderGuard<'q, C>),
    /// The write has ended, or the deadline has passed.
    Reply(Reply<C, W>),
}

impl<'q, C, W: Write<C>> Waiter<'q, C, W> {
    /// Sleeps until there is something to do. Waits for a write that has begun whatever the deadline:
    /// `Busy` would tell the caller that nothing is stored.
    pub(crate) fn wait(&self) -> WaitResult<'q, C, W> {
        let mut until = Some(self.deadline.instant());
        let look = || match self.slot.lock().take() {
            Some(reply) => Some(WaitResult::Reply(reply)),
            None => self.queue.take_lead(self.id).map(WaitResult::Lead),
        };
        loop {
            if let Some(result) = self.group.sleep(until, look) {
                return result;
            }
            self.queue.give_up(self.id);
            // Otherwise the write has begun, or the caller leads.
            until = None;
        }
    }
}

impl<C, W: Write<C>> Drop for Waiter<'_, C, W> {
    /// A caller that panics while it leads may have its own job still in the queue, and the lead again.
    fn drop(&mut self) {
        if thread::panicking() {
            let _lead = self.queue.take_lead(self.id);
            self.queue.give_up(self.id);
        }
    }
}
