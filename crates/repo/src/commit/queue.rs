//! Where writes wait while a caller writes.
//!
//! Whoever comes while nobody writes does so itself, at once. Everyone else leaves its write here,
//! owned, and sleeps. When the one who writes is done, it gives the lead to the thread that waits
//! longest, which writes all that is here in one transaction, with one sync, and wakes the others.
//! They sleep in rounds, as a rule one a transaction, and one call wakes all of a round.
//! There is no thread but those of the callers; for futures, which can't lead, one of their
//! runtime's is called.
//!
//! Locks are taken in this order: the queue's, that of a [`Round`], that of a [`Signal`].

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::operation::Deadline;
use crate::commit::job::{Job, Outcome, Queued};
use crate::commit::wakeup::{Round, Signal, Status};
use crate::writes::Write;

/// Most writes that share a transaction, and most bytes of text in it, so that one caller's huge
/// message does not keep the others waiting and the log stays small. The first write of a
/// transaction may be as large as it is.
const MOST_WRITES: usize = 256;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How long a leader waits for those to come again who were here a moment ago, so that all of them
/// share a transaction. Only if several were: a lone caller never waits.
const LINGER: Duration = Duration::from_micros(200);

/// For how long a shared transaction promises company.
const CROWD_MEMORY: Duration = Duration::from_millis(1);

/// The writes that wait, in order of arrival, and whether someone leads.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Tells the leader that those it waits for are here.
    company: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether a caller writes, or was told to. Nobody else may.
    is_led: bool,
    waiting: VecDeque<Waiting>,
    last_ticket: u64,
    /// Where those sleep who come before the next transaction begins.
    next_round: Arc<Round>,
    /// When callers last shared a transaction, and how many there were then in all.
    crowd: Option<(Instant, usize)>,
    /// How many writes the leader waits for, if it does.
    wanted: Option<usize>,
    /// Whether a thread that leads for futures was called, and has not left.
    #[cfg(feature = "tokio")]
    is_leader_called: bool,
    /// Whether someone is just calling one, and looks afterwards whether it comes.
    #[cfg(feature = "tokio")]
    is_calling: bool,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// A write in the queue.
pub(crate) struct Waiting {
    ticket: Ticket,
    deadline: Deadline,
    pub(crate) job: Box<dyn Job>,
    /// After the job, which tells it something when it is dropped: this wakes it.
    caller: Caller,
}

/// A write that is done, and how it ended. To be told with [`Waiting::end`].
pub(crate) type Ended = (Waiting, Outcome<()>);

impl Waiting {
    /// Tells the caller how its write ended: `Ok` hands it the result of the last run. It is woken
    /// when what this returns is dropped.
    pub(crate) fn end(self, outcome: Outcome<()>) -> Caller {
        let Self { job, caller, .. } = self;
        // A future's waker is the host's, and no reason for the others not to be told.
        let _ = catch_unwind(AssertUnwindSafe(|| job.end(outcome)));
        caller
    }

    /// Returns until when the caller waits.
    #[cfg(feature = "postgres")]
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }
}

/// Who waits for a write.
pub(crate) enum Caller {
    /// A thread that sleeps, and can be told to write.
    Thread(Sleeper),
    /// A future, which can't write. Calling this has a thread come that does.
    #[cfg(feature = "tokio")]
    Future(CallThread),
}

/// A thread that sleeps. It is woken when this is dropped, by a panic too.
pub(crate) struct Sleeper {
    signal: Arc<Signal>,
    round: Arc<Round>,
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.round.wake();
    }
}

/// What a thread that is called for futures is to do.
#[cfg(feature = "tokio")]
pub(crate) enum Errand {
    /// To lead, for the sake of the write with this ticket.
    Lead(Ticket),
    /// To do this one write by itself.
    Alone(Box<dyn Job>, Deadline),
}

/// Has a thread come and do something.
#[cfg(feature = "tokio")]
pub(crate) type CallThread = Arc<dyn Fn(Errand) + Send + Sync>;

impl Caller {
    fn thread(&self) -> Option<&Sleeper> {
        match self {
            Self::Thread(sleeper) => Some(sleeper),
            #[cfg(feature = "tokio")]
            Self::Future(_) => None,
        }
    }

