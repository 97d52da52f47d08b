use std::time::Duration;

use turnkeep_model::{Fence, Task, TaskId, WorkerId};

#[cfg(feature = "tokio")]
use crate::api::async_repo::{block, write};
#[cfg(feature = "tokio")]
use crate::api::claim::AsyncClaim;
use crate::api::claim::Claim;
use crate::api::repo::Repo;
use crate::base::claim_filter::ClaimFilter;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::store::{on_engine, write_op};

/// Tasks that several workers, on any number of machines, take from one store.
///
/// A worker claims tasks for a limited time, the lease ([`claim_ready`](Self::claim_ready), or
/// [`claim`](Self::claim) for a chosen one), renews
/// each lease well before it ends ([`Claim::renew`], [`AsyncClaim::keep_alive`](crate::AsyncClaim::keep_alive)), writes
/// through the [`Claim`], and ends the lease with the final status of the task. The
/// tasks of a dead worker become claimable when their leases end. Leases are measured by the clock
/// of the database host, never by a worker's clock.
///
/// A slow worker may still run when another worker has claimed its task. Each claim of a task
/// therefore carries a fence, a number above all earlier ones, and a write with an older fence
/// fails with [`ErrorKind::LeaseLost`]. Writes without a fence are for the orchestrator and always
/// pass. The fence of a task that was deleted and saved again starts at 0.
///
/// ```
/// use std::time::Duration;
/// use turnkeep_repo::{ErrorKind, NewTask, Repo, Role, TaskId, TaskStatus, WorkerId};
///
/// let repo = Repo::open_in_memory()?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
///
/// let slow = WorkerId::new("host-1/4711")?;
/// let first = repo.claim_ready(&slow, 1, Duration::from_micros(1))?.remove(0);
/// // It does nothing for longer than its lease, and the task goes to another one.
/// let quick = WorkerId::new("host-2/815")?;
/// let second = loop {
///     if let Some(claim) = repo.claim_ready(&quick, 1, Duration::from_secs(30))?.pop() {
///         break claim;
///     }
/// };
/// let refused = first.save_message(Role::Assistant, "Done.");
/// assert!(matches!(refused.unwrap_err().kind(), ErrorKind::LeaseLost { .. }));
///
/// second.renew(Duration::from_secs(30))?;
/// second.save_message(Role::Assistant, "Done.")?;
/// second.update_task_status(TaskStatus::Completed)?;
/// # Ok::<(), turnkeep_repo::Error>(())
/// ```
impl Repo {
    /// Claims up to `limit` tasks for the worker and sets them running. Claims tasks with an
    /// expired lease first, then eligible and then pending ones that are ready (see
    /// [`ready_tasks`](Self::ready_tasks)), the oldest of each first. A lease that ends further in the
    /// future than its own length counts as expired: the clock was wrong when it began. Returns the
    /// claims in order of `created_at`, then id.
    ///
    /// Two tasks that write the same file are never given out together: the younger one waits until
    /// the older one has ended or its lease is over. File names are compared byte for byte.
    ///
    /// Returns fewer when there are no more tasks or when other callers are about to claim or
    /// change the rest, and at most 1,000. Skips tasks with a damaged row and tasks with a fence of
    /// [`Fence::MAX`](crate::Fence::MAX); `turnkeep_admin::check` lists both. Never waits for
    /// the row lock of a task. One worker may hold any number of tasks, and several workers may
    /// share a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    /// hours. After [`ErrorKind::OutcomeUnknown`] the claims may be stored: these tasks can be
    /// claimed again when the lease ends.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let worker = WorkerId::new("host-1/4711")?;
    /// let claims = repo.claim_ready(&worker, 4, Duration::from_secs(30))?;
    /// assert_eq!(claims.len(), 1, "there is only one task");
    /// assert_eq!(claims[0].task.status, TaskStatus::Running);
    /// assert!(repo.claim_ready(&worker, 4, Duration::from_secs(30))?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim_ready(
        &self,
        worker: &WorkerId,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>> {
        let (operation, worker, filter) = ("claim_ready", worker.clone(), ClaimFilter::new());
        let tasks = write_op!(self.store =>
            ops::lease::ClaimReady { operation, worker, filter, limit, lease })?;
        Ok(claims(self, tasks))
    }

    /// Claims up to `limit` tasks that the filter selects, as [`claim_ready`](Self::claim_ready) does with all.
    ///
    /// The filter selects before the limit counts, so tasks that others take don't hide the ones of this worker. A
    /// filter that selects few of many ready tasks makes the call read all of them.
    ///
    /// # Errors
    /// The errors of [`claim_ready`](Self::claim_ready).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{ClaimFilter, Metadata, NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// for (id, role, pool) in [("docs", "writer", "cpu"), ("train", "coder", "gpu")] {
    ///     let metadata = Metadata::new(format!("{{\"pool\":\"{pool}\"}}"))?;
    ///     repo.save_task(&NewTask::new(TaskId::new(id)?, id).agent_role(role).metadata(metadata))?;
    /// }
    /// let worker = WorkerId::new("gpu-host/1")?;
    /// let filter = ClaimFilter::new().agent_role("coder").metadata("pool", "gpu");
    /// let claims = repo.claim_matching(&worker, &filter, 4, Duration::from_secs(30))?;
    /// assert_eq!(claims.len(), 1);
    /// assert_eq!(claims[0].task.id.as_str(), "train");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim_matching(
        &self,
        worker: &WorkerId,
        filter: &ClaimFilter,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>> {
        let (operation, worker, filter) = ("claim_matching", worker.clone(), filter.clone());
        let tasks = write_op!(self.store =>
            ops::lease::ClaimReady { operation, worker, filter, limit, lease })?;
        Ok(claims(self, tasks))
    }

