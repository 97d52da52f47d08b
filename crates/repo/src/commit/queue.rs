//! Where writes wait while another caller writes.
//!
//! A caller that finds nobody writing writes at once. Otherwise it puts its job into the queue and sleeps.
//! A leader that is done hands over to the thread that waits longest, which runs all jobs of the queue
//! in one transaction, with one sync, and wakes their callers. Waiting threads sleep in groups, usually
//! one for each transaction, and one call wakes a group. All threads are the callers' own. Futures can't
//! lead; for them a thread of their runtime is spawned.
//!
//! Lock order: the queue, then a [`WakeGroup`], then a [`WaiterState`].

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::deadline::Deadline;
use crate::commit::job::{Pending, QueuedJob, WriteResult};
use crate::commit::wakeup::{Status, WaiterState, WakeGroup};
use crate::commit::write::Write;

/// The most writes and the most bytes of text in a transaction, so that a huge message does not delay the
/// others for long and the log stays small. The first write of a transaction may be of any size.
const MAX_WRITES: usize = 256;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a leader waits for the callers that have just been woken, so that they share its transaction.
/// A lone caller never waits.
const FOLLOWER_WAIT: Duration = Duration::from_micros(200);

/// For how long after a shared transaction its callers are expected again.
const GROUP_MEMORY: Duration = Duration::from_millis(1);

/// The jobs that wait, in order of arrival, and whether a caller leads.
pub(crate) struct Queue<C> {
    state: Mutex<State<C>>,
    /// Wakes the leader once the followers that it waits for have arrived.
    followers: Condvar,
}

struct State<C> {
    /// Whether a caller writes, or has been chosen to. Nobody else may.
    is_led: bool,
    waiting: VecDeque<Waiting<C>>,
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

/// A job in the queue.
pub(crate) struct Waiting<C> {
    /// Dropped before the caller, because it replies when it is dropped: then the caller is woken.
    pub(crate) job: QueuedJob<C>,
    pub(crate) caller: Caller<C>,
}

/// The caller of a job.
pub(crate) struct Caller<C> {
    id: WriteId,
    waker: Waker<C>,
}

/// Reaches the caller of a job.
pub(crate) enum Waker<C> {
    /// A thread, which can lead.
    Thread(ThreadWaker<C>),
    /// A future, which can't.
    #[cfg(feature = "tokio")]
    Future(SpawnLeader<C>),
}

/// A sleeping thread. Dropping this wakes it, also during a panic.
pub(crate) struct ThreadWaker<C> {
    state: Arc<WaiterState<C>>,
    group: Arc<WakeGroup>,
}

impl<C> Drop for ThreadWaker<C> {
    fn drop(&mut self) {
        self.group.wake();
    }
}

/// The task of a thread that is spawned for a future.
#[cfg(feature = "tokio")]
pub(crate) enum LeaderTask<C> {
    /// Lead, on behalf of this write.
    Lead(WriteId),
    /// Run this job alone.
    Alone(QueuedJob<C>),
}

/// Spawns a thread for a task. It may fail to.
#[cfg(feature = "tokio")]
pub(crate) type SpawnLeader<C> = Arc<dyn Fn(LeaderTask<C>) + Send + Sync>;

impl<C> Waiting<C> {
    /// Replies to the caller. A thread is woken when the returned waker is dropped.
    pub(crate) fn finish(self, result: WriteResult<()>) -> Waker<C> {
        let Self { job, caller } = self;
        // The host's waker of a future may panic; the other callers must get their results all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| job.finish(result)));
        caller.waker
    }

    /// Makes the caller run the job alone. A thread is woken when the returned waker is dropped.
    pub(crate) fn hand_back(self) -> Waker<C> {
        let Self { job, caller } = self;
        match &caller.waker {
            Waker::Thread(thread) => thread.state.set(Status::Alone(job)),
            #[cfg(feature = "tokio")]
            Waker::Future(spawn) => spawn(LeaderTask::Alone(job)),
        }
        caller.waker
    }
}

impl<C> Waker<C> {
    fn thread(&self) -> Option<&ThreadWaker<C>> {
        match self {
            Self::Thread(thread) => Some(thread),
            #[cfg(feature = "tokio")]
            Self::Future(_) => None,
        }
    }

