//! A process that kills itself at a chosen call.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::interpose::{self, Call, Fate, Plan};

struct Dying {
    at: u64,
    seen: Arc<AtomicU64>,
}

impl Plan for Dying {
    fn before(&mut self, _: Call<'_>) -> Fate {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            interpose::die();
        }
        Fate::Goes
    }

    fn after(&mut self, _: c_int, _: Call<'_>) {}
}

/// Kills this process at the `at`-th call on the files of `folder`, counted from 1. Returns the
/// counter of calls.
pub(crate) fn die_at(at: u64, folder: &Path) -> Arc<AtomicU64> {
    let seen = Arc::default();
    let dying = Dying {
        at,
        seen: Arc::clone(&seen),
    };
    interpose::arm(folder, Box::new(dying));
    seen
}
