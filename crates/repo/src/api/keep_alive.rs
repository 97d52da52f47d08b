use tokio::time::{Instant, sleep};

use crate::api::claim::AsyncClaim;
use crate::base::error::Error;
#[cfg(doc)]
use crate::base::error::ErrorKind;

impl AsyncClaim {
    /// Returns a future that renews the lease at once, and then whenever a third of its length has
    /// passed. The length is the one that the task was claimed with. The future completes only when it
    /// can't renew the lease any more, with the error of the last renewal. Dropping it ends the renewals
    /// and leaves the lease as it is.
    ///
    /// After a transient error it tries again until the lease has ended, by the clock of this process.
    /// It owns its part of the claim, so it can be spawned. When the final status has been written it
    /// completes with [`ErrorKind::LeaseLost`], as after a later claim.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], [`ErrorKind::TaskNotFound`], and the errors of
    /// [`Repo::claim`](crate::Repo::claim).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use turnkeep_repo::{AsyncRepo, NewTask, StatusUpdate, TaskId, WorkerId};
    /// # async fn run_the_agent(prompt: &str) -> String { prompt.to_owned() }
    /// # #[tokio::main]
    /// # async fn main() -> turnkeep_repo::Result<()> {
    /// # let repo = AsyncRepo::open_in_memory().await?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
    /// # let worker = WorkerId::new("host-1/4711")?;
    /// if let Some(claim) = repo.claim(&task, &worker, Duration::from_secs(30)).await? {
    ///     tokio::select! {
    ///         result = run_the_agent(&claim.task.prompt) => {
    ///             claim.update_task_status(StatusUpdate::completed(result)).await?;
    ///         }
    ///         lost = claim.keep_alive() => return Err(lost),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_alive(&self) -> impl Future<Output = Error> + Send + use<> {
        let claim = self.clone();
        async move {
            let lease = claim.lease;
            let mut held_since = Instant::now();
            loop {
                let start = Instant::now();
                let pause = match claim.renew(lease).await {
                    Ok(_) => {
                        held_since = start;
                        lease / 3
                    }
                    Err(error) if is_transient(&error) && held_since.elapsed() < lease => {
                        lease / 10
                    }
                    Err(error) => return error,
                };
                sleep(pause).await;
            }
        }
    }
}

/// Whether a repeated renewal may succeed.
fn is_transient(error: &Error) -> bool {
    error.is_retryable() || error.may_be_stored()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use turnkeep_model::{NewTask, TaskStatus, WorkerId};

    use crate::{AsyncRepo, ErrorKind};

    #[tokio::test]
    async fn keep_alive_renews_until_it_is_dropped_or_the_lease_is_lost() -> anyhow::Result<()> {
        let repo = AsyncRepo::open_in_memory().await?;
        let (first, second) = (WorkerId::new("first")?, WorkerId::new("second")?);
        repo.save_task(&NewTask::new("t".parse()?, "T")).await?;
        let lease = Duration::from_millis(500);
        let claim = repo.claim_ready(&first, 1, lease).await?.remove(0);

        let renewed_three_times = async {
            let (mut ends_at, mut renewals) = (claim.lease_ends_at, 0);
            while renewals < 3 {
                let now = claim.get_task().await?.lease_ends_at;
                renewals += u32::from(now != Some(ends_at));
                ends_at = now.unwrap_or(ends_at);
                tokio::task::yield_now().await;
            }
            Ok::<(), crate::Error>(())
        };
        tokio::select! {
            renewed = renewed_three_times => renewed?,
            lost = claim.keep_alive() => anyhow::bail!("{lost}"),
        }

        // No one renews the lease any more.
        let next = loop {
            if let Some(next) = repo.claim_ready(&second, 1, lease).await?.pop() {
                break next;
            }
        };
        let error = claim.keep_alive().await;
        assert!(
            matches!(error.kind(), ErrorKind::LeaseLost { .. }),
            "{error:?}"
        );

        // Spawned, it outlives the claim, and ends with the status.
        let kept = tokio::spawn(next.keep_alive());
        next.update_task_status(TaskStatus::Completed).await?;
        drop(next);
        let error = kept.await?;
        assert!(
            matches!(error.kind(), ErrorKind::LeaseLost { .. }),
            "{error:?}"
        );
        Ok(())
    }
}
