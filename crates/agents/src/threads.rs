//! Actor and critics side by side on two cores.
//!
//! A minibatch takes less time than waking a thread, so the second one stays awake while an update
//! lasts. Where the cores have other work that would only be in the way of it: then one thread does
//! everything. The results are the same: each piece of work is done by one thread in one order, and no
//! piece reads what another one writes.

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A thread that offers its core to others and gets it back later than this has a busy machine.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long one thread works alone then.
const PAUSE: Duration = Duration::from_millis(100);

/// The two threads of a learner.
#[derive(Debug, Default)]
pub struct Threads {
    /// Started with the first update; `None` where the system or `RAYON_NUM_THREADS` allows one only.
    pool: OnceLock<Option<ThreadPool>>,
    /// Whether the second thread is awake and waiting for work.
    is_helped: AtomicBool,
    /// Since when the machine is known to be busy.
    busy_since: Mutex<Option<Instant>>,
}

impl Threads {
    /// Runs an update in which [`Threads::join`] finds the second thread awake, if there is one to
    /// spare. On a GPU work is only queued, which one thread does best.
    pub fn keep_awake<T: Send>(&self, device: &Device, update: impl FnOnce() -> T + Send) -> T {
        let busy = *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        if is_gpu(device) || busy.is_some_and(|since| since.elapsed() < PAUSE) {
            return update();
        }
        let pool = self.pool.get_or_init(|| {
            let several = rayon::current_num_threads() > 1;
            several.then(|| ThreadPoolBuilder::new().num_threads(2).build().ok()).flatten()
        });
        let Some(pool) = pool else {
            return update();
        };
        /// Says that the update is over, also when it panics.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let over = AtomicBool::new(false);
        let work = || {
            let _over = Over(&over);
            update()
        };
        pool.install(|| rayon::join(work, || self.help(&over)).0)
    }

    /// Takes over what [`Threads::join`] offers until the update is over or the machine is busy.
    fn help(&self, over: &AtomicBool) {
        self.is_helped.store(true, Ordering::Release);
        while !over.load(Ordering::Acquire) {
            if rayon::yield_now() == Some(Yield::Executed) {
                continue;
            }
            let offered = Instant::now();
            std::thread::yield_now();
            if offered.elapsed() > PATIENCE {
                *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Instant::now());
                break;
            }
        }
        self.is_helped.store(false, Ordering::Release);
    }

    /// Runs two independent pieces of work, on two threads where a second one waits for it, otherwise
    /// one after the other.
    pub fn join<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> A + Send,
        second: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self.is_helped.load(Ordering::Acquire) && rayon::current_thread_index().is_some() {
            rayon::join(first, second)
        } else {
            (first(), second())
        }
    }
}

fn is_gpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}
