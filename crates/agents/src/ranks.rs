//! Processes that train one policy together: who does what, and what they tell each other.
//!
//! Every rank holds the same agent and makes the same updates. A rank acts in environments of its own, and the
//! ranks then gather the batch in the order of the environments. What has to be computed of it is dealt out among
//! [`Team`]s of ranks.
//!
//! One process is a rank among one: there the shares are the whole, and nothing is sent.

mod sums;
mod team;

pub(crate) use sums::Sums;
pub use team::Team;

use crate::threads;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What carries messages between the ranks. A message that does not arrive ends the process: there is nothing
/// that one rank could do without the others.
pub trait Messenger: Send + Sync + Debug {
    /// Which of the ranks this process is, counted from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// What a rank is called in messages to the user.
    fn name(&self, rank: usize) -> String {
        format!("rank {rank}")
    }

    /// Sends bytes to some ranks and receives a message from each of some ranks, all at the same time; gives
    /// what was received, in the order of `from`. Messages between two ranks keep their order.
    fn exchange(&self, to: &[(usize, &[u8])], from: &[usize]) -> Vec<Vec<u8>>;
}

/// This process among those that train one policy.
///
/// ```
/// let ranks = agents::Ranks::default();
/// assert_eq!((ranks.rank(), ranks.size(), ranks.share(10)), (0, 1, 0..10));
/// assert_eq!(ranks.gather(&0.5), [0.5]);
/// ```
#[derive(Debug, Default)]
pub struct Ranks {
    /// `None` where there is one process only.
    messenger: Option<Box<dyn Messenger>>,
    rounds: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What has been sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Rounds of messages that were sent at the same time.
    pub rounds: u64,
    /// Bytes that this rank has sent.
    pub bytes: u64,
    /// Seconds in which this rank did nothing else.
    pub seconds: f64,
}

impl Ranks {
    /// The ranks that this messenger connects.
    #[must_use]
    pub fn new(messenger: impl Messenger + 'static) -> Ranks {
        Ranks { messenger: Some(Box::new(messenger)), ..Ranks::default() }
    }

    /// Which of the ranks this process is, counted from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.messenger.as_ref().map_or(0, |messenger| messenger.rank())
    }

    /// How many ranks there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.messenger.as_ref().map_or(1, |messenger| messenger.size())
    }

    /// What a rank is called in messages to the user.
    #[must_use]
    pub fn name(&self, rank: usize) -> String {
        self.messenger.as_ref().map_or_else(String::new, |messenger| messenger.name(rank))
    }

    /// What this rank has sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            rounds: self.rounds.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            seconds: self.nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9,
        }
    }

    /// Which of `count` things are this rank's: environments, episodes.
    #[must_use]
    pub fn share(&self, count: usize) -> Range<usize> {
        self.share_of(self.rank(), count)
    }

    /// Which of `count` things are a rank's.
    #[must_use]
    pub fn share_of(&self, rank: usize, count: usize) -> Range<usize> {
        rank * count / self.size()..(rank + 1) * count / self.size()
    }

    /// What each rank has, in their order.
    ///
    /// # Panics
    /// When something can't be written down, or another rank says something else.
    #[must_use]
    pub fn gather<T: Serialize + DeserializeOwned + Clone>(&self, own: &T) -> Vec<T> {
        if self.size() == 1 {
            return vec![own.clone()];
        }
        self.gather_bytes(written(own)).iter().map(|message| read(message)).collect()
    }

    /// Messages of all ranks, in their order.
    pub(crate) fn gather_bytes(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        let rank = self.rank();
        let others: Vec<usize> = (0..self.size()).filter(|&other| other != rank).collect();
        let to: Vec<(usize, &[u8])> = others.iter().map(|&other| (other, &own[..])).collect();
        let mut all = self.exchange(&to, &others);
        all.insert(rank, own);
        all
    }

    /// Rank 0's message, on every rank.
    ///
    /// # Panics
    /// As [`Ranks::gather`].
    #[must_use]
    pub fn from_first<T: Serialize + DeserializeOwned>(&self, own: T) -> T {
        if self.size() == 1 {
            return own;
        }
        if self.rank() > 0 {
            return read(&self.exchange(&[], &[0]).concat());
        }
        let message = written(&own);
        let to: Vec<(usize, &[u8])> = (1..self.size()).map(|rank| (rank, &message[..])).collect();
        self.exchange(&to, &[]);
        own
    }

    /// Does two independent pieces of work: side by side as [`threads::join`] does where this is the only
    /// rank, otherwise one after the other, since both may talk to the other ranks.
    pub fn join<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> A + Send,
        second: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self.size() == 1 { threads::join(first, second) } else { (first(), second()) }
    }

    fn exchange(&self, to: &[(usize, &[u8])], from: &[usize]) -> Vec<Vec<u8>> {
        let Some(messenger) = &self.messenger else { return Vec::new() };
        if to.is_empty() && from.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        let received = messenger.exchange(to, from);
        let bytes: usize = to.iter().map(|(_, message)| message.len()).sum();
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        received
    }
}

/// A value as a message.
fn written(value: &impl Serialize) -> Vec<u8> {
    let Ok(message) = postcard::to_stdvec(value) else { unreachable!("values can be written") };
    message
}

/// The value that was [`written`].
fn read<T: DeserializeOwned>(message: &[u8]) -> T {
    match postcard::from_bytes(message) {
        Ok(value) => value,
        Err(error) => panic!("a rank says what was not asked for: {error}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::{HashMap, VecDeque};
    use std::sync::{Arc, Condvar, Mutex};

    /// On their way from one rank to another.
    type Letters = HashMap<(usize, usize), VecDeque<Vec<u8>>>;

    /// Letters between threads of one process.
    #[derive(Debug, Default)]
    struct Post {
        letters: Mutex<Letters>,
        arrived: Condvar,
    }

    #[derive(Debug)]
    struct Postman {
        rank: usize,
        size: usize,
        post: Arc<Post>,
    }

    impl Messenger for Postman {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            self.size
        }

        fn exchange(&self, to: &[(usize, &[u8])], from: &[usize]) -> Vec<Vec<u8>> {
            let mut letters = self.post.letters.lock().unwrap();
            for &(to, message) in to {
                letters.entry((self.rank, to)).or_default().push_back(message.to_vec());
            }
            self.post.arrived.notify_all();
            let mut received = Vec::new();
            for &from in from {
                loop {
                    let letter = letters.get_mut(&(from, self.rank)).and_then(VecDeque::pop_front);
                    if let Some(letter) = letter {
                        received.push(letter);
                        break;
                    }
                    letters = self.post.arrived.wait(letters).unwrap();
                }
            }
            received
        }
    }

    /// What ranks that are threads of this process come to.
    pub(crate) fn among<T: Send>(size: usize, work: impl Fn(Arc<Ranks>) -> T + Sync) -> Vec<T> {
        let post = Arc::new(Post::default());
        let ranks = (0..size).map(|rank| Ranks::new(Postman { rank, size, post: post.clone() }));
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                ranks.map(|ranks| scope.spawn(move || work(Arc::new(ranks)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn what_ranks_have_is_gathered_in_their_order() {
        let found = among(3, |ranks| {
            let all = ranks.gather(&format!("rank {}", ranks.rank()));
            (all, ranks.from_first(ranks.rank() * 7 + 1), ranks.share(10))
        });
        let all = ["rank 0", "rank 1", "rank 2"].map(String::from).to_vec();
        for (found, share) in found.into_iter().zip([0..3, 3..6, 6..10]) {
            assert_eq!(found, (all.clone(), 1, share));
        }
    }
}
