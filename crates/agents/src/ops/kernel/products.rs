//! Products of matrices in panels. A tile of some rows and 16 columns of a product stays in registers
//! until its sums are complete; bias and activation are applied to it there.

#![allow(clippy::needless_range_loop)] // Loops over registers.

use super::activation::{activate, multiply_by_slope};
use super::vector::{NARROW, PANEL, Row, Vector};
use crate::config::Activation;
use std::array::from_fn;
use std::ops::Range;

/// So many rows of a right factor are used together: one panel of them stays in the first-level cache,
/// and all samples of a chunk times as many columns of the left factor in the second.
const DEPTH: usize = 256;

/// What a product is added to.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    Zero,
    Biases(&'a [Row]),
    /// What the product is written over.
    Results,
}

/// What happens to the sums.
pub(super) enum Finish<'a> {
    Keep,
    Activate(Activation),
    /// They are derivatives with respect to these results of an activation, and are multiplied by its
    /// slope.
    Slope(Activation, &'a [Row], Option<OfBiases<'a>>),
}

/// The gradient of biases, a sum over samples of the derivatives before an activation; with `add` it is added to what
/// is there.
pub(super) struct OfBiases<'a> {
    pub(super) gradient: &'a mut [Row],
    pub(super) add: bool,
}

/// `results = finish(start + left right)`, for `rows` samples, a multiple of `R`. Right has panels of
/// `depth` rows; `G` is how many columns a panel of left has.
#[inline(always)]
pub(super) fn product<V: Vector, const R: usize, const G: usize>(
    left: &[[f32; G]],
    rows: usize,
    right: &[Row],
    depth: usize,
    start: Start<'_>,
    results: &mut [Row],
    mut finish: Finish<'_>,
) {
    for first in (0..depth).step_by(DEPTH) {
        let end = depth.min(first + DEPTH);
        let start = if first == 0 { start } else { Start::Results };
        let mut keep = Finish::Keep;
        let finish = if end == depth { &mut finish } else { &mut keep };
        let left = &left[first / G * rows..end.div_ceil(G) * rows];
        let factors = Factors { left, rows, right, depth, first, end, start };
        let panels = right.len() / depth;
        let mut panel = 0;
        while panel < panels {
            let results = &mut results[panel * rows..];
            let shared = V::PANELS.min(panels - panel);
            panel += if shared >= 4 && panels >= 8 {
                factors.panels::<V, 4, 4>(panel, results, finish);
                4
            } else if shared >= 2 {
                factors.panels::<V, R, 2>(panel, results, finish);
                2
            } else {
                factors.panels::<V, R, 1>(panel, results, finish);
                1
            };
        }
    }
}

/// What a product is made of: some rows of right, and what is done before and after.
struct Factors<'a, const G: usize> {
    left: &'a [[f32; G]],
    rows: usize,
    right: &'a [Row],
    depth: usize,
    first: usize,
    end: usize,
    start: Start<'a>,
}

impl<const G: usize> Factors<'_, G> {
    /// `C` panels of results, from number `panel` on.
    #[inline(always)]
    fn panels<V: Vector, const R: usize, const C: usize>(
        &self,
        panel: usize,
        results: &mut [Row],
        finish: &mut Finish<'_>,
    ) {
        let Factors { left, rows, right, depth, first, end, start } = *self;
        let right: [&[[Row; G]]; C] = from_fn(|c| {
            let start = (panel + c) * depth;
            right[start + first..start + end].as_chunks().0
        });
        let mut panels = results.chunks_exact_mut(rows);
        let results: [&mut [[Row; R]]; C] =
            from_fn(|_| panels.next().map(|panel| panel.as_chunks_mut().0).unwrap_or_default());
        let mut totals = [ColumnSum::<V>::new(); C];
        for group in 0..rows / R {
            let mut sums = [[V::splat(0.0); R]; C];
            match start {
                Start::Zero => {}
                Start::Biases(biases) => {
                    for c in 0..C {
                        sums[c] = [V::load(&biases[panel + c]); R];
                    }
                }
                Start::Results => {
                    for c in 0..C {
                        for r in 0..R {
                            sums[c][r] = V::load(&results[c][group][r]);
                        }
                    }
                }
            }
            let sums = tile::<V, R, C, G>(sums, left, rows, group * R, &right);
            for c in 0..C {
                let results = &mut results[c][group];
                match finish {
                    Finish::Keep => {
                        for r in 0..R {
                            sums[c][r].store(&mut results[r]);
                        }
                    }
                    Finish::Activate(activation) => {
                        for r in 0..R {
                            activate(*activation, sums[c][r]).store(&mut results[r]);
                        }
                    }
                    Finish::Slope(activation, y, _) => {
                        let y = &y[(panel + c) * rows + group * R..][..R];
                        for r in 0..R {
                            let slope = multiply_by_slope(*activation, sums[c][r], V::load(&y[r]));
                            slope.store(&mut results[r]);
                            totals[c].add(group * R + r, slope);
                        }
                    }
                }
            }
        }
        if let Finish::Slope(_, _, Some(OfBiases { gradient, add })) = finish {
            for c in 0..C {
                put(totals[c].total(), &mut gradient[panel + c], *add);
            }
        }
    }
}

