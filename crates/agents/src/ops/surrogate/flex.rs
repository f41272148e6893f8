//! The policy's loss on plain slices: chunks of samples, one sample after the other.

use super::{Family, LossTerms, Surrogate};
use crate::distribution::LN_2PI;
use crate::metrics::PolicyMetrics;
use crate::ops::chunks::{Samples, sum};

/// What the policy that acted did, a number or row per sample.
pub(super) struct Columns<'a> {
    pub(super) actions: &'a [f32],
    pub(super) log_probs: &'a [f32],
    pub(super) advantages: &'a [f32],
    pub(super) old_outputs: &'a [f32],
}

/// What a chunk reads: network outputs, actions, old outputs, log-probabilities, advantages; and writes:
/// the derivative with respect to the network's outputs.
type Chunk<'a> = Samples<'a, 5, 1>;

/// Metrics for network outputs `[samples][out]`, and the loss's derivative with respect to the log standard
/// deviations, of which the new and the old ones are given; writes the derivative with respect to the
/// outputs.
pub(super) fn loss(
    terms: LossTerms,
    [log_std, old_log_std]: [&[f32]; 2],
    outputs: &[f32],
    columns: &Columns<'_>,
    derivative: &mut [f32],
) -> ([f32; PolicyMetrics::COUNT], Vec<f32>) {
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
    let scale = 1.0 / size as f32;
    let mut sums = vec![0.0; Sums::COUNT + log_std.len().max(1)];
    match terms.family {
        Family::Categorical => sum(samples, &mut sums, &|chunk, sums| {
            Sums::default().of_categorical(chunk, terms, scale).write(sums);
        }),
        Family::Gaussian | Family::SquashedGaussian { .. } => {
            let gaussian = Gaussian::new(log_std, old_log_std, terms, scale);
            sum(samples, &mut sums, &|chunk, sums| {
                let (sums, along_log_std) = sums.split_at_mut(Sums::COUNT);
                Sums::default().of_gaussian(chunk, &gaussian, along_log_std).write(sums);
            });
        }
    }
    let (sums, along_log_std) = sums.split_at(Sums::COUNT);
    let log_std = along_log_std.iter().map(|&total| total as f32 * scale).collect();
    (Sums::read(sums).metrics(size, terms.surrogate.kl_coef()), log_std)
}

/// Sums over samples.
#[derive(Default)]
struct Sums {
    surrogate: f64,
    entropy: f64,
    outside: f64,
    kl: f64,
    approx_kl: f64,
}

impl Sums {
    /// How many they are.
    const COUNT: usize = 5;

    fn write(&self, sums: &mut [f64]) {
        let Sums { surrogate, entropy, outside, kl, approx_kl } = *self;
        sums[..Self::COUNT].copy_from_slice(&[surrogate, entropy, outside, kl, approx_kl]);
    }

    fn read(sums: &[f64]) -> Sums {
        let [surrogate, entropy, outside, kl, approx_kl] = std::array::from_fn(|index| sums[index]);
        Sums { surrogate, entropy, outside, kl, approx_kl }
    }

    /// Counts a sample; gives the derivative of its surrogate with respect to its log-probability.
    fn add(&mut self, log_ratio: f32, advantage: f32, surrogate: Surrogate) -> f32 {
        let ratio = log_ratio.exp();
        self.approx_kl += f64::from(ratio - 1.0 - log_ratio);
        let unclipped = ratio * advantage;
        let Surrogate::Clipped { range } = surrogate else {
            self.surrogate += f64::from(unclipped);
            return unclipped;
        };
        let range = range as f32;
        self.outside += f64::from((ratio - 1.0).abs() > range);
        let clipped = ratio.clamp(1.0 - range, 1.0 + range) * advantage;
        if clipped < unclipped {
            self.surrogate += f64::from(clipped);
            return 0.0;
        }
        self.surrogate += f64::from(unclipped);
        unclipped
    }

    fn metrics(&self, size: usize, kl_coef: f64) -> [f32; PolicyMetrics::COUNT] {
        let mean = |sum: f64| sum / size as f64;
        let metrics = PolicyMetrics {
            policy_loss: kl_coef * mean(self.kl) - mean(self.surrogate),
            entropy: mean(self.entropy),
            clip_fraction: mean(self.outside),
            kl: mean(self.kl),
            approx_kl: mean(self.approx_kl),
        };
        metrics.row()
    }