    /// Claims one task for the worker, sets it running and returns the claim. Returns `None` when the
    /// task can't be claimed now: it has ended, is running with a lease that is not over or without
    /// one, waits for a dependency, or for a file that another running task holds (see
    /// [`ready_tasks`](Self::ready_tasks)). Of concurrent callers exactly one gets a claim.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`] when the task does not exist.
    /// - [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    ///   hours.
    /// - [`ErrorKind::Corrupt`] when the task can't be read or its fence has reached
    ///   [`Fence::MAX`](crate::Fence::MAX).
    ///
    /// After [`ErrorKind::OutcomeUnknown`] the claim may be stored: see [`reclaim`](Self::reclaim).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim(&task, &worker, Duration::from_secs(30))?;
    /// assert_eq!(claim.map(|claim| claim.fence.get()), Some(1));
    /// assert!(repo.claim(&task, &worker, Duration::from_secs(30))?.is_none(), "it is taken");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim(
        &self,
        task_id: &TaskId,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>> {
        let (id, worker) = (task_id.clone(), worker.clone());
        let task = write_op!(self.store => ops::lease::ClaimOne { id, worker, lease })?;
        Ok(task.and_then(|task| Claim::new(self, task)))
    }

    /// Claims the running tasks of the worker anew, after its process was restarted. Each gets a new
    /// fence, so that the writes of the earlier process fail with [`ErrorKind::LeaseLost`], and a new
    /// lease. Returns the claims in order of `created_at`, then id.
    ///
    /// Includes tasks with an expired lease that no other worker has claimed. Leaves out an expired
    /// one while another running task holds a file that it writes, tasks with a damaged row, and tasks
    /// with a fence of [`Fence::MAX`](crate::Fence::MAX). A worker whose name another live process
    /// shares takes the tasks of that process.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the lease is shorter than a microsecond or longer than 24
    /// hours.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
    /// let worker = WorkerId::new("host-1/slot-3")?;
    /// let before = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// // The worker is killed, and starts again under the same name.
    /// let after = repo.reclaim(&worker, Duration::from_secs(30))?.remove(0);
    /// assert_eq!(after.task.id, before.task.id);
    /// assert!(after.fence > before.fence);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn reclaim(&self, worker: &WorkerId, lease: Duration) -> Result<Vec<Claim>> {
        let worker = worker.clone();
        let tasks = write_op!(self.store => ops::lease::Reclaim { worker, lease })?;
        Ok(claims(self, tasks))
    }

    /// Returns the claim of a task with this fence, for instance in a process that was given both by the
    /// worker.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`]: the task does not exist.
    /// - [`ErrorKind::LeaseLost`]: the task was claimed again, or a status change ended the lease.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId, WorkerId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// let claim = repo.claim_ready(&worker, 1, Duration::from_secs(30))?.remove(0);
    /// let same = repo.get_claim(&task, claim.fence)?;
    /// same.save_message(Role::Assistant, "Done.")?;
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_claim(&self, task_id: &TaskId, fence: Fence) -> Result<Claim> {
        let call = Operation::on_task("get_claim", task_id);
        let task = on_engine!(self.store, engine, ops => {
            engine.read_snapshot(call, |conn| Ok(ops::task::find(conn, task_id)?))
        })?;
        let task = task.ok_or_else(|| ErrorKind::TaskNotFound.on(&call))?;
        let actual = task.fence;
        let lost = || ErrorKind::LeaseLost { fence, actual }.on(&call);
        let claim = Claim::new(self, task).filter(|claim| claim.fence == fence);
        claim.ok_or_else(lost)
    }
}

fn claims<R>(repo: &Repo, tasks: Vec<Task>) -> Vec<Claim<R>> {
    let claims = tasks.into_iter().map(|task| Claim::new(repo, task));
    claims.flatten().collect()
}