/// A sum over samples, in four parts since an addition takes some cycles.
#[derive(Clone, Copy)]
struct ColumnSum<V>([V; 4]);

impl<V: Vector> ColumnSum<V> {
    #[inline(always)]
    fn new() -> Self {
        ColumnSum([V::splat(0.0); 4])
    }

    #[inline(always)]
    fn add(&mut self, sample: usize, x: V) {
        self.0[sample % 4] = self.0[sample % 4].add(x);
    }

    #[inline(always)]
    fn total(self) -> V {
        let [a, b, c, d] = self.0;
        a.add(b).add(c.add(d))
    }
}

/// Adds the product of `R` rows of left, from `first` on, and `C` panels of right.
#[inline(always)]
fn tile<V: Vector, const R: usize, const C: usize, const G: usize>(
    mut sums: [[V; R]; C],
    left: &[[f32; G]],
    rows: usize,
    first: usize,
    right: &[&[[Row; G]]; C],
) -> [[V; R]; C] {
    for (block, left) in left.chunks_exact(rows).enumerate() {
        let Some(left) = left[first..].first_chunk::<R>() else { break };
        let right: [&[Row; G]; C] = from_fn(|c| &right[c][block]);
        for k in 0..G {
            let mut loaded = [V::splat(0.0); C];
            for c in 0..C {
                loaded[c] = V::load(&right[c][k]);
            }
            for r in 0..R {
                let left = V::splat(left[r][k]);
                for c in 0..C {
                    sums[c][r] = left.fma(loaded[c], sums[c][r]);
                }
            }
        }
    }
    sums
}

/// The gradient of weights in panels of `depth` rows: `left' slopes`, a sum over `rows` samples. With
/// `add` it is added to what is there. `R` is a divisor of `G`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn outer<V: Vector, const R: usize, const G: usize>(
    left: &[[f32; G]],
    slopes: &[Row],
    rows: usize,
    gradient: &mut [Row],
    depth: usize,
    add: bool,
) {
    for first in (0..depth).step_by(DEPTH) {
        let end = depth.min(first + DEPTH);
        let left = &left[first / G * rows..end.div_ceil(G) * rows];
        let panels = slopes.len() / rows;
        let mut panel = 0;
        while panel < panels {
            let (slopes, gradient) = (&slopes[panel * rows..], &mut gradient[panel * depth..]);
            let range = first..end;
            let shared = V::PANELS.min(panels - panel);
            panel += if shared >= 4 && (G == NARROW || panels >= 8) {
                outer_panels::<V, 4, 4, G>(left, slopes, rows, gradient, depth, range, add);
                4
            } else if shared >= 2 {
                outer_panels::<V, R, 2, G>(left, slopes, rows, gradient, depth, range, add);
                2
            } else {
                outer_panels::<V, R, 1, G>(left, slopes, rows, gradient, depth, range, add);
                1
            };
        }
    }
}

/// `C` panels of [`outer`].
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer_panels<V: Vector, const R: usize, const C: usize, const G: usize>(
    left: &[[f32; G]],
    slopes: &[Row],
    rows: usize,
    gradient: &mut [Row],
    depth: usize,
    rows_of_gradient: Range<usize>,
    add: bool,
) {
    let slopes: [&[Row]; C] = from_fn(|c| &slopes[c * rows..(c + 1) * rows]);
    let mut panels = gradient.chunks_exact_mut(depth);
    let gradient: [&mut [[Row; R]]; C] = from_fn(|_| {
        let rows = panels.next().map(|panel| &mut panel[rows_of_gradient.clone()]);
        rows.map(|rows| rows.as_chunks_mut().0).unwrap_or_default()
    });
    let groups = G / R;
    for (block, left) in left.chunks_exact(rows).enumerate() {
        for group in 0..groups {
            let mut sums = [[V::splat(0.0); R]; C];
            for (sample, left) in left.iter().enumerate() {
                let left = &left.as_chunks::<R>().0[group];
                let mut loaded = [V::splat(0.0); C];
                for c in 0..C {
                    loaded[c] = V::load(&slopes[c][sample]);
                }
                for r in 0..R {
                    let left = V::splat(left[r]);
                    for c in 0..C {
                        sums[c][r] = left.fma(loaded[c], sums[c][r]);
                    }
                }
            }
            for c in 0..C {
                for r in 0..R {
                    put(sums[c][r], &mut gradient[c][block * groups + group][r], add);
                }
            }
        }
    }
}

