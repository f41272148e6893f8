//! Samples in chunks: the pieces of work that threads share, and the order in which sums over samples are
//! made.
//!
//! A chunk is [`CHUNK`] samples, in their order; the last may have fewer. A sum over samples is made of
//! sums of chunks, in a binary tree that depends on nothing but their number: the sum of `n` chunks is that
//! of the first `m` plus that of the rest, `m` being the greatest power of two below `n`. So neighbours are
//! added, then neighbouring sums of two, of four, and so on. Whoever computes some of the chunks, in
//! whatever order, can complete the tree with the same bits, because `x + y` is `y + x`.

use crate::threads::{is_helped, join};
use smallvec::{SmallVec, smallvec};

/// Samples of a chunk.
pub const CHUNK: usize = 128;

/// Work of less nanoseconds is done where it is: handing it over takes about one microsecond.
const WORTH: usize = 3_000;

/// Rows of some arrays, `[samples][width]` each: `R` that are read and `W` that are written.
pub struct Samples<'a, const R: usize, const W: usize> {
    len: usize,
    /// Nanoseconds that a sample takes, about.
    cost: usize,
    /// What is read: rows of so many numbers.
    pub read: [(&'a [f32], usize); R],
    /// What is written. Rows may be padded as far as the chunk's last one.
    pub written: [(&'a mut [f32], usize); W],
}

impl<'a, const R: usize, const W: usize> Samples<'a, R, W> {
    /// So many samples with the arrays and how many numbers a row has; `cost` is about how many
    /// nanoseconds a sample will take.
    pub fn new(
        len: usize,
        cost: usize,
        read: [(&'a [f32], usize); R],
        written: [(&'a mut [f32], usize); W],
    ) -> Self {
        Samples { len, cost, read, written }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK)
    }

    /// Where the tree divides more than one chunk: the first part has a power of two of them.
    pub fn halves(self) -> (Self, Self) {
        let Samples { len, cost, read, written } = self;
        let middle = (halves_at(len.div_ceil(CHUNK)) * CHUNK).min(len);
        let at = |rows: usize, width: usize| rows.min(middle * width);
        let mut written = written.map(|(rows, width)| {
            let (first, rest) = rows.split_at_mut(at(rows.len(), width));
            [(first, width), (rest, width)]
        });
        let first = Samples {
            len: middle,
            cost,
            read: read.map(|(rows, width)| (&rows[..at(rows.len(), width)], width)),
            written: written.each_mut().map(|[first, _]| (std::mem::take(&mut first.0), first.1)),
        };
        let rest = Samples {
            len: len - middle,
            cost,
            read: read.map(|(rows, width)| (&rows[at(rows.len(), width)..], width)),
            written: written.map(|[_, rest]| rest),
        };
        (first, rest)
    }
}

/// Whether the halves of so many samples, of which each takes about so many nanoseconds, are worth two threads.
pub fn is_worth_sharing(samples: usize, cost: usize) -> bool {
    samples / 2 * cost >= WORTH && is_helped()
}

/// How many of a sum's chunks, where there are several, the first half of the tree has.
#[must_use]
pub fn halves_at(chunks: usize) -> usize {
    chunks.next_power_of_two() / 2
}

/// Does both, on two threads where that is worth it.
pub fn both(is_shared: bool, first: impl FnOnce() + Send, rest: impl FnOnce() + Send) {
    if is_shared {
        join(first, rest);
    } else {
        first();
        rest();
    }
}

/// Does something with each chunk.
pub fn for_each<const R: usize, const W: usize>(
    samples: Samples<'_, R, W>,
    work: &(impl Fn(Samples<'_, R, W>) + Sync),
) {
    match samples.chunks() {
        0 => return,
        1 => return work(samples),
        _ => {}
    }
    let is_shared = is_worth_sharing(samples.len, samples.cost);
    let (first, rest) = samples.halves();
    both(is_shared, || for_each(first, work), || for_each(rest, work));
}

/// Writes into `sums` what `work`, which gives the sums of one chunk, gives for all of them.
pub fn sum<const R: usize, const W: usize>(
    samples: Samples<'_, R, W>,
    sums: &mut [f64],
    work: &(impl Fn(Samples<'_, R, W>, &mut [f64]) + Sync),
) {
    if samples.chunks() <= 1 {
        sums.fill(0.0);
        return work(samples, sums);
    }
    let is_shared = is_worth_sharing(samples.len, samples.cost);
    let (first, rest) = samples.halves();
    let mut others = zeros(sums.len());
    both(is_shared, || sum(first, sums, work), || sum(rest, &mut others, work));
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

/// So many zeros. Few sums, as of most losses, need no memory of their own.
pub fn zeros(count: usize) -> SmallVec<[f64; 32]> {
    smallvec![0.0; count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Threads;
    use std::num::NonZeroUsize;

    #[test]
    fn every_sample_is_done_once_by_any_number_of_threads() {
        for len in [0, 1, 127, 128, 129, 1000, 1024, 1025] {
            let numbers: Vec<f32> = (0..2 * len).map(|i| i as f32).collect();
            for count in [1, 2, 7] {
                let mut sums_of_rows = vec![f32::NAN; len];
                let threads = Threads::new(NonZeroUsize::new(count).unwrap());
                threads.keep_awake(|| {
                    let written = [(&mut sums_of_rows[..], 1)];
                    for_each(Samples::new(len, 1000, [(&numbers, 2)], written), &|samples| {
                        let ([(rows, _)], [(sums, _)]) = (samples.read, samples.written);
                        assert!(sums.len() <= CHUNK && rows.len() == 2 * sums.len());
                        for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(2)) {
                            *sum = row[0] + row[1];
                        }
                    });
                });
                assert!(sums_of_rows.iter().enumerate().all(|(i, &x)| x == (4 * i + 1) as f32));
            }
        }
    }

    #[test]
    fn a_sum_is_the_tree_of_its_chunks() {
        for len in [1, 128, 129, 300, 1000, 2500] {
            // Of sizes so different that the order of a sum shows in its bits.
            let numbers: Vec<f32> =
                (0..len).map(|i| 2.0_f32.powi(i as i32 * 7919 % 97) * 1.37).collect();
            let mut parts: Vec<f64> = numbers
                .chunks(CHUNK)
                .map(|chunk| chunk.iter().map(|&x| f64::from(x)).sum())
                .collect();
            while parts.len() > 1 {
                parts = parts.chunks(2).map(|pair| pair.iter().sum()).collect();
            }
            for (count, width) in [(1, 1), (2, 1), (3, 17), (16, 1)] {
                let mut sums = vec![f64::NAN; width];
                let threads = Threads::new(NonZeroUsize::new(count).unwrap());
                threads.keep_awake(|| {
                    let samples = Samples::new(len, 1000, [(&numbers, 1)], []);
                    sum(samples, &mut sums, &|samples, sums| {
                        let [(rows, _)] = samples.read;
                        sums.fill(rows.iter().map(|&x| f64::from(x)).sum());
                    });
                });
                assert!(sums.iter().all(|sum| *sum == parts[0]), "{len} samples, {count} threads");
            }
        }
    }
}
