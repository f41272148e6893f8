//! The policy's loss on plain slices: chunks of samples, sixteen side by side.

use super::{Family, LossTerms, Surrogate};
use crate::distribution::LN_2PI;
use crate::metrics::PolicyMetrics;
use crate::ops::chunks::{Samples, sum};
use crate::ops::kernel::vectorized;
use crate::ops::lanes::{LANES, Lanes, Total, each, exp, ln, load, store};
use smallvec::SmallVec;

/// What the policy that acted did, a number or row per sample.
pub struct Columns<'a> {
    pub actions: &'a [f32],
    pub log_probs: &'a [f32],
    pub advantages: &'a [f32],
    pub old_outputs: &'a [f32],
}

/// What a chunk reads: network outputs, actions, old outputs, log-probabilities, advantages; and writes:
/// the derivative with respect to the network's outputs.
type Chunk<'a> = Samples<'a, 5, 1>;

/// How many sums the metrics are made of.
pub const COUNT: usize = 5;

/// Writes sums over samples with network outputs `[samples][out]`, where the new and the old log standard deviations
/// are these: those of the metrics ([`COUNT`]), then the loss's derivatives with respect to the log standard deviations.
/// Writes the loss's derivative with respect to the outputs, too. The loss is a mean over `of` samples, of which these
/// are some.
pub fn sums(
    terms: LossTerms,
    [log_std, old_log_std]: [&[f32]; 2],
    outputs: &[f32],
    columns: &Columns<'_>,
    of: usize,
    derivative: &mut [f32],
    sums: &mut [f64],
) {
    let Columns { actions, log_probs, advantages, old_outputs } = columns;
    let size = advantages.len();
    let width = outputs.len() / size;
    let samples = Samples::new(
        size,
        20 + 10 * width,
        [
            (outputs, width),
            (actions, actions.len() / size),
            (old_outputs, width),
            (log_probs, 1),
            (advantages, 1),
        ],
        [(derivative, width)],
    );
    let scale = 1.0 / of as f32;
    match terms.family {
        Family::Categorical => sum(samples, sums, &|chunk, sums| {
            categorical(chunk, terms, scale, sums);
        }),
        Family::Gaussian | Family::SquashedGaussian { .. } => {
            let common = Gaussian::new(log_std, old_log_std, terms, scale);
            sum(samples, sums, &|chunk, sums| gaussian(chunk, &common, sums));
        }
    }
}

/// The metrics that the sums of all `of` samples give, and the loss's derivative with respect to each log standard
/// deviation.
pub fn means(
    sums: &[f64],
    of: usize,
    terms: LossTerms,
) -> ([f32; PolicyMetrics::COUNT], impl Iterator<Item = f32> + '_) {
    let (sums, along) = sums.split_at(COUNT);
    let along = along.iter().map(move |total| *total as f32 * (1.0 / of as f32));
    (Sums::metrics(sums, of, terms.surrogate.kl_coef()), along)
}

/// Sums over samples.
#[derive(Default)]
struct Sums {
    surrogate: Total,
    entropy: Total,
    outside: Total,
    kl: Total,
    approx_kl: Total,
}

