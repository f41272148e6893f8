//! Processes that train one policy together: who does what, and what they tell each other.
//!
//! Every rank holds the same agent and makes the same updates. A rank acts in environments of its own, and the
//! ranks then gather the batch in the order of the environments. A sum over samples is the tree of
//! [`crate::ops::chunks`]: a rank computes a range of its chunks, and what the ranks have is put together along
//! that tree. So what comes of it depends neither on the number of ranks nor on how messages travel.
//!
//! One process is a rank among one: there the shares are the whole, and nothing is sent.

mod pair;
mod sums;

pub use pair::Summing;
pub(crate) use sums::Sums;

use crate::ops::chunks::{CHUNK, halves_at};
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
        let Ok(message) = postcard::to_stdvec(own) else { unreachable!("numbers can be written") };
        let read = |message: Vec<u8>| match postcard::from_bytes(&message) {
            Ok(value) => value,
            Err(error) => panic!("a rank says what was not asked for: {error}"),
        };
        self.gather_bytes(message).into_iter().map(read).collect()
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
            let message = self.exchange(&[], &[0]).concat();
            return match postcard::from_bytes(&message) {
                Ok(value) => value,
                Err(error) => panic!("rank 0 says what was not asked for: {error}"),
            };
        }
        let Ok(message) = postcard::to_stdvec(&own) else { unreachable!("values can be written") };
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

    /// The ranges of samples that are this rank's part of a sum: whole branches of the tree, in order.
    pub(crate) fn branches(&self, samples: usize) -> Vec<Range<usize>> {
        let mut own = Vec::new();
        let tree = Tree::new(samples, self.size());
        tree.branches(self.rank(), 0..tree.chunks, &mut own);
        let rows = |chunks: Range<usize>| chunks.start * CHUNK..samples.min(chunks.end * CHUNK);
        own.into_iter().map(rows).collect()
    }

    /// What this rank has to add to sums over so many samples, by its branches; `work` gives the sums of a range
    /// of samples.
    fn own(&self, samples: usize, work: &mut dyn FnMut(Range<usize>) -> Sums) -> Vec<Sums> {
        self.branches(samples).into_iter().map(work).collect()
    }

    /// Sums over so many samples, several at once: `own` is what this rank has to add to them, by its branches.
    fn put_together(&self, samples: usize, own: Vec<Vec<Sums>>) -> Vec<Sums> {
        let tree = Tree::new(samples, self.size());
        let (rank, size, workers) = (self.rank(), self.size(), tree.workers);
        if rank >= workers {
            return sums::from_bytes(&self.exchange(&[], &[rank % workers]).concat());
        }
        let sums = self.complete(&tree, 0..tree.chunks, &mut own.into_iter());
        if let Some(sums) = &sums
            && workers < size
        {
            let message = sums::to_bytes(sums);
            let idle = (workers..size).filter(|idle| idle % workers == rank);
            self.exchange(&idle.map(|idle| (idle, &message[..])).collect::<Vec<_>>(), &[]);
        }
        sums.unwrap_or_default()
    }

    /// The sums of a node, on all ranks that have chunks of it; `own` gives this rank's branches. The ranks on
    /// either side know the sums of their side then, and tell them to those of the other side.
    fn complete(
        &self,
        tree: &Tree,
        node: Range<usize>,
        own: &mut impl Iterator<Item = Vec<Sums>>,
    ) -> Option<Vec<Sums>> {
        let rank = self.rank();
        let (first, last) = tree.owners(&node);
        if !(first..=last).contains(&rank) {
            return None;
        }
        if first == last {
            return own.next();
        }
        let [left, right] = Tree::halves(&node);
        let ((_, left_last), (right_first, _)) = (tree.owners(&left), tree.owners(&right));
        let known = [self.complete(tree, left, own), self.complete(tree, right, own)];
        // Those of each side, and of them those that know nothing of the other side.
        let sides = [first..left_last + 1, right_first..last + 1];
        let lacking =
            [first..right_first.min(left_last + 1), right_first.max(left_last + 1)..last + 1];
        let [left_first, right_first] = sides.clone().map(|side| side.start);
        // The one of the other side who tells the `index`-th who lacks it.
        let teller =
            |side: usize, index: usize| [left_first, right_first][side] + index % sides[side].len();
        let messages = known.each_ref().map(|sums| sums.as_deref().map(sums::to_bytes));
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for (side, lacking) in [1, 0].into_iter().zip(lacking) {
            for (index, other) in lacking.enumerate() {
                if other == rank {
                    from.push(teller(side, index));
                } else if teller(side, index) == rank
                    && let Some(message) = &messages[side]
                {
                    to.push((other, &message[..]));
                }
            }
        }
        let told = self.exchange(&to, &from);
        match known {
            [Some(left), Some(right)] => Some(sums::plus(left, &right)),
            [Some(one), None] | [None, Some(one)] => Some(sums::plus_bytes(one, told.first()?)),
            [None, None] => None,
        }
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

/// The tree of a sum's chunks, and which rank computes which of them.
struct Tree {
    chunks: usize,
    /// So many chunks are dealt out together.
    unit: usize,
    /// Ranks that have a part in it.
    workers: usize,
}

impl Tree {
    fn new(samples: usize, ranks: usize) -> Tree {
        let chunks = samples.div_ceil(CHUNK).max(1);
        let workers = ranks.min(chunks);
        // A rank has eight units, at least, where it has eight chunks: none has much more than another one, and where
        // ranks are no power of two they still have few branches each.
        let unit = 1 << (chunks / (8 * workers)).max(1).ilog2();
        Tree { chunks, unit, workers }
    }

    /// Who computes a chunk: of `n` units, rank `r` has those from `r n / workers` on.
    fn owner(&self, chunk: usize) -> usize {
        let (unit, units) = (chunk / self.unit, self.chunks.div_ceil(self.unit));
        ((unit + 1) * self.workers - 1) / units
    }

    /// Who computes the first chunk of a node, and who the last.
    fn owners(&self, node: &Range<usize>) -> (usize, usize) {
        (self.owner(node.start), self.owner(node.end - 1))
    }

    fn halves(node: &Range<usize>) -> [Range<usize>; 2] {
        let middle = node.start + halves_at(node.len());
        [node.start..middle, middle..node.end]
    }

    /// The largest nodes whose chunks are all of one rank, in order.
    fn branches(&self, rank: usize, node: Range<usize>, own: &mut Vec<Range<usize>>) {
        let (first, last) = self.owners(&node);
        if first == last && first == rank {
            own.push(node);
        } else if (first..=last).contains(&rank) {
            for half in Tree::halves(&node) {
                self.branches(rank, half, own);
            }
        }
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
    fn a_sum_is_the_same_tree_on_any_number_of_ranks() {
        for samples in [1, 128, 129, 300, 512, 1000, 2500, 4096] {
            // Of sizes so different that the order of a sum shows in its bits.
            let number = |i: usize| 2.0_f32.powi((i * 7919 % 97) as i32 - 40) * 1.37;
            let work = |rows: Range<usize>| {
                let chunks = rows.step_by(CHUNK).map(|start| {
                    let sum: f32 = (start..samples.min(start + CHUNK)).map(number).sum();
                    Sums { gradient: vec![sum, -sum], figures: vec![f64::from(sum) / 3.0] }
                });
                // The tree of `chunks`, as it stands there.
                let mut level: Vec<Sums> = chunks.collect();
                while level.len() > 1 {
                    let pair = |pair: &[Sums]| match pair {
                        [one, other] => {
                            sums::plus(vec![one.clone()], std::slice::from_ref(other)).remove(0)
                        }
                        rest => rest[0].clone(),
                    };
                    level = level.chunks(2).map(pair).collect();
                }
                level.remove(0)
            };
            let alone = Ranks::default().sum(samples, &mut { work });
            assert_eq!(alone.gradient[0], -alone.gradient[1]);
            for size in [2, 3, 4, 5, 7, 8, 16] {
                for (rank, found) in
                    among(size, |ranks| ranks.sum(samples, &mut { work })).into_iter().enumerate()
                {
                    assert_eq!(found, alone, "{samples} samples, rank {rank} of {size}");
                }
            }
        }
    }

    #[test]
    fn every_sample_is_one_ranks() {
        for samples in [1, 129, 1000, 4096] {
            for size in [1, 2, 3, 8] {
                let mut rows: Vec<usize> = among(size, |ranks| ranks.branches(samples))
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect();
                rows.sort_unstable();
                assert_eq!(rows, (0..samples).collect::<Vec<_>>(), "{size} ranks");
            }
        }
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
