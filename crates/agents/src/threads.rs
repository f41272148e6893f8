//! The threads of a learner: what they do side by side, and how they stay awake for it.
//!
//! A minibatch takes less time than waking a thread, so the threads stay awake while an iteration lasts, and a little
//! longer, so that the next one finds them awake.
//! Where the cores have other work that would only be in the way of it: then one thread does everything.
//! The results are the same: each piece of work has one order inside, no piece reads what another one
//! writes, and sums of pieces have an order that does not depend on who computed them
//! ([`crate::ops::chunks`]).

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
use scopeguard::defer;
use std::cell::{Cell, OnceCell};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A thread that offers its core to others gets it back later than this where they take it ...
const PATIENCE: Duration = Duration::from_millis(1);
/// ... and when that happened so often ...
const OFTEN: usize = 3;
/// ... within this time, the machine is busy. Once may be the host of a virtual machine.
const WINDOW: Duration = Duration::from_millis(50);
/// How long one thread works alone then.
const PAUSE: Duration = Duration::from_millis(30);
/// How often a thread looks for work before it offers its core to others.
const LOOKS: u32 = 256;
/// A thread that has had no work for so long only looks for some now and then: the work that is being
/// done is not for several threads.
const TIRED: Duration = Duration::from_millis(2);
/// How long it naps in between.
const NAP: Duration = Duration::from_micros(100);
/// How long threads wait for the next work that they are kept awake for: longer than what a trainer does between two
/// iterations takes.
const LINGER: Duration = Duration::from_micros(500);

/// As many threads as the process may use, or as `RAYON_NUM_THREADS` says.
#[must_use]
pub fn available() -> NonZeroUsize {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|count| count.parse().ok());
    wanted.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// The threads of a learner, the one that it is used from among them.
#[derive(Debug)]
pub struct Threads {
    count: NonZeroUsize,
    /// Started with the first work; `None` where there is one thread only.
    pool: OnceLock<Option<ThreadPool>>,
    crew: Arc<Crew>,
}

/// What the threads of a pool know of each other.
#[derive(Debug, Default)]
struct Crew {
    /// Threads that are looking for work.
    helpers: AtomicUsize,
    /// How much work they are kept awake for.
    works: AtomicUsize,
    /// When the core came back late, the last times.
    late: Mutex<[Option<Instant>; OFTEN]>,
}

thread_local! {
    /// The crew that this thread belongs to.
    static CREW: OnceCell<Arc<Crew>> = const { OnceCell::new() };
    /// Whether it is one of the crew's helpers.
    static IS_HELPING: Cell<bool> = const { Cell::new(false) };
    /// Whether it has something to finish, so that it must not become a helper on the way.
    static IS_WORKING: Cell<bool> = const { Cell::new(false) };
    /// Whether it shares nothing for now.
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    /// So many threads.
    #[must_use]
    pub fn new(count: NonZeroUsize) -> Threads {
        Threads { count, pool: OnceLock::new(), crew: Arc::default() }
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Does work in which [`join`] finds the other threads awake, if there are any to spare.
    pub fn keep_awake<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let is_within = CREW.with(|crew| crew.get().is_some());
        if is_within || self.crew.is_busy() {
            return work();
        }
        let Some(pool) = self.pool.get_or_init(|| self.start()) else {
            return work();
        };
        self.crew.works.fetch_add(1, Ordering::SeqCst);
        defer! { self.crew.works.fetch_sub(1, Ordering::SeqCst); }
        if self.crew.helpers.load(Ordering::SeqCst) < self.count() {
            let crew = Arc::clone(&self.crew);
            pool.spawn_broadcast(move |_| crew.help());
        }
        pool.install(|| {
            // The thread that leads is no helper meanwhile.
            let was_helping = usize::from(IS_HELPING.get());
            self.crew.helpers.fetch_sub(was_helping, Ordering::Relaxed);
            defer! { self.crew.helpers.fetch_add(was_helping, Ordering::Relaxed); }
            working(work)
        })
    }

    fn start(&self) -> Option<ThreadPool> {
        if self.count == NonZeroUsize::MIN {
            return None;
        }
        let crew = Arc::clone(&self.crew);
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.count.get())
            .thread_name(|index| format!("learner-{index}"))
            .start_handler(move |_| {
                CREW.with(|own| _ = own.set(Arc::clone(&crew)));
            })
            .build();
        // Where the system gives no threads, one will do.
        pool.ok()
    }
}

/// One for each core.
impl Default for Threads {
    fn default() -> Threads {
        Threads::new(available())
    }
}

/// Does what this thread has to finish.
fn working<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_WORKING.replace(true);
    defer! { IS_WORKING.set(before); }
    work()
}

impl Crew {
    /// Whether the cores have other work.
    fn is_busy(&self) -> bool {
        match *self.late.lock().unwrap_or_else(PoisonError::into_inner) {
            [Some(first), .., Some(last)] => last - first < WINDOW && last.elapsed() < PAUSE,
            _ => false,
        }
    }

