//! Actor and critic side by side on two cores.
//!
//! A minibatch takes less time than waking a thread, so the second one stays awake while an update
//! lasts. Where the cores have other work that would only be in the way of it: then one thread does
//! everything. The results are the same.

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A thread that offers its core to others and gets it back later than this has a busy machine.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long one thread works alone then.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the second thread is awake and waiting for work.
static HELPED: AtomicBool = AtomicBool::new(false);
/// Since when the machine is known to be busy.
static BUSY: Mutex<Option<Instant>> = Mutex::new(None);

/// The two threads; `None` where the system or `RAYON_NUM_THREADS` allows one only.
static POOL: LazyLock<Option<Mutex<ThreadPool>>> = LazyLock::new(|| {
    let several = rayon::current_num_threads() > 1;
    let pool = several.then(|| ThreadPoolBuilder::new().num_threads(2).build().ok());
    pool.flatten().map(Mutex::new)
});

/// Runs an update in which [`side_by_side`] finds the second thread awake, if there is one to spare.
pub(crate) fn with_help<T: Send>(device: &Device, update: impl FnOnce() -> T + Send) -> T {
    let busy = *BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    if is_gpu(device) || busy.is_some_and(|since| since.elapsed() < PAUSE) {
        return update();
    }
    // Another agent of this process may have the threads. An update that panicked left nothing in
    // them.
    let pool = match POOL.as_ref().map(Mutex::try_lock) {
        Some(Ok(pool)) => pool,
        Some(Err(std::sync::TryLockError::Poisoned(pool))) => pool.into_inner(),
        _ => return update(),
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
    pool.install(|| rayon::join(work, || help(&over)).0)
}

/// Takes over what [`side_by_side`] offers until the update is over or the machine is busy.
fn help(over: &AtomicBool) {
    HELPED.store(true, Ordering::Release);
    while !over.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(Yield::Executed) {
            continue;
        }
        let offered = Instant::now();
        std::thread::yield_now();
        if offered.elapsed() > PATIENCE {
            *BUSY.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            break;
        }
    }
    HELPED.store(false, Ordering::Release);
}

/// Runs two independent pieces of work, on two threads where a second one waits for it.
pub(crate) fn side_by_side<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if HELPED.load(Ordering::Acquire) && rayon::current_thread_index().is_some() {
        rayon::join(first, second)
    } else {
        (first(), second())
    }
}

/// On a GPU work is only queued, which one thread does best.
fn is_gpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}
