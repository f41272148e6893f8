//! Sums over chunks of samples, in the order of a binary tree that depends on nothing but their number:
//! neighbours are added, then neighbouring sums of two, of four, and so on; one that has no neighbour
//! waits. So the sum of `n` chunks is that of the first `m` plus that of the rest, `m` being the
//! greatest power of two below `n`. Whoever computes some of the chunks, in whatever order, can
//! complete the tree with the same bits, because `x + y` is `y + x`.

use super::panels::{Row, Rows};
use super::vector::{Level, Vector, dispatched};

/// A sum that grows chunk by chunk: a binary counter of complete subtrees, one sum for each binary digit
/// of the number of chunks instead of one for each chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Sum number `i` is of `2^i` chunks; number 0 is where the next chunk is written.
    sums: Vec<Rows>,
}

impl Tree {
    /// Where the chunk that follows `done` chunks is to be written, `rows` rows; and whether it is to
    /// be added to what is there, its neighbour.
    pub(super) fn next(&mut self, done: usize, rows: usize) -> (&mut [Row], bool) {
        if self.sums.is_empty() {
            self.sums.push(Rows::default());
        }
        (self.sums[0].get(rows), done % 2 == 1)
    }

    /// To be called when that is done and the number of chunks is `done`.
    pub(super) fn carry(&mut self, level: Level, done: usize, rows: usize) {
        let full = done.trailing_zeros() as usize;
        if full == 0 {
            return;
        }
        while self.sums.len() <= full {
            self.sums.push(Rows::default());
        }
        for digit in 1..full {
            self.add(level, digit, rows);
        }
        self.sums.swap(0, full);
    }

    /// The sum of all `done` chunks.
    pub(super) fn total(&mut self, level: Level, done: usize, rows: usize) -> &mut [Row] {
        let first = done.trailing_zeros() as usize;
        self.sums.swap(0, first);
        for digit in first + 1..self.sums.len() {
            if done >> digit & 1 == 1 {
                self.add(level, digit, rows);
            }
        }
        self.sums[0].get(rows)
    }

    /// Adds the sum at a digit to the one that is carried.
    fn add(&mut self, level: Level, digit: usize, rows: usize) {
        let (carried, sums) = self.sums.split_at_mut(digit);
        add(level, sums[0].get(rows), carried[0].get(rows));
    }
}

dispatched! {
    /// `right = left + right`.
    add = add_body(left: &[Row], right: &mut [Row])
}

#[inline(always)]
fn add_body<V: Vector, const R: usize>(left: &[Row], right: &mut [Row]) {
    for (right, left) in right.iter_mut().zip(left) {
        V::load(left).add(V::load(right)).store(right);
    }
}
