//! The policy's loss: a surrogate of the return around the policy that acted, with its derivative.

pub(super) mod flex;

use super::tensors::{Array, Expr, contiguous, flex_body, slice_of, tensor_of};
use crate::distribution::LN_2PI;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
use flex::Columns;

/// The distribution of actions that a network's outputs stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    /// The outputs are logits; an action is an index.
    Categorical,
    /// The outputs are means; an action is a vector.
    Gaussian,
    /// A Gaussian whose samples are squashed by tanh into a box.
    SquashedGaussian {
        /// Sum of the logarithms of the box's half-widths.
        ln_half_widths: f64,
    },
}

/// What a policy is to maximise: the mean over the samples of `ratio * advantage`, where `ratio` is
/// the action's probability over the one that it had under the policy that acted, and what keeps the
/// new policy close to the old one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// Nothing keeps it close (Schulman et al. 2015, equation 14).
    Plain,
    /// The incentive to move the ratio out of `[1 - range, 1 + range]` is taken away (Schulman et
    /// al. 2017, equation 7).
    Clipped {
        /// The clip range epsilon.
        range: f64,
    },
    /// `coef * KL(old, new)` is subtracted (Schulman et al. 2017, equation 8).
    Penalized {
        /// The coefficient beta.
        coef: f64,
    },
}

/// The terms of a policy's loss `-surrogate - entropy_coef * entropy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTerms {
    /// The kind of policy.
    pub family: Family,
    /// Index of the first log standard deviation in the parameter vector.
    pub log_std: usize,
    /// What is maximised.
    pub surrogate: Surrogate,
    /// Weight of the entropy bonus.
    pub entropy_coef: f64,
}

/// What [`surrogate_loss`] gives.
#[derive(Clone, Debug)]
pub struct SurrogateLoss {
    /// Means over the samples, `[5]`: see [`crate::PolicyMetrics`].
    pub metrics: Tensor<1>,
    /// Derivative of the loss with respect to the outputs, `[batch, out]`.
    pub outputs: Tensor<2>,
    /// Derivative of the loss with respect to the log standard deviations, `[width]`; of a
    /// categorical policy one number without meaning.
    pub log_std: Tensor<1>,
}

/// The loss of a policy with network outputs `[batch, out]` and parameters `[params]`, of which only
/// the log standard deviations are read. The rest belongs to the policy that acted: its parameters and
/// outputs, what it did (`[batch, 1]` indices of choices, or samples `[batch, width]` before clipping
/// or squashing), the log-probabilities `[batch, 1]` of that, and the advantages `[batch, 1]`.
///
/// A squashed Gaussian's entropy has no closed form: it is estimated by the mean of `-log_prob` of the
/// squashed action over the samples, which move along with the parameters (`x = mean + std * noise`),
/// so that the bonus has its true gradient.
///
/// ```
/// use agents::PolicyMetrics;
/// use agents::ops::{Family, LossTerms, Surrogate, surrogate_loss};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let one = |x: f32| Tensor::<2>::from_floats([[x]], &device);
/// let logits = Tensor::<2>::from_floats([[0.6_f32.ln(), 0.4_f32.ln()]], &device);
/// let old = Tensor::<2>::from_floats([[0.5_f32.ln(), 0.5_f32.ln()]], &device);
/// let terms = LossTerms {
///     family: Family::Categorical,
///     log_std: 0,
///     surrogate: Surrogate::Clipped { range: 0.1 },
///     entropy_coef: 0.0,
/// };
/// // Choice 0, which was good, has become 1.2 times as likely: more than 1.1 is not asked for.
/// let (none, good) = (Tensor::<1>::zeros([1], &device), one(2.0));
/// let old_log_prob = one(0.5_f32.ln());
/// let loss = surrogate_loss(logits, &none, &none, &old, &one(0.0), &old_log_prob, &good, terms);
/// let metrics = PolicyMetrics::read(loss.metrics)?;
/// assert!((metrics.policy_loss + 2.2).abs() < 1e-6 && metrics.clip_fraction == 1.0);
/// assert_eq!(loss.outputs.try_into_vec_as::<f32>().unwrap(), [0.0, 0.0]);
/// # Ok::<(), agents::AgentError>(())
/// ```
#[must_use]
#[allow(clippy::too_many_arguments)]
pub fn surrogate_loss(
    outputs: Tensor<2>,
    params: &Tensor<1>,
    old_params: &Tensor<1>,
    old_outputs: &Tensor<2>,
    actions: &Tensor<2>,
    log_probs: &Tensor<2>,
    advantages: &Tensor<2>,
    terms: LossTerms,
) -> SurrogateLoss {
    let (metrics, outputs, log_std) = <Dispatch as SurrogateOps>::surrogate_loss(
        outputs.into_dispatch(),
        params.clone().into_dispatch(),
        old_params.clone().into_dispatch(),
        old_outputs.clone().into_dispatch(),
        actions.clone().into_dispatch(),
        log_probs.clone().into_dispatch(),
        advantages.clone().into_dispatch(),
        terms,
    );
    SurrogateLoss {
        metrics: Tensor::from_dispatch(metrics),
        outputs: Tensor::from_dispatch(outputs),
        log_std: Tensor::from_dispatch(log_std),
    }
}