impl Sums {
    fn write(self, sums: &mut [f64]) {
        let Sums { surrogate, entropy, outside, kl, approx_kl } = self;
        let totals = [surrogate, entropy, outside, kl, approx_kl];
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total.get());
    }

    /// Metrics of so many samples with these sums.
    fn metrics(sums: &[f64], size: usize, kl_coef: f64) -> [f32; PolicyMetrics::COUNT] {
        let [surrogate, entropy, clip_fraction, kl, approx_kl] =
            std::array::from_fn(|index| sums[index] / size as f64);
        let policy_loss = kl_coef * kl - surrogate;
        PolicyMetrics { policy_loss, entropy, clip_fraction, kl, approx_kl }.row()
    }

    /// Counts samples; gives the derivative of their surrogate with respect to their log-probability.
    #[inline(always)]
    fn add(
        &mut self,
        log_ratio: &Lanes,
        advantage: &Lanes,
        surrogate: Surrogate,
        count: usize,
    ) -> Lanes {
        let ratio = each(|l| exp(log_ratio[l]));
        self.approx_kl.add(&each(|l| ratio[l] - 1.0 - log_ratio[l]), count);
        let unclipped = each(|l| ratio[l] * advantage[l]);
        let Surrogate::Clipped { range } = surrogate else {
            self.surrogate.add(&unclipped, count);
            return unclipped;
        };
        let range = range as f32;
        self.outside.add(&each(|l| f32::from((ratio[l] - 1.0).abs() > range)), count);
        let clipped = each(|l| ratio[l].clamp(1.0 - range, 1.0 + range) * advantage[l]);
        let taken = each(|l| if clipped[l] < unclipped[l] { clipped[l] } else { unclipped[l] });
        self.surrogate.add(&taken, count);
        each(|l| if clipped[l] < unclipped[l] { 0.0 } else { unclipped[l] })
    }
}

vectorized! {
    /// A chunk of logits: its sums, and the loss's derivative with respect to them.
    categorical = categorical_body(
        chunk: Chunk<'_>, terms: LossTerms, scale: f32, sums: &mut [f64],
    )
}

