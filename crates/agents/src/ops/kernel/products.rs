//! Products of matrices in panels. A tile of some rows and 16 columns of a product stays in registers
//! until its sums are complete; bias and activation are applied to it there.

#![allow(clippy::needless_range_loop)] // Loops over registers.

use super::activation::{activate, multiply_by_slope};
use super::vector::{PANEL, Row, Vector};
use crate::config::Activation;

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
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    Keep,
    Activate(Activation),
    /// They are derivatives with respect to these results of an activation, and are multiplied by its
    /// slope.
    Slope(Activation, &'a [Row]),
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
    finish: Finish<'_>,
) {
    for first in (0..depth).step_by(DEPTH) {
        let end = depth.min(first + DEPTH);
        let start = if first == 0 { start } else { Start::Results };
        let finish = if end == depth { finish } else { Finish::Keep };
        let left = &left[first / G * rows..end.div_ceil(G) * rows];
        let panels = results.chunks_exact_mut(rows).zip(right.chunks_exact(depth));
        for (panel, (results, right)) in panels.enumerate() {
            let right = &right[first..end];
            for (group, results) in results.as_chunks_mut::<R>().0.iter_mut().enumerate() {
                let mut sums = [V::splat(0.0); R];
                match start {
                    Start::Zero => {}
                    Start::Biases(biases) => sums = [V::load(&biases[panel]); R],
                    Start::Results => {
                        for r in 0..R {
                            sums[r] = V::load(&results[r]);
                        }
                    }
                }
                let sums = tile::<V, R, G>(sums, left, rows, group * R, right);
                match finish {
                    Finish::Keep => {
                        for r in 0..R {
                            sums[r].store(&mut results[r]);
                        }
                    }
                    Finish::Activate(activation) => {
                        for r in 0..R {
                            activate(activation, sums[r]).store(&mut results[r]);
                        }
                    }
                    Finish::Slope(activation, y) => {
                        let y = &y[panel * rows + group * R..][..R];
                        for r in 0..R {
                            multiply_by_slope(activation, sums[r], V::load(&y[r]))
                                .store(&mut results[r]);
                        }
                    }
                }
            }
        }
    }
}

/// Adds the product of `R` rows of left, from `first` on, and a panel of right.
#[inline(always)]
fn tile<V: Vector, const R: usize, const G: usize>(
    mut sums: [V; R],
    left: &[[f32; G]],
    rows: usize,
    first: usize,
    right: &[Row],
) -> [V; R] {
    for (left, right) in left.chunks_exact(rows).zip(right.as_chunks::<G>().0) {
        let Some(left) = left[first..].first_chunk::<R>() else { break };
        for k in 0..G {
            let right = V::load(&right[k]);
            for r in 0..R {
                sums[r] = V::splat(left[r][k]).fma(right, sums[r]);
            }
        }
    }
    sums
}

/// The gradient of weights in panels of `depth` rows: `left' slopes`, a sum over `rows` samples. With
/// `add` it is added to what is there.
#[inline(always)]
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
        for (slopes, gradient) in slopes.chunks_exact(rows).zip(gradient.chunks_exact_mut(depth)) {
            let groups = gradient[first..end].as_chunks_mut::<G>().0;
            for (left, gradient) in left.chunks_exact(rows).zip(groups) {
                for (group, gradient) in gradient.as_chunks_mut::<R>().0.iter_mut().enumerate() {
                    let mut sums = [V::splat(0.0); R];
                    for (left, slopes) in left.iter().zip(slopes) {
                        let left = &left.as_chunks::<R>().0[group];
                        let slopes = V::load(slopes);
                        for r in 0..R {
                            sums[r] = V::splat(left[r]).fma(slopes, sums[r]);
                        }
                    }
                    for r in 0..R {
                        put(sums[r], &mut gradient[r], add);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn put<V: Vector>(sum: V, to: &mut Row, add: bool) {
    if add { V::load(to).add(sum) } else { sum }.store(to);
}

/// The gradient of biases: sums of the columns over `rows` samples, four at a time since an addition
/// takes some cycles.
#[inline(always)]
pub(super) fn sum_rows<V: Vector>(slopes: &[Row], rows: usize, gradient: &mut [Row], add: bool) {
    for (slopes, gradient) in slopes.chunks_exact(rows).zip(gradient) {
        let mut sums = [V::splat(0.0); 4];
        for four in slopes.as_chunks::<4>().0 {
            for r in 0..4 {
                sums[r] = sums[r].add(V::load(&four[r]));
            }
        }
        let [a, b, c, d] = sums;
        put(a.add(b).add(c.add(d)), gradient, add);
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

/// The way back through a last layer of at most `O` outputs: its gradient, and the derivatives before
/// the activation of what it read, from those with respect to the outputs, `[rows][O]`.
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
    let panels = hidden.chunks_exact(rows).zip(slopes.chunks_exact_mut(rows));
    for ((hidden, slopes), (weights, gradient)) in panels.zip(weights) {
        let mut sums = [V::splat(0.0); O];
        for ((hidden, slopes), d) in hidden.iter().zip(slopes).zip(derivative) {
            let y = V::load(hidden);
            let mut slope = V::splat(0.0);
            for o in 0..O {
                let d = V::splat(d[o]);
                slope = d.fma(V::load(&weights[o]), slope);
                sums[o] = d.fma(y, sums[o]);
            }
            multiply_by_slope(activation, slope, y).store(slopes);
        }
        for o in 0..O {
            put(sums[o], &mut gradient[o], add);
        }
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