/// The loss of a policy. The default body serves every backend.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"), Cube: cfg(feature = "wgpu"))]
pub trait SurrogateOps: Backend {
    /// See [`surrogate_loss`].
    #[allow(clippy::too_many_arguments)]
    fn surrogate_loss(
        outputs: FloatTensor<Self>,
        params: FloatTensor<Self>,
        old_params: FloatTensor<Self>,
        old_outputs: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        log_probs: FloatTensor<Self>,
        advantages: FloatTensor<Self>,
        terms: LossTerms,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [outputs, old_outputs, actions, log_probs, advantages] =
            [outputs, old_outputs, actions, log_probs, advantages].map(Expr::<Self>);
        let along = Along { log_probs, advantages, surrogate: terms.surrogate };
        let (metrics, outputs, log_std) = match terms.family {
            Family::Categorical => categorical(outputs, &old_outputs, &actions, along, terms),
            Family::Gaussian | Family::SquashedGaussian { .. } => {
                let log_stds = [params, old_params].map(|params| {
                    let end = params.shape()[0];
                    Expr::<Self>(params).range(terms.log_std, end).reshape([1, end - terms.log_std])
                });
                gaussian(outputs, &old_outputs, &actions, log_stds, along, terms)
            }
        };
        (metrics.0, outputs.0, log_std.0)
    }
}

/// What the surrogate needs of the policy that acted, for the default body.
struct Along<B: Backend> {
    log_probs: Expr<B>,
    advantages: Expr<B>,
    surrogate: Surrogate,
}

/// The surrogate at new log-probabilities, for the default body; columns `[batch, 1]`.
struct At<B: Backend> {
    /// The surrogate of each sample, without its KL penalty.
    surrogate: Expr<B>,
    /// Its derivative with respect to the log-probability.
    slope: Expr<B>,
    /// Whether the ratio is out of the clip range, 1 or 0.
    is_outside: Expr<B>,
    /// `(ratio - 1) - ln ratio`
    approx_kl: Expr<B>,
}

impl<B: Backend> Along<B> {
    fn at(self, log_prob: Expr<B>) -> At<B> {
        let log_ratio = log_prob - self.log_probs;
        let ratio = log_ratio.clone().exp();
        let approx_kl = ratio.clone() + -1.0 - log_ratio;
        let unclipped = ratio.clone() * self.advantages.clone();
        let Surrogate::Clipped { range } = self.surrogate else {
            let none = unclipped.clone() * 0.0;
            let slope = unclipped.clone();
            return At { surrogate: unclipped, slope, is_outside: none, approx_kl };
        };
        let clipped = ratio.clone().clamp(1.0 - range, 1.0 + range) * self.advantages;
        let is_clipped = clipped.clone().below(unclipped.clone());
        let slope = unclipped.clone().erased(is_clipped.clone());
        let surrogate = unclipped.replaced(is_clipped, clipped);
        let bound = (ratio.clone() * 0.0) + range;
        let is_outside = bound.indicator_below((ratio + -1.0).abs());
        At { surrogate, slope, is_outside, approx_kl }
    }
}

