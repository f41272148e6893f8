//! Two sums in one message.
//!
//! A message costs its way more than its length. So where two gradients are wanted of one minibatch, a rank
//! computes what it has of both before it tells the others anything: the second piece of work is done while the
//! first one waits for its sum.

use super::{Ranks, Sums};
use crate::threads;
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// Who gives sums over samples to one that has a part of them.
pub trait Summing {
    /// Whether others compute a part of each sum.
    fn is_shared(&self) -> bool;

    /// Sums over so many samples; `work` gives those of a range of them.
    fn sum(&self, samples: usize, work: &mut dyn FnMut(Range<usize>) -> Sums) -> Sums;
}

impl Summing for Ranks {
    fn is_shared(&self) -> bool {
        self.size() > 1
    }

    fn sum(&self, samples: usize, work: &mut dyn FnMut(Range<usize>) -> Sums) -> Sums {
        if self.is_shared() { self.one(samples, self.own(samples, work)) } else { work(0..samples) }
    }
}

impl Ranks {
    /// Does two independent pieces of work, of which each asks for sums over samples: side by side as
    /// [`threads::join`] does where this is the only rank. Otherwise the first sums of both, if they are over the
    /// same number of samples, are one message.
    pub fn pair<A: Send, B: Send>(
        &self,
        first: impl FnOnce(&dyn Summing) -> A + Send,
        second: impl FnOnce(&dyn Summing) -> B + Send,
    ) -> (A, B) {
        if !self.is_shared() {
            return threads::join(|| first(self), || second(self));
        }
        let (mut second, mut found) = (Some(second), None);
        let mut meanwhile = |samples: usize, own: Vec<Sums>| {
            let waiting = Cell::new(Some(own));
            let beside = Beside { ranks: self, samples, waiting, told: Cell::new(None) };
            if let Some(second) = second.take() {
                found = Some(second(&beside));
            }
            beside.told.take().unwrap_or_else(|| {
                // The second asked for nothing that goes with it.
                self.one(samples, beside.waiting.take().unwrap_or_default())
            })
        };
        let one = first(&Ahead { ranks: self, meanwhile: RefCell::new(&mut meanwhile) });
        match (found, second) {
            (Some(other), _) => (one, other),
            (None, Some(second)) => (one, second(self)),
            (None, None) => unreachable!("the second piece of work is done once"),
        }
    }

    /// A sum over so many samples, of which this rank has these branches.
    fn one(&self, samples: usize, own: Vec<Sums>) -> Sums {
        let own = own.into_iter().map(|sums| vec![sums]).collect();
        self.put_together(samples, own).pop().unwrap_or_default()
    }
}

/// The first of two pieces of work.
struct Ahead<'a> {
    ranks: &'a Ranks,
    /// What is done while a sum over so many samples waits, with what this rank has of it; gives the sum.
    meanwhile: RefCell<&'a mut dyn FnMut(usize, Vec<Sums>) -> Sums>,
}

impl Summing for Ahead<'_> {
    fn is_shared(&self) -> bool {
        true
    }

    fn sum(&self, samples: usize, work: &mut dyn FnMut(Range<usize>) -> Sums) -> Sums {
        let own = self.ranks.own(samples, work);
        (self.meanwhile.borrow_mut())(samples, own)
    }
}

/// The second of two pieces of work.
struct Beside<'a> {
    ranks: &'a Ranks,
    /// What this rank has of the sum that the first one waits for, until it is told, and over how many samples.
    waiting: Cell<Option<Vec<Sums>>>,
    samples: usize,
    /// That sum.
    told: Cell<Option<Sums>>,
}

impl Summing for Beside<'_> {
    fn is_shared(&self) -> bool {
        true
    }

    fn sum(&self, samples: usize, work: &mut dyn FnMut(Range<usize>) -> Sums) -> Sums {
        let own = self.ranks.own(samples, work);
        if samples != self.samples {
            return self.ranks.one(samples, own);
        }
        let Some(waiting) = self.waiting.take() else { return self.ranks.one(samples, own) };
        let both = waiting.into_iter().zip(own).map(|(one, other)| vec![one, other]).collect();
        let mut sums = self.ranks.put_together(samples, both).into_iter();
        self.told.set(sums.next());
        sums.next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ranks::tests::among;

    /// Sums of numbers of such sizes that the order of a sum shows in its bits.
    fn sums(rows: Range<usize>, factor: f32) -> Sums {
        let number = |i: usize| 2.0_f32.powi((i * 7919 % 97) as i32 - 40) * factor;
        let sum: f32 = rows.map(number).sum();
        Sums { gradient: vec![sum; 3], figures: vec![f64::from(sum)] }
    }

    #[test]
    fn two_sums_are_the_same_as_one_by_one_with_half_of_the_messages() {
        for samples in [100, 300, 1000, 4096] {
            for size in [2, 3, 4, 8] {
                let mut found = among(size, |ranks| {
                    let one = ranks.sum(samples, &mut |rows| sums(rows, 1.3));
                    let other = ranks.sum(samples, &mut |rows| sums(rows, 0.7));
                    let apart = ranks.traffic().rounds;
                    let pair = ranks.pair(
                        |summing| summing.sum(samples, &mut |rows| sums(rows, 1.3)),
                        |summing| summing.sum(samples, &mut |rows| sums(rows, 0.7)),
                    );
                    assert_eq!(2 * (ranks.traffic().rounds - apart), apart);
                    assert_eq!(pair, (one, other));
                    pair
                });
                found.dedup();
                assert_eq!(found.len(), 1, "{samples} samples, {size} ranks");
            }
        }
    }

    #[test]
    fn pieces_of_work_may_ask_as_often_as_they_like() {
        let numbers = |summing: &dyn Summing, samples: &[usize]| -> Vec<Sums> {
            samples
                .iter()
                .map(|&samples| summing.sum(samples, &mut |rows| sums(rows, 1.0)))
                .collect()
        };
        for (one, other) in [
            (&[300][..], &[300, 300, 700][..]),
            (&[300, 500], &[300]),
            (&[300], &[700]),
            (&[300], &[]),
            (&[], &[300, 200]),
            (&[], &[]),
        ] {
            for found in among(3, |ranks| {
                let apart = (numbers(&*ranks, one), numbers(&*ranks, other));
                (ranks.pair(|all| numbers(all, one), |all| numbers(all, other)), apart)
            }) {
                assert_eq!(found.0, found.1, "{one:?} and {other:?}");
            }
        }
    }
}
