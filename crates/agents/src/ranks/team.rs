//! Ranks that compute the gradients of a network together.
//!
//! Sums over samples are the tree of [`crate::ops::chunks`]: a rank computes a range of its chunks, and what the
//! ranks have is put together along that tree. So what comes of it depends neither on the number of ranks nor on how
//! messages travel.

use super::{Ranks, Sums, read, written};
use crate::ops::chunks::{CHUNK, halves_at};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::sync::Arc;

/// Ranks of one team may have so many times as much to do as on average. What a gradient costs beside its share of the
/// samples (Adam, messages) is about as much at small networks.
const UNEVEN: f64 = 1.2;

/// The ranks that compute the gradients of a network together: all of them, or, where several networks are trained at
/// the same time, some for each.
#[derive(Clone, Debug)]
pub struct Team {
    ranks: Arc<Ranks>,
    /// Next to each other.
    members: Range<usize>,
}

impl Team {
    /// All ranks.
    #[must_use]
    pub fn all(ranks: &Arc<Ranks>) -> Team {
        Team { ranks: Arc::clone(ranks), members: 0..ranks.size() }
    }

    /// A team for each of some networks that are trained at the same time, which have so many parameters. Each has
    /// ranks of its own where those have about the same to do then; otherwise all ranks are in each.
    #[must_use]
    pub fn each(ranks: &Arc<Ranks>, params: &[usize]) -> Vec<Team> {
        let (size, total) = (ranks.size(), params.iter().sum::<usize>().max(1));
        let team = |members| Team { ranks: Arc::clone(ranks), members };
        let mut before = 0;
        let divided: Vec<Team> = (params.iter())
            .map(|params| {
                // Rounded to whole ranks.
                let place = |before: usize| (2 * before * size + total) / (2 * total);
                let first = place(before);
                before += params;
                team(first..place(before))
            })
            .collect();
        let is_even = |(team, &params): (&Team, &usize)| {
            (params * size) as f64 <= UNEVEN * (total * team.members.len()) as f64
        };
        if divided.iter().zip(params).all(is_even) {
            return divided;
        }
        vec![Team::all(ranks); params.len()]
    }

    /// Whether this rank is in it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.members.contains(&self.ranks.rank())
    }

    /// Whether there are several ranks in it.
    #[must_use]
    pub fn is_several(&self) -> bool {
        self.members.len() > 1
    }

    /// What each of some teams has found, on all ranks. `own` is what this one knows: that of the teams which it is
    /// in, which is the same on all members.
    ///
    /// # Panics
    /// As [`Ranks::gather`].
    #[must_use]
    pub fn tell<T: Serialize + DeserializeOwned>(teams: &[Team], own: Vec<Option<T>>) -> Vec<T> {
        let Some(Team { ranks, .. }) = teams.first() else { return Vec::new() };
        let messages: Vec<Vec<u8>> = (teams.iter().zip(&own))
            .map(|(team, value)| match value {
                Some(value) if team.members.len() < ranks.size() => written(value),
                _ => Vec::new(),
            })
            .collect();
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for (Team { members, .. }, message) in teams.iter().zip(&messages) {
            let others = (0..ranks.size()).filter(|rank| !members.contains(rank));
            for (index, other) in others.enumerate() {
                let teller = members.start + index % members.len();
                if other == ranks.rank() {
                    from.push(teller);
                } else if teller == ranks.rank() {
                    to.push((other, &message[..]));
                }
            }
        }
        let mut told = ranks.exchange(&to, &from).into_iter();
        let mut next = || match told.next() {
            Some(message) => read(&message),
            None => unreachable!("each team has a member that tells this rank"),
        };
        own.into_iter().map(|value| value.unwrap_or_else(&mut next)).collect()
    }

    /// Which member this rank is, counted from 0.
    fn place(&self) -> usize {
        self.ranks.rank() - self.members.start
    }

    /// The ranges of samples that are this rank's part of a sum: whole branches of the tree, in order.
    pub(crate) fn branches(&self, samples: usize) -> Vec<Range<usize>> {
        let mut own = Vec::new();
        let tree = Tree::new(samples, self.members.len());
        tree.branches(self.place(), 0..tree.chunks, &mut own);
        let rows = |chunks: Range<usize>| chunks.start * CHUNK..samples.min(chunks.end * CHUNK);
        own.into_iter().map(rows).collect()
    }

    /// Sums over so many samples; `work` gives those of a range of them. All members ask for it at the same time.
    pub(crate) fn sum(&self, samples: usize, mut work: impl FnMut(Range<usize>) -> Sums) -> Sums {
        if !self.is_several() {
            return work(0..samples);
        }
        let tree = Tree::new(samples, self.members.len());
        let (place, workers) = (self.place(), tree.workers);
        if place >= workers {
            return Sums::from_bytes(&self.exchange(&[], &[place % workers]).concat());
        }
        // All of it before the first message, for which others wait.
        let own: Vec<Sums> = self.branches(samples).into_iter().map(work).collect();
        let sums = self.complete(&tree, 0..tree.chunks, &mut own.into_iter());
        let sums = sums.unwrap_or_default();
        if workers < self.members.len() {
            let message = sums.to_bytes();
            let idle = (workers..self.members.len()).filter(|idle| idle % workers == place);
            self.exchange(&idle.map(|idle| (idle, &message[..])).collect::<Vec<_>>(), &[]);
        }
        sums
    }

    /// As [`Team::sum`], where it is known how many numbers the sums have: into memory that is there.
    pub(crate) fn sum_into(
        &self,
        samples: usize,
        gradient: &mut [f32],
        figures: &mut [f64],
        mut work: impl FnMut(Range<usize>, &mut [f32], &mut [f64]),
    ) {
        if !self.is_several() {
            return work(0..samples, gradient, figures);
        }
        let (params, others) = (gradient.len(), figures.len());
        let sums = self.sum(samples, |rows| {
            let mut sums = Sums { gradient: vec![0.0; params], figures: vec![0.0; others] };
            work(rows, &mut sums.gradient, &mut sums.figures);
            sums
        });
        gradient.copy_from_slice(&sums.gradient);
        figures.copy_from_slice(&sums.figures);
    }

    /// The sums of a node, on all members that have chunks of it; `own` gives this rank's branches. The members on
    /// either side know the sums of their side then, and tell them to those of the other side.
    fn complete(
        &self,
        tree: &Tree,
        node: Range<usize>,
        own: &mut impl Iterator<Item = Sums>,
    ) -> Option<Sums> {
        let place = self.place();
        let (first, last) = tree.owners(&node);
        if !(first..=last).contains(&place) {
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
        let messages = known.each_ref().map(|sums| sums.as_ref().map(Sums::to_bytes));
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for (side, lacking) in [1, 0].into_iter().zip(lacking) {
            for (index, other) in lacking.enumerate() {
                if other == place {
                    from.push(teller(side, index));
                } else if teller(side, index) == place
                    && let Some(message) = &messages[side]
                {
                    to.push((other, &message[..]));
                }
            }
        }
        let told = self.exchange(&to, &from);
        match known {
            [Some(left), Some(right)] => Some(left.plus(&right)),
            [Some(one), None] | [None, Some(one)] => Some(one.plus_bytes(told.first()?)),
            [None, None] => None,
        }
    }

    /// As [`Ranks::exchange`], between members counted from 0.
    fn exchange(&self, to: &[(usize, &[u8])], from: &[usize]) -> Vec<Vec<u8>> {
        let first = self.members.start;
        let to: Vec<_> = to.iter().map(|(place, message)| (first + place, *message)).collect();
        let from: Vec<_> = from.iter().map(|place| first + place).collect();
        self.ranks.exchange(&to, &from)
    }
}