impl Surrogate {
    fn kl_coef(self) -> f64 {
        match self {
            Surrogate::Plain | Surrogate::Clipped { .. } => 0.0,
            Surrogate::Penalized { coef } => coef,
        }
    }
}

/// Metrics `[5]` of the default body from columns and from the mean entropy `[1]`.
fn metrics<B: Backend>(
    surrogate: Expr<B>,
    entropy: Expr<B>,
    kl: Expr<B>,
    is_outside: Expr<B>,
    approx_kl: Expr<B>,
    kl_coef: f64,
) -> Expr<B> {
    let kl = kl.mean();
    let loss = kl.clone() * kl_coef - surrogate.mean();
    let means = [loss, entropy, is_outside.mean(), kl, approx_kl.mean()];
    Expr(B::float_cat(means.map(|mean| mean.0).to_vec(), 0))
}

fn categorical<B: Backend>(
    logits: Expr<B>,
    old_logits: &Expr<B>,
    actions: &Expr<B>,
    along: Along<B>,
    terms: LossTerms,
) -> (Expr<B>, Expr<B>, Expr<B>) {
    let [size, choices] = logits.shape();
    let kl_coef = terms.surrogate.kl_coef();
    let new = Expr::<B>(B::log_softmax(logits.0, 1));
    let old = Expr::<B>(B::log_softmax(old_logits.clone().0, 1));
    let (p, old_p) = (new.clone().exp(), old.clone().exp());
    // A column for each choice: 1 where it was taken, 0 elsewhere.
    let chosen = one_hot(actions, choices);
    let log_prob = (chosen.clone() * new.clone()).sum_of_rows();
    let entropy = -(p.clone() * new.clone()).sum_of_rows();
    let kl = (old_p.clone() * (old - new.clone())).sum_of_rows();
    let At { surrogate, slope, is_outside, approx_kl } = along.at(log_prob);
    let mut derivative = slope * (p.clone() - chosen) + (p.clone() - old_p) * kl_coef;
    if terms.entropy_coef > 0.0 {
        derivative = derivative + p * (new + entropy.clone()) * terms.entropy_coef;
    }
    let unused = entropy.clone().sum();
    let metrics = metrics(surrogate, entropy.mean(), kl, is_outside, approx_kl, kl_coef);
    (metrics, derivative * (1.0 / size as f64), unused)
}

/// `[batch, choices]`: 1 at each row's index `[batch, 1]`, 0 elsewhere.
fn one_hot<B: Backend>(indices: &Expr<B>, choices: usize) -> Expr<B> {
    let numbers: Vec<f32> = (0..choices).map(|choice| choice as f32).collect();
    let numbers = B::float_from_data(TensorData::new(numbers, [1, choices]), &indices.0.device());
    // Indices are whole numbers: two that differ by less than a half are equal.
    let distance = (Expr(numbers) - indices.clone()).abs();
    let half = distance.clone() * 0.0 + 0.5;
    distance.indicator_below(half)
}