/// Tasks that several workers take from one store.
///
/// ```
/// # use std::time::Duration;
/// # use turnkeep_repo::{AsyncRepo, NewTask, Role, TaskId, TaskStatus, WorkerId};
/// # #[tokio::main]
/// # async fn main() -> turnkeep_repo::Result<()> {
/// let repo = AsyncRepo::open_in_memory().await?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1")).await?;
/// let worker = WorkerId::new("host-1/4711")?;
/// let lease = Duration::from_secs(30);
/// for claim in repo.claim_ready(&worker, 4, lease).await? {
///     // A claim owns all it needs, so it moves into a task of the runtime.
///     let work = tokio::spawn(async move {
///         claim.save_message(Role::Assistant, "Done.").await?;
///         claim.renew(lease).await?;
///         claim.update_task_status(TaskStatus::Completed).await
///     });
///     work.await.expect("no panic")?;
/// }
/// # assert_eq!(repo.get_tasks().await?[0].status, TaskStatus::Completed);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "tokio")]
impl crate::AsyncRepo {
    /// Claims up to `limit` tasks for the worker and sets them running.
    ///
    /// Like [`Repo::claim_ready`], with the same errors.
    pub async fn claim_ready(
        &self,
        worker: &WorkerId,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<AsyncClaim>> {
        let (operation, worker, filter) = ("claim_ready", worker.clone(), ClaimFilter::new());
        let tasks = on_engine!(self.repo.store, engine, ops => {
            let claim = ops::lease::ClaimReady { operation, worker, filter, limit, lease };
            write(&self.repo, &engine.writer, claim).await
        })?;
        Ok(claims(&self.repo, tasks))
    }

    /// Claims up to `limit` tasks that the filter selects.
    ///
    /// Like [`Repo::claim_matching`], with the same errors.
    pub async fn claim_matching(
        &self,
        worker: &WorkerId,
        filter: &ClaimFilter,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<AsyncClaim>> {
        let (operation, worker, filter) = ("claim_matching", worker.clone(), filter.clone());
        let tasks = on_engine!(self.repo.store, engine, ops => {
            let claim = ops::lease::ClaimReady { operation, worker, filter, limit, lease };
            write(&self.repo, &engine.writer, claim).await
        })?;
        Ok(claims(&self.repo, tasks))
    }

    /// Claims one task for the worker if it can be claimed now, and sets it running.
    ///
    /// Like [`Repo::claim`], with the same errors.
    pub async fn claim(
        &self,
        task_id: &TaskId,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<AsyncClaim>> {
        let (id, worker) = (task_id.clone(), worker.clone());
        let task = on_engine!(self.repo.store, engine, ops => {
            let claim = ops::lease::ClaimOne { id, worker, lease };
            write(&self.repo, &engine.writer, claim).await
        })?;
        Ok(task.and_then(|task| Claim::new(&self.repo, task)))
    }

    /// Claims the running tasks of the worker anew, after its process was restarted.
    ///
    /// Like [`Repo::reclaim`], with the same errors.
    pub async fn reclaim(&self, worker: &WorkerId, lease: Duration) -> Result<Vec<AsyncClaim>> {
        let worker = worker.clone();
        let tasks = on_engine!(self.repo.store, engine, ops => {
            let reclaim = ops::lease::Reclaim { worker, lease };
            write(&self.repo, &engine.writer, reclaim).await
        })?;
        Ok(claims(&self.repo, tasks))
    }

    /// Returns the claim of a task with this fence.
    ///
    /// Like [`Repo::get_claim`], with the same errors.
    pub async fn get_claim(&self, task_id: &TaskId, fence: Fence) -> Result<AsyncClaim> {
        let id = task_id.clone();
        let call = move |repo: &Repo| repo.get_claim(&id, fence).map(Claim::into_async);
        block(&self.repo, "get_claim", call).await
    }
}

/// Claims in a transaction. They are stored when it is committed, so the methods return the tasks. Write to one
/// through [`as_claimed`](Self::as_claimed) with its fence, and after the transaction through [`Repo::get_claim`].
impl crate::Transaction<'_> {
    /// Claims up to `limit` tasks for the worker and sets them running. See [`Repo::claim_ready`].
    pub fn claim_ready(&self, worker: &WorkerId, limit: u32, lease: Duration) -> Result<Vec<Task>> {
        let (operation, worker, filter) = ("claim_ready", worker.clone(), ClaimFilter::new());
        on_engine!(Transaction: self.open(), open, ops => {
            open.write(ops::lease::ClaimReady { operation, worker, filter, limit, lease })
        })
    }

    /// Claims up to `limit` tasks that the filter selects. See [`Repo::claim_matching`].
    pub fn claim_matching(
        &self,
        worker: &WorkerId,
        filter: &ClaimFilter,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Task>> {
        let (operation, worker, filter) = ("claim_matching", worker.clone(), filter.clone());
        on_engine!(Transaction: self.open(), open, ops => {
            open.write(ops::lease::ClaimReady { operation, worker, filter, limit, lease })
        })
    }

    /// Claims one task for the worker if it can be claimed now. See [`Repo::claim`].
    pub fn claim(
        &self,
        task_id: &TaskId,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Task>> {
        let (id, worker) = (task_id.clone(), worker.clone());
        on_engine!(Transaction: self.open(), open, ops => {
            open.write(ops::lease::ClaimOne { id, worker, lease })
        })
    }

    /// Claims the running tasks of the worker anew. See [`Repo::reclaim`].
    pub fn reclaim(&self, worker: &WorkerId, lease: Duration) -> Result<Vec<Task>> {
        let worker = worker.clone();
        on_engine!(Transaction: self.open(), open, ops => {
            open.write(ops::lease::Reclaim { worker, lease })
        })
    }
}