vectorized! {
    /// A chunk of means: its sums, among them the derivative with respect to the log standard deviations,
    /// and the loss's derivative with respect to the means.
    gaussian = gaussian_body(chunk: Chunk<'_>, common: &Gaussian, sums: &mut [f64])
}

/// Some samples of a chunk.
struct Few<'a> {
    /// Network outputs, actions and old outputs: rows of so many numbers.
    rows: [(&'a [f32], usize); 3],
    old_log_prob: Lanes,
    advantage: Lanes,
    /// How many they are.
    count: usize,
}

impl<'a> Few<'a> {
    /// As many as there are lanes, from `first` on.
    #[inline(always)]
    fn of(chunk: &Chunk<'a>, first: usize) -> Few<'a> {
        let [outputs, actions, old_outputs, (log_probs, _), (advantages, _)] = chunk.read;
        let count = LANES.min(advantages.len() - first);
        let rows = [
            rows_from(outputs, first, count),
            rows_from(actions, first, count),
            rows_from(old_outputs, first, count),
        ];
        let old_log_prob = load(&log_probs[first..first + count], 1, 0, count);
        let advantage = load(&advantages[first..first + count], 1, 0, count);
        Few { rows, old_log_prob, advantage, count }
    }
}

#[inline(always)]
fn rows_from((rows, width): (&[f32], usize), first: usize, count: usize) -> (&[f32], usize) {
    (&rows[first * width..(first + count) * width], width)
}

#[inline(always)]
fn categorical_body(chunk: Chunk<'_>, terms: LossTerms, scale: f32, sums: &mut [f64]) {
    // Loops over a number of choices that is known become a few instructions.
    match chunk.read[0].1 {
        2 => logits_of(2, chunk, terms, scale, sums),
        3 => logits_of(3, chunk, terms, scale, sums),
        4 => logits_of(4, chunk, terms, scale, sums),
        width => logits_of(width, chunk, terms, scale, sums),
    }
}

#[inline(always)]
fn logits_of(width: usize, chunk: Chunk<'_>, terms: LossTerms, scale: f32, sums: &mut [f64]) {
    let (kl_coef, entropy_coef) = (terms.surrogate.kl_coef() as f32, terms.entropy_coef as f32);
    let mut totals = Sums::default();
    let size = chunk.read[4].0.len();
    for first in (0..size).step_by(LANES) {
        let Few { rows, old_log_prob, advantage, count } = Few::of(&chunk, first);
        let [(logits, _), (actions, _), (old_logits, _)] = rows;
        let log_total = log_sum_exp(logits, width, count);
        let old_log_total = log_sum_exp(old_logits, width, count);
        let mut chosen = [0.0; LANES];
        for (l, row) in logits.chunks_exact(width).enumerate() {
            chosen[l] = row[actions[l] as usize];
        }
        let log_ratio = each(|l| chosen[l] - log_total[l] - old_log_prob[l]);
        let slope = totals.add(&log_ratio, &advantage, terms.surrogate, count);
        let derivative = &mut *chunk.written[0].0;
        let derivative = &mut derivative[first * width..(first + count) * width];
        let (mut entropy, mut kl) = ([0.0; LANES], [0.0; LANES]);
        for c in 0..width {
            let logit = load(logits, width, c, count);
            let old = load(old_logits, width, c, count);
            let log_p = each(|l| logit[l] - log_total[l]);
            let old_log_p = each(|l| old[l] - old_log_total[l]);
            let (p, old_p) = (each(|l| exp(log_p[l])), each(|l| exp(old_log_p[l])));
            entropy = each(|l| entropy[l] - p[l] * log_p[l]);
            kl = each(|l| kl[l] + old_p[l] * (old_log_p[l] - log_p[l]));
            let along = each(|l| slope[l] * p[l] + kl_coef * (p[l] - old_p[l]));
            store(&along, derivative, width, c, count);
        }
        for (l, row) in derivative.chunks_exact_mut(width).enumerate() {
            row[actions[l] as usize] -= slope[l];
        }
        for c in 0..width {
            let mut along = load(derivative, width, c, count);
            if entropy_coef > 0.0 {
                let logit = load(logits, width, c, count);
                let log_p = each(|l| logit[l] - log_total[l]);
                along = each(|l| along[l] + entropy_coef * exp(log_p[l]) * (log_p[l] + entropy[l]));
            }
            store(&each(|l| along[l] * scale), derivative, width, c, count);
        }
        totals.entropy.add(&entropy, count);
        totals.kl.add(&kl, count);
    }
    totals.write(sums);
}

/// `ln sum exp x` of each row.
#[inline(always)]
fn log_sum_exp(rows: &[f32], width: usize, count: usize) -> Lanes {
    let mut max = [f32::NEG_INFINITY; LANES];
    for c in 0..width {
        let x = load(rows, width, c, count);
        max = each(|l| max[l].max(x[l]));
    }
    let mut total = [0.0; LANES];
    for c in 0..width {
        let x = load(rows, width, c, count);
        total = each(|l| total[l] + exp(x[l] - max[l]));
    }
    each(|l| max[l] + ln(total[l]))
}

#[inline(always)]
fn gaussian_body(chunk: Chunk<'_>, common: &Gaussian, sums: &mut [f64]) {
    match chunk.read[0].1 {
        1 => means_of(1, chunk, common, sums),
        2 => means_of(2, chunk, common, sums),
        width => means_of(width, chunk, common, sums),
    }
}

#[inline(always)]
fn means_of(width: usize, chunk: Chunk<'_>, common: &Gaussian, sums: &mut [f64]) {
    let Gaussian { inverse, old_variance, .. } = common;
    let Gaussian { constant, shift, terms, ln_half_widths, scale, .. } = *common;
    let (kl_coef, entropy_coef) = (terms.surrogate.kl_coef() as f32, terms.entropy_coef as f32);
    let (sums, along_log_std) = sums.split_at_mut(COUNT);
    let mut totals = Sums::default();
    let size = chunk.read[4].0.len();
    for first in (0..size).step_by(LANES) {
        let Few { rows, old_log_prob, advantage, count } = Few::of(&chunk, first);
        let [(means, _), (actions, _), (old_means, _)] = rows;
        let mut squares = [0.0; LANES];
        for (d, inverse) in inverse.iter().enumerate() {
            let (mean, action) = (load(means, width, d, count), load(actions, width, d, count));
            let noise = each(|l| (action[l] - mean[l]) * inverse);
            squares = each(|l| squares[l] + noise[l] * noise[l]);
        }
        let log_prob = each(|l| -0.5 * squares[l] - constant);
        let log_ratio = each(|l| log_prob[l] - old_log_prob[l]);
        let slope = totals.add(&log_ratio, &advantage, terms.surrogate, count);
        let mut kl = [shift; LANES];
        // A Gaussian's entropy has a closed form; a squashed one's is estimated by its samples.
        let mut entropy = match ln_half_widths {
            Some(ln_half_widths) => each(|l| ln_half_widths - log_prob[l]),
            None => [constant + 0.5 * width as f32; LANES],
        };
        let derivative = &mut *chunk.written[0].0;
        let derivative = &mut derivative[first * width..(first + count) * width];
        for d in 0..width {
            let (mean, action) = (load(means, width, d, count), load(actions, width, d, count));
            let old_mean = load(old_means, width, d, count);
            let (inverse, old_variance) = (inverse[d], old_variance[d]);
            let precision = inverse * inverse;
            let distance = each(|l| action[l] - mean[l]);
            let noise = each(|l| distance[l] * inverse);
            let moved = each(|l| mean[l] - old_mean[l]);
            let spread = each(|l| (moved[l] * moved[l] + old_variance) * precision);
            kl = each(|l| kl[l] + 0.5 * spread[l]);
            let mut along_mean =
                each(|l| kl_coef * moved[l] * precision - slope[l] * noise[l] * inverse);
            let mut along = each(|l| {
                let by_spread = kl_coef * (1.0 - spread[l]);
                by_spread - slope[l] * (noise[l] * noise[l] - 1.0) - entropy_coef
            });
            if ln_half_widths.is_some() {
                let decay = each(|l| exp(-2.0 * action[l].abs()));
                entropy = each(|l| {
                    let log_slope = std::f32::consts::LN_2 - action[l].abs() - ln(1.0 + decay[l]);
                    entropy[l] + 2.0 * log_slope
                });
                if entropy_coef > 0.0 {
                    let pull = each(|l| {
                        let tanh = (1.0 - decay[l]) / (1.0 + decay[l]);
                        2.0 * entropy_coef * tanh.copysign(action[l])
                    });
                    along_mean = each(|l| along_mean[l] + pull[l]);
                    along = each(|l| along[l] + pull[l] * distance[l]);
                }
            }
            store(&each(|l| along_mean[l] * scale), derivative, width, d, count);
            let mut total = Total::default();
            total.add(&along, count);
            along_log_std[d] += total.get();
        }
        totals.entropy.add(&entropy, count);
        totals.kl.add(&kl, count);
    }
    totals.write(sums);
}

/// What is the same for every sample of a Gaussian.
struct Gaussian {
    /// Reciprocals of the deviations.
    inverse: SmallVec<[f32; 32]>,
    old_variance: SmallVec<[f32; 32]>,
    /// The part of the negative log-probability, and of the entropy, that the deviations give.
    constant: f32,
    /// The part of the KL.
    shift: f32,
    /// Of a squashed one.
    ln_half_widths: Option<f32>,
    terms: LossTerms,
    scale: f32,
}

impl Gaussian {
    fn new(log_std: &[f32], old_log_std: &[f32], terms: LossTerms, scale: f32) -> Gaussian {
        Gaussian {
            inverse: log_std.iter().map(|s| (-s).exp()).collect(),
            old_variance: old_log_std.iter().map(|s| (2.0 * s).exp()).collect(),
            constant: log_std.iter().map(|s| s + 0.5 * LN_2PI as f32).sum(),
            shift: log_std.iter().zip(old_log_std).map(|(new, old)| new - old - 0.5).sum(),
            ln_half_widths: match terms.family {
                Family::SquashedGaussian { ln_half_widths } => Some(ln_half_widths as f32),
                _ => None,
            },
            terms,
            scale,
        }
    }
}