impl Default for Team {
    /// This process alone.
    fn default() -> Team {
        Team::all(&Arc::default())
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
mod tests {
    use super::*;
    use crate::ranks::tests::among;

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
                        [one, other] => one.clone().plus(other),
                        rest => rest[0].clone(),
                    };
                    level = level.chunks(2).map(pair).collect();
                }
                level.remove(0)
            };
            let alone = Team::default().sum(samples, work);
            assert_eq!(alone.gradient[0], -alone.gradient[1]);
            for size in [2, 3, 4, 5, 7, 8, 16] {
                let all = among(size, |ranks| Team::all(&ranks).sum(samples, work));
                for (rank, found) in all.into_iter().enumerate() {
                    assert_eq!(found, alone, "{samples} samples, rank {rank} of {size}");
                }
            }
        }
    }

    #[test]
    fn every_sample_is_one_ranks() {
        for samples in [1, 129, 1000, 4096] {
            for size in [1, 2, 3, 8] {
                let mut rows: Vec<usize> = among(size, |ranks| Team::all(&ranks).branches(samples))
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
    fn networks_have_ranks_of_their_own_where_that_is_even() {
        let members = |size, params: &[usize]| {
            let found = among(size, |ranks| {
                Team::each(&ranks, params).into_iter().map(|team| team.members).collect::<Vec<_>>()
            });
            assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
            found[0].clone()
        };
        assert_eq!(members(1, &[10, 9]), [0..1, 0..1]);
        assert_eq!(members(2, &[10, 9]), [0..1, 1..2]);
        assert_eq!(members(8, &[10, 9]), [0..4, 4..8]);
        assert_eq!(members(4, &[10, 30]), [0..1, 1..4]);
        assert_eq!(members(3, &[10, 9, 9]), [0..1, 1..2, 2..3]);
        // One would have everything of one, two the other half.
        assert_eq!(members(3, &[10, 9]), [0..3, 0..3]);
        assert_eq!(members(2, &[10, 30]), [0..2, 0..2]);
        assert_eq!(members(2, &[10, 9, 9]), [0..2, 0..2, 0..2]);
    }

    #[test]
    fn what_each_team_sums_is_told_to_all() {
        let number = |network: usize, sample: usize| (sample * 7919 % 97 * (network + 1)) as f32;
        for params in [&[10, 9][..], &[10, 30], &[1, 5, 1], &[10]] {
            let wanted: Vec<f32> = (0..params.len())
                .map(|network| (0..1000).map(|sample| number(network, sample)).sum())
                .collect();
            for size in [1, 2, 3, 4, 7, 8, 24] {
                let found = among(size, |ranks| {
                    let teams = Team::each(&ranks, params);
                    let sums = teams.iter().enumerate().map(|(network, team)| {
                        let work = |rows: Range<usize>| Sums {
                            gradient: vec![rows.map(|sample| number(network, sample)).sum()],
                            figures: Vec::new(),
                        };
                        team.is_own().then(|| team.sum(1000, work).gradient[0])
                    });
                    let own = sums.collect();
                    Team::tell(&teams, own)
                });
                assert!(found.iter().all(|found| *found == wanted), "{params:?}, {size} ranks");
            }
        }
    }
}