    fn was_late(&self) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.rotate_left(1);
        late[OFTEN - 1] = Some(Instant::now());
    }

    /// Takes over what [`join`] offers until the work is over, and no other begins, or the machine is busy.
    fn help(&self) {
        if IS_WORKING.get() || IS_HELPING.replace(true) {
            return;
        }
        self.helpers.fetch_add(1, Ordering::Relaxed);
        let (mut looks, mut last_work) = (0, Instant::now());
        loop {
            if rayon::yield_now() == Some(Yield::Executed) {
                looks = 0;
                continue;
            }
            std::hint::spin_loop();
            looks += 1;
            if looks < LOOKS {
                continue;
            }
            let offered = Instant::now();
            if looks == LOOKS {
                last_work = offered;
            }
            let idle = offered - last_work;
            let is_over = self.works.load(Ordering::Acquire) == 0;
            if is_over && idle > LINGER {
                // Other work may begin at this moment: either it sees that this thread leaves, or this thread sees it.
                self.helpers.fetch_sub(1, Ordering::SeqCst);
                if self.works.load(Ordering::SeqCst) == 0 {
                    break;
                }
                self.helpers.fetch_add(1, Ordering::SeqCst);
            }
            if idle > TIRED {
                std::thread::sleep(NAP);
                continue;
            }
            std::thread::yield_now();
            // After the work nobody waits for this thread.
            if !is_over && offered.elapsed() > PATIENCE {
                self.was_late();
                if self.is_busy() {
                    self.helpers.fetch_sub(1, Ordering::SeqCst);
                    break;
                }
            }
        }
        IS_HELPING.set(false);
    }
}

/// Whether another thread waits for what this one could share with it.
#[must_use]
pub fn is_helped() -> bool {
    let is_helped = |crew: &Arc<Crew>| crew.helpers.load(Ordering::Relaxed) > 0;
    !IS_ALONE.get() && CREW.with(|crew| crew.get().is_some_and(is_helped))
}

/// Does work in which [`join`] does everything on this thread.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_ALONE.replace(true);
    defer! { IS_ALONE.set(before); }
    work()
}

/// Does two independent pieces of work, on two threads where another one of [`Threads::keep_awake`] is
/// free for it, otherwise one after the other.
pub fn join<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if !is_helped() {
        return (first(), second());
    }
    let done = AtomicBool::new(false);
    let first = || {
        let result = first();
        // Rayon's own way to wait puts the thread to sleep, which takes longer than a minibatch.
        let mut looks = 0_u32;
        while !done.load(Ordering::Acquire) {
            if rayon::yield_now() == Some(Yield::Executed) {
                continue;
            }
            std::hint::spin_loop();
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                std::thread::yield_now();
            }
        }
        result
    };
    let second = || {
        defer! { done.store(true, Ordering::Release); }
        working(second)
    };
    working(|| rayon::join(first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums in pieces, deep enough that pieces of pieces are shared.
    fn sum(numbers: &[u64]) -> u64 {
        if numbers.len() < 4 {
            return numbers.iter().sum();
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        let (left, right) = join(|| sum(left), || sum(right));
        left + right
    }

    #[test]
    fn work_is_shared_among_any_number_of_threads() {
        let numbers: Vec<u64> = (0..10_000).collect();
        for count in [1, 2, 3, 7, 16] {
            let threads = Threads::new(NonZeroUsize::new(count).unwrap());
            for _ in 0..20 {
                assert_eq!(threads.keep_awake(|| sum(&numbers)), 49_995_000);
            }
        }
    }

    #[test]
    fn threads_without_work_go_to_sleep() {
        let threads = Threads::new(NonZeroUsize::new(3).unwrap());
        let helpers = || threads.crew.helpers.load(Ordering::SeqCst);
        let begun = Instant::now();
        let until = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                assert!(begun.elapsed() < Duration::from_secs(30), "{} helpers", helpers());
                std::thread::sleep(NAP);
            }
        };
        for _ in 0..2 {
            threads.keep_awake(|| until(&|| helpers() > 0 || threads.crew.is_busy()));
            until(&|| helpers() == 0);
        }
    }

    #[test]
    fn who_works_alone_shares_nothing() {
        let threads = Threads::new(NonZeroUsize::new(2).unwrap());
        let own = || std::thread::current().id();
        threads.keep_awake(|| {
            let begun = Instant::now();
            while !is_helped() && !threads.crew.is_busy() {
                assert!(begun.elapsed() < Duration::from_secs(30), "nobody helps");
            }
            for _ in 0..1000 {
                assert_eq!(alone(|| join(own, own)), (own(), own()));
            }
        });
    }

    #[test]
    fn a_panic_ends_the_work_and_not_the_threads() {
        let threads = Threads::new(NonZeroUsize::new(2).unwrap());
        for side in [false, true] {
            let fails = |fails: bool| assert!(!fails, "as expected");
            let work = || threads.keep_awake(|| join(|| fails(side), || fails(!side)));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        }
        assert_eq!(threads.keep_awake(|| sum(&[1, 2, 3, 4, 5])), 15);
    }
}
