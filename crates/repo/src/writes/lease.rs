use std::borrow::Cow;

use turnkeep_model::{Claim, TaskId, UtcMicros, WorkerId};

use super::{Write, now};
use crate::api::lease::Lease;
use crate::base::error::Result;
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::{Conn, query};

/// Gives tasks to a worker, on lease.
pub(crate) struct ClaimReady<'a> {
    pub(crate) worker: Cow<'a, WorkerId>,
    pub(crate) most: u32,
    pub(crate) lease: Lease,
}

/// A call takes no more than this at once, however many it asks for: each is a bound value.
const MOST_CLAIMS: u32 = 1_000;

impl Write for ClaimReady<'_> {
    type Output = Vec<Claim>;
    type Owned = ClaimReady<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_store("claim_ready")
    }

    fn check(&self) -> Result<()> {
        self.lease.length(self.call()).map(drop)
    }

    fn run(&self, conn: Conn<'_>, clock: &Clock) -> Result<Vec<Claim>, QueryError> {
        let call = self.call();
        let most = i64::from(self.most.min(MOST_CLAIMS));
        let now = now(clock, call.operation)?;
        query!(
            conn,
            lease::claim_ready(call, &self.worker, most, self.lease, now)
        )
    }

    fn into_owned(self) -> ClaimReady<'static> {
        ClaimReady {
            worker: Cow::Owned(self.worker.into_owned()),
            most: self.most,
            lease: self.lease,
        }
    }
}

/// Has a lease end later; returns when.
pub(crate) struct RenewLease<'a> {
    pub(crate) task_id: Cow<'a, TaskId>,
    pub(crate) fence: i64,
    pub(crate) lease: Lease,
}

impl Write for RenewLease<'_> {
    type Output = UtcMicros;
    type Owned = RenewLease<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_task("renew_lease", &self.task_id)
    }

    fn check(&self) -> Result<()> {
        self.lease.length(self.call()).map(drop)
    }

    fn may_fail_halfway(&self) -> bool {
        false
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<UtcMicros, QueryError> {
        let call = self.call();
        query!(
            conn,
            lease::renew(call, &self.task_id, self.fence, self.lease)
        )
    }

    fn into_owned(self) -> RenewLease<'static> {
        RenewLease {
            task_id: Cow::Owned(self.task_id.into_owned()),
            fence: self.fence,
            lease: self.lease,
        }
    }
}

/// A write of a worker, refused when the task was given out or taken back since it was claimed. Not
/// for appends, which have a fence of their own, so that several can still be done at once.
pub(crate) struct Fenced<'a, W> {
    pub(crate) task_id: Cow<'a, TaskId>,
    pub(crate) fence: i64,
    pub(crate) write: W,
}

impl<W: Write> Write for Fenced<'_, W> {
    type Output = W::Output;
    type Owned = Fenced<'static, W::Owned>;

    fn call(&self) -> Call<'_> {
        self.write.call()
    }

    fn check(&self) -> Result<()> {
        self.write.check()
    }

    /// The look at the fence changes nothing.
    fn may_fail_halfway(&self) -> bool {
        self.write.may_fail_halfway()
    }

    fn bytes(&self) -> usize {
        self.write.bytes()
    }

    fn run(&self, mut conn: Conn<'_>, clock: &Clock) -> Result<W::Output, QueryError> {
        let call = self.call();
        query!(
            conn.reborrow(),
            lease::check_fence(call, &self.task_id, self.fence)
        )?;
        self.write.run(conn, clock)
    }

    fn into_owned(self) -> Fenced<'static, W::Owned> {
        Fenced {
            task_id: Cow::Owned(self.task_id.into_owned()),
            fence: self.fence,
            write: self.write.into_owned(),
        }
    }
}