    fn is_to_lead(&self) -> bool {
        self.thread()
            .is_some_and(|sleeper| sleeper.signal.is_to_lead())
    }
}

/// How a caller gets its write done.
pub(crate) enum Entry<'q, W: Write> {
    /// By doing it now: nobody writes, nobody waits.
    Alone(Lead<'q>, W),
    /// By leading: doing all that waits, its own write included.
    Lead(Lead<'q>, Place<'q, W::Output>),
    /// By waiting for a leader, or to become it.
    Wait(Place<'q, W::Output>),
}

impl Queue {
    /// Lets a caller write at once, or takes its write.
    pub(crate) fn enter<W: Write>(&self, write: W, deadline: Deadline) -> Entry<'_, W> {
        let mut state = self.state.lock();
        if !state.is_led && state.waiting.is_empty() && state.crowd_size().is_none() {
            return Entry::Alone(self.lead(state), write);
        }
        // What is copied now need not hold up the others.
        drop(state);
        let signal = Arc::new(Signal::default());
        let slot = Arc::new(Slot::default());
        let reply = {
            let (signal, slot) = (Arc::clone(&signal), Arc::clone(&slot));
            move |outcome| {
                *slot.lock() = Some(outcome);
                signal.set(Status::Done);
            }
        };
        let job = Queued::boxed(write.into_owned(), reply);
        let mut state = self.state.lock();
        // With its place, under one lock: in the round of another transaction it would be woken with
        // that, and wake a whole round in vain with its own. The first will be told to lead, and is
        // woken for that alone.
        let round = match state.waiting.is_empty() {
            true => Arc::default(),
            false => Arc::clone(&state.next_round),
        };
        let caller = Caller::Thread(Sleeper {
            signal: Arc::clone(&signal),
            round: Arc::clone(&round),
        });
        let ticket = self.push(&mut state, deadline, job, caller);
        let place = Place {
            queue: self,
            ticket,
            deadline,
            slot,
            signal,
            round,
        };
        if state.is_led {
            Entry::Wait(place)
        } else {
            Entry::Lead(self.lead(state), place)
        }
    }

    /// Returns whether nobody leads and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.is_led && state.waiting.is_empty()
    }

    /// Returns how many writes wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Takes the write of a caller that can wait no longer out, unless it is being done already
    /// or the caller is to lead.
    pub(crate) fn give_up(&self, ticket: Ticket) -> Option<Waiting> {
        let mut state = self.state.lock();
        let position = state.position(ticket)?;
        if state.waiting[position].caller.is_to_lead() {
            return None;
        }
        state.take_own(position)
    }

    /// Takes the write of a caller out that will not be there, and the lead from it.
    fn withdraw(&self, ticket: Ticket) {
        let mut state = self.state.lock();
        let withdrawn = state
            .position(ticket)
            .and_then(|position| state.take_own(position));
        drop(state);
        if withdrawn.is_some_and(|waiting| waiting.caller.is_to_lead()) {
            self.hand_over();
        }
    }

    /// Has the caller of a write do it by itself, on a connection of its own. It is woken when what
    /// this returns is dropped.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite has one writer")
    )]
    pub(crate) fn hand_back(waiting: Waiting) -> Caller {
        match &waiting.caller {
            // It knows its deadline.
            Caller::Thread(sleeper) => sleeper.signal.set(Status::Alone(waiting.job)),
            #[cfg(feature = "tokio")]
            Caller::Future(call) => call(Errand::Alone(waiting.job, waiting.deadline)),
        }
        waiting.caller
    }

    fn push(
        &self,
        state: &mut State,
        deadline: Deadline,
        job: Box<dyn Job>,
        caller: Caller,
    ) -> Ticket {
        state.last_ticket += 1;
        let ticket = Ticket(state.last_ticket);
        state.waiting.push_back(Waiting {
            ticket,
            deadline,
            job,
            caller,
        });
        if state.wanted == Some(state.waiting.len()) {
            self.company.notify_one();
        }
        ticket
    }

    fn lead(&self, mut state: MutexGuard<'_, State>) -> Lead<'_> {
        state.is_led = true;
        Lead { queue: self }
    }

    fn hand_over(&self) {
        let mut state = self.state.lock();
        // They come again from now on, however long the sync took, and with them those who came
        // meanwhile.
        let came = state.waiting.len();
        if let Some((since, size)) = &mut state.crowd {
            *since = Instant::now();
            *size += came;
        }
        // A thread that sleeps here is sooner ready than one that has to be found.
        let next = state.waiting.iter().find_map(|w| w.caller.thread());
        if let Some(next) = next {
            // With the lock held, so that a caller which gives up at this moment is told.
            next.signal.set(Status::ToLead);
            next.round.wake();
            return;
        }
        state.is_led = false;
        #[cfg(feature = "tokio")]
        Self::call_leader(&mut state);
    }
}