    /// A chunk of logits; writes the loss's derivative with respect to them.
    fn of_categorical(mut self, chunk: Chunk<'_>, terms: LossTerms, scale: f32) -> Sums {
        let [(logits, width), (actions, _), (old_logits, _), (log_probs, _), (advantages, _)] =
            chunk.read;
        let [(derivatives, _)] = chunk.written;
        let kl_coef = terms.surrogate.kl_coef() as f32;
        let entropy_coef = terms.entropy_coef as f32;
        let rows = logits.chunks_exact(width).zip(old_logits.chunks_exact(width));
        let rows = rows.zip(derivatives.chunks_exact_mut(width));
        for (i, ((logits, old), derivative)) in rows.enumerate() {
            let choice = actions[i] as usize;
            let (log_total, old_log_total) = (log_sum_exp(logits), log_sum_exp(old));
            let log_ratio = logits[choice] - log_total - log_probs[i];
            let slope = self.add(log_ratio, advantages[i], terms.surrogate);
            let (mut entropy, mut kl) = (0.0, 0.0);
            for ((derivative, logit), old) in derivative.iter_mut().zip(logits).zip(old) {
                let (log_p, old_log_p) = (logit - log_total, old - old_log_total);
                let (p, old_p) = (log_p.exp(), old_log_p.exp());
                entropy -= p * log_p;
                kl += old_p * (old_log_p - log_p);
                *derivative = slope * p + kl_coef * (p - old_p);
            }
            derivative[choice] -= slope;
            for (derivative, logit) in derivative.iter_mut().zip(logits) {
                if entropy_coef > 0.0 {
                    let log_p = logit - log_total;
                    *derivative += entropy_coef * log_p.exp() * (log_p + entropy);
                }
                *derivative *= scale;
            }
            self.entropy += f64::from(entropy);
            self.kl += f64::from(kl);
        }
        self
    }

    /// A chunk of means; writes the loss's derivative with respect to them, and the sum of those with
    /// respect to the log standard deviations.
    fn of_gaussian(mut self, chunk: Chunk<'_>, gaussian: &Gaussian, along: &mut [f64]) -> Sums {
        let [(means, width), (actions, _), (old_means, _), (log_probs, _), (advantages, _)] =
            chunk.read;
        let [(derivatives, _)] = chunk.written;
        let Gaussian { inverse, old_variance, constant, shift, .. } = gaussian;
        let Gaussian { terms, ln_half_widths, scale, .. } = *gaussian;
        let kl_coef = terms.surrogate.kl_coef() as f32;
        let entropy_coef = terms.entropy_coef as f32;
        let rows = means.chunks_exact(width).zip(actions.chunks_exact(width));
        let rows = rows.zip(old_means.chunks_exact(width));
        let rows = rows.zip(derivatives.chunks_exact_mut(width));
        for (i, (((means, actions), old), derivative)) in rows.enumerate() {
            let squares: f32 = means
                .iter()
                .zip(actions)
                .zip(inverse)
                .map(|((mean, action), inverse)| ((action - mean) * inverse).powi(2))
                .sum();
            let log_prob = -0.5 * squares - constant;
            let slope = self.add(log_prob - log_probs[i], advantages[i], terms.surrogate);
            let mut kl = *shift;
            // A Gaussian's entropy has a closed form; a squashed one's is estimated by its samples.
            let mut entropy = match ln_half_widths {
                Some(ln_half_widths) => ln_half_widths - log_prob,
                None => constant + 0.5 * width as f32,
            };
            for d in 0..width {
                let distance = actions[d] - means[d];
                let noise = distance * inverse[d];
                let precision = inverse[d] * inverse[d];
                let moved = means[d] - old[d];
                let spread = (moved * moved + old_variance[d]) * precision;
                kl += 0.5 * spread;
                let mut along_mean = kl_coef * moved * precision - slope * noise * inverse[d];
                let mut along_log_std =
                    kl_coef * (1.0 - spread) - slope * (noise * noise - 1.0) - entropy_coef;
                if ln_half_widths.is_some() {
                    let magnitude = actions[d].abs();
                    let softplus = (-2.0 * magnitude).exp().ln_1p();
                    entropy += 2.0 * (std::f32::consts::LN_2 - magnitude - softplus);
                    if entropy_coef > 0.0 {
                        let pull = 2.0 * entropy_coef * actions[d].tanh();
                        along_mean += pull;
                        along_log_std += pull * distance;
                    }
                }
                derivative[d] = along_mean * scale;
                along[d] += f64::from(along_log_std);
            }
            self.kl += f64::from(kl);
            self.entropy += f64::from(entropy);
        }
        self
    }
}

/// What is the same for every sample of a Gaussian.
struct Gaussian {
    /// Reciprocals of the deviations.
    inverse: Vec<f32>,
    old_variance: Vec<f32>,
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

/// `ln sum exp x`
fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
}