    fn is_to_lead(&self) -> bool {
        self.thread()
            .is_some_and(|thread| thread.state.is_to_lead())
    }
}

/// How a caller gets its write done.
pub(crate) enum Admission<'q, C: 'static, W: Write<C>> {
    /// Now, by itself: nobody writes and nothing waits.
    Alone(LeaderGuard<'q, C>, W),
    /// As the leader, with everything that waits.
    Lead(LeaderGuard<'q, C>, Waiter<'q, C, W::Output>),
    /// By waiting for a leader, or for the lead.
    Wait(Waiter<'q, C, W::Output>),
}

impl<C: 'static> Queue<C> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                is_led: false,
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
        let waiter_state = Arc::new(WaiterState::new());
        let slot = Arc::new(Mutex::new(None));
        let reply = {
            let (state, slot) = (Arc::clone(&waiter_state), Arc::clone(&slot));
            move |result| {
                *slot.lock() = Some(result);
                state.set(Status::Done);
            }
        };
        let job = Box::new(Pending::new(write, deadline, Some(reply)));
        let mut state = self.state.lock();
        // Choose the group and enqueue under the same lock, so that the thread can't join the group of an
        // earlier batch. The first in the queue will lead and is woken by itself.
        let group = match state.waiting.is_empty() {
            true => Arc::default(),
            false => Arc::clone(&state.next_group),
        };
        let waker = Waker::Thread(ThreadWaker {
            state: Arc::clone(&waiter_state),
            group: Arc::clone(&group),
        });
        let waiter = Waiter {
            queue: self,
            id: self.push(&mut state, job, waker),
            deadline,
            slot,
            state: waiter_state,
            group,
        };
        if state.is_led {
            Admission::Wait(waiter)
        } else {
            Admission::Lead(self.lead(state), waiter)
        }
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

    /// Removes the job of a caller whose deadline has passed, unless the job has begun or the caller has
    /// been chosen to lead.
    pub(crate) fn give_up(&self, id: WriteId) -> Option<Waiting<C>> {
        let mut state = self.state.lock();
        let index = state.index(id)?;
        if state.waiting[index].caller.waker.is_to_lead() {
            return None;
        }
        state.remove_own(index)
    }

    /// Removes the job of a caller that panics, and takes the lead from it.
    fn withdraw(&self, id: WriteId) {
        let mut state = self.state.lock();
        let withdrawn = state.index(id).and_then(|index| state.remove_own(index));
        drop(state);
        if withdrawn.is_some_and(|waiting| waiting.caller.waker.is_to_lead()) {
            self.hand_over();
        }
    }

    fn push(&self, state: &mut State<C>, job: QueuedJob<C>, waker: Waker<C>) -> WriteId {
        state.last_id += 1;
        let id = WriteId(state.last_id);
        let caller = Caller { id, waker };
        state.waiting.push_back(Waiting { job, caller });
        if state.wanted == Some(state.waiting.len()) {
            self.followers.notify_one();
        }
        id
    }

    fn lead(&self, mut state: MutexGuard<'_, State<C>>) -> LeaderGuard<'_, C> {
        state.is_led = true;
        LeaderGuard { queue: self }
    }

    fn hand_over(&self) {
        let mut state = self.state.lock();
        // From now on the callers of this transaction and the newly arrived ones are expected again, however
        // long the sync took.
        let arrived = state.waiting.len();
        if let Some((since, size)) = &mut state.recent_group {
            *since = Instant::now();
            *size += arrived;
        }
        // Prefer a parked thread: waking it is cheaper than scheduling a blocking task.
        let mut threads = state
            .waiting
            .iter()
            .filter_map(|it| it.caller.waker.thread());
        if let Some(next) = threads.next() {
            // Under the lock, so that a caller which gives up at this moment sees it.
            next.state.set(Status::ToLead);
            next.group.wake();
            return;
        }
        drop(threads);
        state.is_led = false;
        #[cfg(feature = "tokio")]
        Self::spawn_leader(&mut state);
    }
}

/// For callers that are futures.
#[cfg(feature = "tokio")]
impl<C: 'static> Queue<C> {
    /// Enqueues a write whose caller can't lead. `spawn` starts a thread that leads for as long as
    /// [`lead_next`](Self::lead_next) returns a guard. `reply` gets the result.
    pub(crate) fn submit<W: Write<C>>(
        &self,
        write: W,
        deadline: Deadline,
        reply: impl FnOnce(WriteResult<W::Output>) + Send + 'static,
        spawn: SpawnLeader<C>,
    ) -> WriteId {
        let job = Box::new(Pending::new(write, deadline, Some(reply)));
        let mut state = self.state.lock();
        let id = self.push(&mut state, job, Waker::Future(spawn));
        Self::spawn_leader(&mut state);
        id
    }

    /// Makes a spawned thread the leader if jobs wait and nobody leads. Otherwise the thread must leave.
    pub(crate) fn lead_next(&self) -> Option<LeaderGuard<'_, C>> {
        let mut state = self.state.lock();
        if state.is_led || state.waiting.is_empty() {
            state.is_leader_spawned = false;
            return None;
        }
        Some(self.lead(state))
    }