#[inline(always)]
fn put<V: Vector>(sum: V, to: &mut Row, add: bool) {
    if add { V::load(to).add(sum) } else { sum }.store(to);
}

/// The gradient of biases from their slopes, for `rows` samples.
#[inline(always)]
pub(super) fn sum_rows<V: Vector>(slopes: &[Row], rows: usize, gradient: &mut [Row], add: bool) {
    for (slopes, gradient) in slopes.chunks_exact(rows).zip(gradient) {
        let mut total = ColumnSum::<V>::new();
        for four in slopes.as_chunks::<4>().0 {
            for r in 0..4 {
                total.add(r, V::load(&four[r]));
            }
        }
        put(total.total(), gradient, add);
    }
}

/// A last layer of at most `O` outputs: each is a sum along the vectors. `add` keeps what is in
/// `outputs [..][columns]`.
#[inline(always)]
pub(super) fn narrow<V: Vector, const O: usize>(
    left: &[Row],
    rows: usize,
    weights: &[Row],
    biases: Option<&[Row]>,
    outputs: &mut [f32],
    columns: usize,
    add: bool,
) {
    let mut start = [0.0; O];
    if let Some([biases, ..]) = biases {
        start.copy_from_slice(&biases[..O]);
    }
    let weights = weights.as_chunks::<O>().0;
    for (row, outputs) in outputs.chunks_exact_mut(columns).enumerate() {
        let mut sums = [V::splat(0.0); O];
        for (left, weights) in left.chunks_exact(rows).zip(weights) {
            let x = V::load(&left[row]);
            for o in 0..O {
                sums[o] = x.fma(V::load(&weights[o]), sums[o]);
            }
        }
        let mut results = [0.0; O];
        for o in 0..O {
            results[o] = start[o] + sums[o].sum();
        }
        for (output, result) in outputs.iter_mut().zip(results) {
            *output = if add { *output + result } else { result };
        }
    }
}

/// The way back through a last layer of at most `O` outputs: its gradient, the derivatives before the activation of what
/// it read, and the gradient of the biases there, from the derivatives with respect to the outputs, `[rows][O]`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn narrow_back<V: Vector, const O: usize>(
    hidden: &[Row],
    rows: usize,
    activation: Activation,
    weights: &[Row],
    derivative: &[f32],
    slopes: &mut [Row],
    weight_gradient: &mut [Row],
    bias_gradient: &mut [Row],
    biases_before: &mut [Row],
    add: bool,
) {
    let derivative = derivative.as_chunks::<O>().0;
    let mut sums = [0.0; PANEL];
    for d in derivative {
        for o in 0..O {
            sums[o] += d[o];
        }
    }
    put(V::load(&sums), &mut bias_gradient[0], add);
    let weights = weights.as_chunks::<O>().0.iter();
    let weights = weights.zip(weight_gradient.as_chunks_mut::<O>().0);
    let panels = hidden.chunks_exact(rows).zip(slopes.chunks_exact_mut(rows)).zip(biases_before);
    for (((hidden, slopes), biases_before), (weights, gradient)) in panels.zip(weights) {
        let mut sums = [V::splat(0.0); O];
        let mut total = ColumnSum::<V>::new();
        let (hidden, slopes) = (hidden.as_chunks::<4>().0, slopes.as_chunks_mut::<4>().0);
        for ((hidden, slopes), d) in hidden.iter().zip(slopes).zip(derivative.as_chunks::<4>().0) {
            for r in 0..4 {
                let y = V::load(&hidden[r]);
                let mut slope = V::splat(0.0);
                for o in 0..O {
                    let d = V::splat(d[r][o]);
                    slope = d.fma(V::load(&weights[o]), slope);
                    sums[o] = d.fma(y, sums[o]);
                }
                let slope = multiply_by_slope(activation, slope, y);
                slope.store(&mut slopes[r]);
                total.add(r, slope);
            }
        }
        for o in 0..O {
            put(sums[o], &mut gradient[o], add);
        }
        put(total.total(), biases_before, add);
    }
}

/// Runs `$call` with `$O`, a constant, as the padded number of few outputs.
macro_rules! with_outputs {
    ($outputs:expr, $O:ident => $call:expr) => {
        match $outputs {
            1 => {
                const $O: usize = 1;
                $call
            }
            2 => {
                const $O: usize = 2;
                $call
            }
            4 => {
                const $O: usize = 4;
                $call
            }
            _ => {
                const $O: usize = 8;
                $call
            }
        }
    };
}
pub(super) use with_outputs;