fn gaussian<B: Backend>(
    mean: Expr<B>,
    old_mean: &Expr<B>,
    actions: &Expr<B>,
    [log_std, old_log_std]: [Expr<B>; 2],
    along: Along<B>,
    terms: LossTerms,
) -> (Expr<B>, Expr<B>, Expr<B>) {
    let [size, width] = mean.shape();
    let (kl_coef, entropy_coef) = (terms.surrogate.kl_coef(), terms.entropy_coef);
    let inverse = (-log_std.clone()).exp();
    let precision = inverse.clone().square();
    let distance = actions.clone() - mean.clone();
    let noise = distance.clone() * inverse.clone();
    let log_prob = (noise.clone().square() * -0.5 - log_std.clone() + -0.5 * LN_2PI).sum_of_rows();
    // KL(old, new) per sample: sum of ln(new / old) + (moved^2 + old variance) / (2 new variance) - 1/2.
    let moved = mean - old_mean.clone();
    let old_variance = (old_log_std.clone() * 2.0).exp();
    let spread = (moved.clone().square() + old_variance) * precision.clone();
    let kl = (spread.clone() * 0.5 + (log_std.clone() - old_log_std) + -0.5).sum_of_rows();
    let At { surrogate, slope, is_outside, approx_kl } = along.at(log_prob.clone());
    let mut along_mean =
        moved * precision * kl_coef - slope.clone() * noise.clone() * inverse.clone();
    let mut along_log_std =
        (-spread + 1.0) * kl_coef - slope * (noise.square() + -1.0) + -entropy_coef;
    let entropy = match terms.family {
        Family::SquashedGaussian { ln_half_widths } => {
            // ln of the slope of tanh, in a form that stays finite: 2 (ln 2 - |x| - ln(1 + e^-2|x|)).
            let magnitude = actions.clone().abs();
            let softplus = (magnitude.clone() * -2.0).exp().ln_1p();
            let log_slope = ((magnitude + softplus) * -2.0 + 2.0 * std::f64::consts::LN_2)
                .sum_of_rows()
                + ln_half_widths;
            let pull = actions.clone().tanh() * (2.0 * entropy_coef);
            along_mean = along_mean + pull.clone();
            along_log_std = along_log_std + pull * distance;
            (log_slope - log_prob).mean()
        }
        _ => (log_std + 0.5 * (LN_2PI + 1.0)).sum(),
    };
    let metrics = metrics(surrogate, entropy, kl, is_outside, approx_kl, kl_coef);
    let scale = 1.0 / size as f64;
    let log_std = (along_log_std * scale).sum_of_columns().reshape([width]);
    (metrics, along_mean * scale, log_std)
}

#[cfg(feature = "ndarray")]
impl SurrogateOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl SurrogateOps for burn::backend::Cube {}

impl SurrogateOps for Flex {
    fn surrogate_loss(
        outputs: Array,
        params: Array,
        old_params: Array,
        old_outputs: Array,
        actions: Array,
        log_probs: Array,
        advantages: Array,
        terms: LossTerms,
    ) -> (Array, Array, Array) {
        flex_body!("surrogate_loss");
        let arrays = [outputs, params, old_params, old_outputs, actions, log_probs, advantages]
            .map(contiguous);
        let [outputs, params, old_params, old_outputs, actions, log_probs, advantages] =
            arrays.each_ref().map(slice_of);
        let log_stds = terms.log_stds([params, old_params]);
        let columns = Columns { actions, log_probs, advantages, old_outputs };
        let mut derivative = vec![0.0; outputs.len()];
        let size = advantages.len();
        let mut sums = vec![0.0; flex::COUNT + log_stds[0].len()];
        flex::sums(terms, log_stds, outputs, &columns, size, &mut derivative, &mut sums);
        let (metrics, log_std) = flex::means(&sums, size, terms);
        let mut log_std: Vec<f32> = log_std.collect();
        if log_std.is_empty() {
            log_std.push(0.0);
        }
        let width = log_std.len();
        let shape = [advantages.len(), outputs.len() / advantages.len()];
        (
            tensor_of(metrics.to_vec(), [5]),
            tensor_of(derivative, shape),
            tensor_of(log_std, [width]),
        )
    }
}

impl LossTerms {
    /// The log standard deviations of these parameters; none of a categorical policy.
    pub(super) fn log_stds(self, params: [&[f32]; 2]) -> [&[f32]; 2] {
        match self.family {
            Family::Categorical => [&[]; 2],
            Family::Gaussian | Family::SquashedGaussian { .. } => {
                params.map(|params| &params[self.log_std..])
            }
        }
    }
}