    /// Spawns another leader after one has panicked or was never run. In the latter case the runtime of
    /// the write that it was `spawned_for` has ended; that job is removed and returned.
    pub(crate) fn leader_failed(&self, spawned_for: Option<WriteId>) -> Option<Waiting<C>> {
        let mut state = self.state.lock();
        state.is_leader_spawned = false;
        if state.is_led {
            return None;
        }
        let index = spawned_for.and_then(|id| state.index(id));
        let given_up = index.and_then(|index| state.waiting.remove(index));
        Self::spawn_leader(&mut state);
        given_up
    }

    /// Spawns a leader if one is needed. Repeats that as long as spawning fails: a runtime that has ended
    /// runs none.
    fn spawn_leader(state: &mut MutexGuard<'_, State<C>>) {
        while !state.is_led && !state.is_leader_spawned && !state.is_spawning {
            let Some(first) = state.waiting.front() else {
                return;
            };
            let Waker::Future(spawn) = &first.caller.waker else {
                return;
            };
            let (spawn, id) = (Arc::clone(spawn), first.caller.id);
            state.is_leader_spawned = true;
            state.is_spawning = true;
            MutexGuard::unlocked(state, || spawn(LeaderTask::Lead(id)));
            state.is_spawning = false;
        }
    }
}

impl<C> State<C> {
    fn index(&self, id: WriteId) -> Option<usize> {
        // Ids ascend, whatever was removed or put back.
        let found = self.waiting.binary_search_by_key(&id, |it| it.caller.id);
        found.ok()
    }

    /// Removes the job of the caller that asks for it. That caller is awake, so no group is woken.
    fn remove_own(&mut self, index: usize) -> Option<Waiting<C>> {
        let mut waiting = self.waiting.remove(index)?;
        match &mut waiting.caller.waker {
            Waker::Thread(thread) => thread.group = Arc::default(),
            #[cfg(feature = "tokio")]
            Waker::Future(_) => {}
        }
        Some(waiting)
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
}

impl<C> LeaderGuard<'_, C> {
    /// Waits a moment for as many callers as shared the last transaction.
    pub(crate) fn wait_for_followers(&self) {
        let mut state = self.queue.state.lock();
        let Some(expected) = state.expected_group() else {
            return;
        };
        let until = Instant::now() + FOLLOWER_WAIT;
        state.wanted = Some(expected);
        while state.waiting.len() < expected {
            let waited = self.queue.followers.wait_until(&mut state, until);
            if waited.timed_out() {
                break;
            }
        }
        state.wanted = None;
    }