/// For callers that are futures.
#[cfg(feature = "tokio")]
impl Queue {
    /// Takes a write whose caller can't write itself, not even lead. `call_thread` is to have some
    /// thread take the lead for as long as [`lead_next`](Self::lead_next) gives it one, and may
    /// fail to; `reply` gets the outcome.
    pub(crate) fn submit<W: Write + 'static>(
        &self,
        write: W,
        deadline: Deadline,
        reply: impl FnOnce(Outcome<W::Output>) + Send + 'static,
        call_thread: CallThread,
    ) -> Ticket {
        let job = Queued::boxed(write, reply);
        let mut state = self.state.lock();
        let ticket = self.push(&mut state, deadline, job, Caller::Future(call_thread));
        Self::call_leader(&mut state);
        ticket
    }

    /// Gives the lead to a thread that was called, if something waits and nobody leads. Otherwise
    /// the thread is to leave.
    pub(crate) fn lead_next(&self) -> Option<Lead<'_>> {
        let mut state = self.state.lock();
        if state.is_led || state.waiting.is_empty() {
            state.is_leader_called = false;
            return None;
        }
        Some(self.lead(state))
    }

    /// Has another thread called after one that was called has come to grief, or never came. Then
    /// it can't come for the one it was `called_for` either, which is taken out and returned.
    pub(crate) fn leader_failed(&self, called_for: Option<Ticket>) -> Option<Waiting> {
        let mut state = self.state.lock();
        state.is_leader_called = false;
        if state.is_led {
            return None;
        }
        let position = called_for.and_then(|ticket| state.position(ticket));
        let given_up = position.and_then(|position| state.waiting.remove(position));
        Self::call_leader(&mut state);
        given_up
    }

    /// Calls a thread if one is needed, until one is said to come: of a runtime that has ended,
    /// none does.
    fn call_leader(state: &mut MutexGuard<'_, State>) {
        while !state.is_led && !state.is_leader_called && !state.is_calling {
            let Some(first) = state.waiting.front() else {
                return;
            };
            let Caller::Future(call) = &first.caller else {
                return;
            };
            let (call, ticket) = (Arc::clone(call), first.ticket);
            state.is_leader_called = true;
            state.is_calling = true;
            MutexGuard::unlocked(state, || call(Errand::Lead(ticket)));
            state.is_calling = false;
        }
    }
}

impl State {
    fn position(&self, ticket: Ticket) -> Option<usize> {
        // They are in order, whatever was taken out or put back.
        let found = self.waiting.binary_search_by_key(&ticket, |w| w.ticket);
        found.ok()
    }

    /// Takes out the write of the caller that asks for it, which is awake: nobody is woken for it.
    fn take_own(&mut self, position: usize) -> Option<Waiting> {
        let mut waiting = self.waiting.remove(position)?;
        match &mut waiting.caller {
            Caller::Thread(sleeper) => sleeper.round = Arc::default(),
            #[cfg(feature = "tokio")]
            Caller::Future(_) => {}
        }
        Some(waiting)
    }

    /// Returns how many callers are likely to come.
    fn crowd_size(&mut self) -> Option<usize> {
        let (since, size) = self.crowd?;
        if since.elapsed() > CROWD_MEMORY {
            self.crowd = None;
            return None;
        }
        Some(size)
    }
}

/// The right to write. It goes to the next one when it is dropped, by a panic too.
pub(crate) struct Lead<'q> {
    queue: &'q Queue,
}

impl Lead<'_> {
    /// Waits until as many are here as were a moment ago, or for a moment.
    pub(crate) fn linger(&self) {
        let mut state = self.queue.state.lock();
        let Some(crowd) = state.crowd_size() else {
            return;
        };
        let until = Instant::now() + LINGER;
        state.wanted = Some(crowd);
        while state.waiting.len() < crowd {
            if self.queue.company.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.wanted = None;
    }

    /// Returns until when the one who waits longest does.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let state = self.queue.state.lock();
        state.waiting.front().map(|waiting| waiting.deadline)
    }

    /// Takes what waits, as much as fits in a transaction.
    pub(crate) fn take_batch(&self) -> Vec<Waiting> {
        let mut state = self.queue.state.lock();
        let mut bytes = 0;
        let mut writes = 0;
        for waiting in state.waiting.iter().take(MOST_WRITES) {
            bytes += waiting.job.bytes();
            if writes > 0 && bytes > MOST_BYTES {
                break;
            }
            writes += 1;
        }
        state.crowd = (writes > 1).then(|| (Instant::now(), writes));
        state.next_round = Arc::default();
        state.waiting.drain(..writes).collect()
    }

    /// Puts back, in front, what was taken and could not be done.
    pub(crate) fn put_back(&self, batch: Vec<Waiting>) {
        let mut state = self.queue.state.lock();
        for waiting in batch.into_iter().rev() {
            state.waiting.push_front(waiting);
        }
    }

    /// Takes out those who can wait no longer, and at any rate the one who waits longest, unless
    /// `only_late`. For when the transaction can't begin.
    pub(crate) fn take_late(&self, only_late: bool) -> Vec<Waiting> {
        let waiting = &mut self.queue.state.lock().waiting;
        let is_late = |waiting: &&Waiting| waiting.deadline.remaining().is_zero();
        let late = waiting.iter().take_while(is_late).count();
        let count = late.max(usize::from(!only_late)).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.queue.hand_over();
    }
}

/// Where the outcome of a write is put.
type Slot<T> = Mutex<Option<Outcome<T>>>;

/// A caller's place in the queue.
pub(crate) struct Place<'q, T> {
    queue: &'q Queue,
    ticket: Ticket,
    deadline: Deadline,
    slot: Arc<Slot<T>>,
    signal: Arc<Signal>,
    round: Arc<Round>,
}

/// What becomes of a place.
pub(crate) enum Arrival<'q> {
    /// The caller is to lead.
    Lead(Lead<'q>),
    /// The write is done, one way or the other.
    Done,
    /// The caller is to do its write by itself, and to tell how it ended.
    Alone(Box<dyn Job>),
    /// The deadline has passed, and the write is out of the queue.
    GaveUp(Waiting),
}

impl<'q, T> Place<'q, T> {
    /// Sleeps until something happens. A write that has been begun is waited for whatever the
    /// deadline: its caller must not take what will be stored for what was not.
    pub(crate) fn wait(&self) -> Arrival<'q> {
        let mut has_begun = false;
        loop {
            match self.signal.take() {
                Status::Done => return Arrival::Done,
                Status::ToLead => return Arrival::Lead(Lead { queue: self.queue }),
                Status::Alone(job) => return Arrival::Alone(job),
                Status::Waiting if has_begun => self.round.sleep(&self.signal, None),
                Status::Waiting if self.deadline.remaining().is_zero() => {
                    if let Some(waiting) = self.queue.give_up(self.ticket) {
                        return Arrival::GaveUp(waiting);
                    }
                    has_begun = true;
                }
                Status::Waiting => {
                    let until = self.deadline.instant();
                    self.round.sleep(&self.signal, Some(until));
                }
            }
        }
    }

    /// Returns what has come of a write that is done.
    pub(crate) fn outcome(self) -> Option<Outcome<T>> {
        self.slot.lock().take()
    }
}

impl<T> Drop for Place<'_, T> {
    /// A caller that panics while it leads may have its own write still in the queue.
    fn drop(&mut self) {
        if !self.signal.is_done() {
            self.queue.withdraw(self.ticket);
        }
    }
}