    /// Returns the deadline of the caller that waits longest.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let state = self.queue.state.lock();
        state.waiting.front().map(|waiting| waiting.job.deadline())
    }

    /// Removes as many jobs as fit into a transaction.
    pub(crate) fn take_batch(&self) -> Vec<Waiting<C>> {
        let mut state = self.queue.state.lock();
        let mut bytes = 0;
        let mut writes = 0;
        for waiting in state.waiting.iter().take(MAX_WRITES) {
            bytes += waiting.job.bytes();
            if writes > 0 && bytes > MAX_BYTES {
                break;
            }
            writes += 1;
        }
        state.recent_group = (writes > 1).then(|| (Instant::now(), writes));
        state.next_group = Arc::default();
        state.waiting.drain(..writes).collect()
    }

    /// Puts jobs back at the front of the queue, in their order.
    pub(crate) fn put_back(&self, batch: Vec<Waiting<C>>) {
        let mut state = self.queue.state.lock();
        for waiting in batch.into_iter().rev() {
            state.waiting.push_front(waiting);
        }
    }

    /// Removes the jobs whose deadline has passed, and at least one unless `only_late`. For when no
    /// transaction can begin.
    pub(crate) fn take_late(&self, only_late: bool) -> Vec<Waiting<C>> {
        let waiting = &mut self.queue.state.lock().waiting;
        let is_late = |waiting: &&Waiting<C>| waiting.job.deadline().remaining().is_zero();
        let late = waiting.iter().take_while(is_late).count();
        let count = late.max(usize::from(!only_late)).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

impl<C> Drop for LeaderGuard<'_, C> {
    fn drop(&mut self) {
        self.queue.hand_over();
    }
}

/// A thread that waits for its write.
pub(crate) struct Waiter<'q, C: 'static, T> {
    queue: &'q Queue<C>,
    id: WriteId,
    deadline: Deadline,
    slot: Arc<Mutex<Option<WriteResult<T>>>>,
    state: Arc<WaiterState<C>>,
    group: Arc<WakeGroup>,
}

/// Why a thread stops waiting.
pub(crate) enum WaitResult<'q, C: 'static> {
    /// The caller leads.
    Lead(LeaderGuard<'q, C>),
    /// The write has a result.
    Done,
    /// The caller runs its job alone.
    Alone(QueuedJob<C>),
    /// The deadline has passed, and the job is out of the queue.
    GaveUp(Waiting<C>),
}

impl<'q, C, T> Waiter<'q, C, T> {
    /// Sleeps until there is something to do. Waits for a write that has begun whatever the deadline:
    /// `Busy` would tell the caller that nothing is stored.
    pub(crate) fn wait(&self) -> WaitResult<'q, C> {
        let mut has_begun = false;
        loop {
            match self.state.take() {
                Status::Done => return WaitResult::Done,
                Status::ToLead => return WaitResult::Lead(LeaderGuard { queue: self.queue }),
                Status::Alone(job) => return WaitResult::Alone(job),
                Status::Waiting if has_begun => self.group.sleep(&self.state, None),
                Status::Waiting if self.deadline.remaining().is_zero() => {
                    if let Some(waiting) = self.queue.give_up(self.id) {
                        return WaitResult::GaveUp(waiting);
                    }
                    has_begun = true;
                }
                Status::Waiting => {
                    let until = self.deadline.instant();
                    self.group.sleep(&self.state, Some(until));
                }
            }
        }
    }

    /// Returns the result of the write.
    pub(crate) fn result(self) -> Option<WriteResult<T>> {
        self.slot.lock().take()
    }
}

impl<C, T> Drop for Waiter<'_, C, T> {
    /// A caller that panics while it leads may have its own job still in the queue.
    fn drop(&mut self) {
        if !self.state.is_done() {
            self.queue.withdraw(self.id);
        }
    }
}
