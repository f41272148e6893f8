//! The innermost loop of the updates on Burn's CPU backend `flex`.
//!
//! Each function does in one pass over plain slices what its namesake spells out in tensor
//! operations: [`crate::ppo::policy_gradient`], [`crate::critic::value_gradient`],
//! [`crate::samples::normalized`], [`crate::adam::clip`] and [`crate::adam::Adam::step`]. It gives
//! `None` when the tensors live on another backend. Sums over samples run in order, in f64.

use crate::distribution::{Actions, LN_2PI};
use crate::kernel;
use crate::network::{Mlp, Network, Scratch};
use crate::policy::Policy;
use crate::ppo::Proximity;
use crate::samples::Samples;
use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::kind::Basic;
use burn::tensor::{BackendPrimitive, DType, Int, Tensor, TensorData};
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<(Scratch, Vec<f32>)> = RefCell::default();
}

/// A tensor on `flex`, whatever kind of numbers it holds.
type Array = FloatTensor<Flex>;

/// The tensor on `flex`, contiguous.
fn flex<const D: usize, K>(tensor: &Tensor<D, K>) -> Option<Array>
where
    K: Basic + BackendPrimitive<Flex, Primitive = Array>,
{
    let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
    Some(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
}

/// The numbers of a column on `flex`, whatever its integers' width.
fn indices(column: &Tensor<2, Int>) -> Option<Vec<usize>> {
    let column = flex(column)?;
    match (column.as_slice::<i64>(), column.as_slice::<i32>()) {
        (Some(numbers), _) => Some(numbers.iter().map(|&number| number as usize).collect()),
        (_, Some(numbers)) => Some(numbers.iter().map(|&number| number as usize).collect()),
        _ => None,
    }
}

fn tensor(numbers: Vec<f32>, like: &Tensor<1>) -> Tensor<1> {
    let size = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [size]), &like.device())
}

/// Figures `[5]` and gradient `[params]` of PPO's policy loss; see [`crate::ppo::policy_gradient`].
pub(crate) fn policy_gradient(
    policy: &Policy,
    params: &Tensor<1>,
    old_params: &Tensor<1>,
    samples: &Samples,
    proximity: Proximity,
    entropy_coef: f64,
) -> Option<(Tensor<1>, Tensor<1>)> {
    let [parameters, old_parameters] = [flex(params)?, flex(old_params)?];
    let observations = flex(&samples.observations)?;
    let [log_probs, old_outputs] = [flex(&samples.log_probs)?, flex(&samples.outputs)?];
    let advantages = flex(&samples.advantages)?;
    let (parameters, old_parameters) = (parameters.as_slice()?, old_parameters.as_slice()?);
    let (weights, log_std) = parameters.split_at(policy.network().num_params());
    let minibatch = Minibatch {
        log_probs: log_probs.as_slice()?,
        advantages: advantages.as_slice()?,
        old_outputs: old_outputs.as_slice()?,
        proximity,
        entropy_coef: entropy_coef as f32,
    };
    let mut gradient = vec![0.0; parameters.len()];
    let (weights_gradient, log_std_gradient) = gradient.split_at_mut(weights.len());
    let figures = SCRATCH.with_borrow_mut(|(scratch, derivative)| {
        let observations = observations.as_slice()?;
        let outputs = policy.network().forward_plain(weights, observations, scratch);
        derivative.resize(outputs.len(), 0.0);
        let figures = match &samples.actions {
            Actions::Discrete(choices) => {
                minibatch.categorical(outputs, &indices(choices)?, derivative)
            }
            Actions::Continuous(actions) => {
                let gaussian = Gaussian {
                    log_std,
                    old_log_std: &old_parameters[weights.len()..],
                    half: policy.half_widths(),
                };
                let actions = flex(actions)?;
                let actions = actions.as_slice()?;
                minibatch.gaussian(&gaussian, outputs, actions, derivative, log_std_gradient)
            }
        };
        let network = policy.network();
        network.backward_plain(weights, observations, derivative, weights_gradient, scratch);
        Some(figures)
    })?;
    Some((tensor(figures, params), tensor(gradient, params)))
}

/// One minibatch's columns, one number or row per sample, and the terms of the loss.
struct Minibatch<'a> {
    log_probs: &'a [f32],
    advantages: &'a [f32],
    old_outputs: &'a [f32],
    proximity: Proximity,
    entropy_coef: f32,
}

/// What a Gaussian policy has beside its means.
struct Gaussian<'a> {
    log_std: &'a [f32],
    old_log_std: &'a [f32],
    /// Half-widths of the box that actions are squashed into.
    half: Option<&'a [f32]>,
}

/// Sums over the samples.
#[derive(Default)]
struct Sums {
    objective: f64,
    entropy: f64,
    outside: usize,
    kl: f64,
    approx_kl: f64,
}

impl Sums {
    /// Counts a sample; gives the derivative of its surrogate with respect to its log-probability.
    fn add(&mut self, log_ratio: f32, advantage: f32, proximity: Proximity) -> f32 {
        let ratio = log_ratio.exp();
        self.approx_kl += f64::from(ratio - 1.0 - log_ratio);
        let unclipped = ratio * advantage;
        let Proximity::Clip { range } = proximity else {
            self.objective += f64::from(unclipped);
            return unclipped;
        };
        let range = range as f32;
        self.outside += usize::from((ratio - 1.0).abs() > range);
        let clipped = ratio.clamp(1.0 - range, 1.0 + range) * advantage;
        if clipped < unclipped {
            self.objective += f64::from(clipped);
            return 0.0;
        }
        self.objective += f64::from(unclipped);
        unclipped
    }
}

impl Minibatch<'_> {
    fn kl_coef(&self) -> f32 {
        match self.proximity {
            Proximity::Clip { .. } => 0.0,
            Proximity::KlPenalty { coef } => coef as f32,
        }
    }

    /// Means, in the order of [`crate::ppo::policy_gradient`]'s figures.
    fn figures(&self, sums: &Sums) -> Vec<f32> {
        let size = self.advantages.len() as f64;
        let kl = sums.kl / size;
        let objective = match self.proximity {
            Proximity::Clip { .. } => sums.objective / size,
            Proximity::KlPenalty { coef } => sums.objective / size - coef * kl,
        };
        let figures = [
            -objective,
            sums.entropy / size,
            sums.outside as f64 / size,
            kl,
            sums.approx_kl / size,
        ];
        figures.map(|figure| figure as f32).to_vec()
    }

    /// Figures for logits `[samples][n]`; writes the loss's derivative with respect to them.
    fn categorical(&self, logits: &[f32], choices: &[usize], derivative: &mut [f32]) -> Vec<f32> {
        let width = logits.len() / self.advantages.len();
        let scale = 1.0 / self.advantages.len() as f32;
        let kl_coef = self.kl_coef();
        let mut sums = Sums::default();
        for (i, &choice) in choices.iter().enumerate() {
            let row = i * width..(i + 1) * width;
            let (logits, old) = (&logits[row.clone()], &self.old_outputs[row.clone()]);
            let derivative = &mut derivative[row];
            let (log_total, old_log_total) = (log_sum_exp(logits), log_sum_exp(old));
            let log_ratio = logits[choice] - log_total - self.log_probs[i];
            let slope = sums.add(log_ratio, self.advantages[i], self.proximity);
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
                if self.entropy_coef > 0.0 {
                    let log_p = logit - log_total;
                    *derivative += self.entropy_coef * log_p.exp() * (log_p + entropy);
                }
                *derivative *= scale;
            }
            sums.entropy += f64::from(entropy);
            sums.kl += f64::from(kl);
        }
        self.figures(&sums)
    }

    /// Figures for means `[samples][width]`; writes the loss's derivatives with respect to them and
    /// to the log standard deviations.
    fn gaussian(
        &self,
        gaussian: &Gaussian<'_>,
        means: &[f32],
        actions: &[f32],
        derivative: &mut [f32],
        log_std_derivative: &mut [f32],
    ) -> Vec<f32> {
        let Gaussian { log_std, old_log_std, half } = *gaussian;
        let width = log_std.len();
        let scale = 1.0 / self.advantages.len() as f32;
        let (kl_coef, entropy_coef) = (self.kl_coef(), self.entropy_coef);
        let inverse: Vec<f32> = log_std.iter().map(|s| (-s).exp()).collect();
        let old_variance: Vec<f32> = old_log_std.iter().map(|s| (2.0 * s).exp()).collect();
        // Of the log-probability, of the KL and of the entropy: what no sample changes.
        let constant: f32 = log_std.iter().map(|s| s + 0.5 * LN_2PI as f32).sum();
        let shift: f32 = log_std.iter().zip(old_log_std).map(|(new, old)| new - old - 0.5).sum();
        let box_entropy: f32 = half.map_or(0.0, |half| half.iter().map(|half| half.ln()).sum());
        let mut totals = vec![0.0_f64; width];
        let mut sums = Sums::default();
        for (i, (&advantage, old_log_prob)) in
            self.advantages.iter().zip(self.log_probs).enumerate()
        {
            let row = i * width..(i + 1) * width;
            let (means, actions) = (&means[row.clone()], &actions[row.clone()]);
            let (old, derivative) = (&self.old_outputs[row.clone()], &mut derivative[row]);
            let squares: f32 = means
                .iter()
                .zip(actions)
                .zip(&inverse)
                .map(|((mean, action), inverse)| ((action - mean) * inverse).powi(2))
                .sum();
            let log_prob = -0.5 * squares - constant;
            let slope = sums.add(log_prob - old_log_prob, advantage, self.proximity);
            let mut kl = shift;
            // Of a Gaussian in closed form; of a squashed one by its samples.
            let mut entropy =
                if half.is_some() { box_entropy - log_prob } else { constant + 0.5 * width as f32 };
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
                if half.is_some() {
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
                totals[d] += f64::from(along_log_std);
            }
            sums.kl += f64::from(kl);
            sums.entropy += f64::from(entropy);
        }
        for (derivative, total) in log_std_derivative.iter_mut().zip(&totals) {
            *derivative = *total as f32 * scale;
        }
        self.figures(&sums)
    }
}

/// `ln sum exp x`
fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
}

/// Loss `[1]` and gradient `[params]` of the critic; see [`crate::critic::value_gradient`].
pub(crate) fn value_gradient(
    network: &Mlp,
    params: &Tensor<1>,
    samples: &Samples,
    clip_range: Option<f64>,
    coef: f64,
) -> Option<(Tensor<1>, Tensor<1>)> {
    let [weights, observations] = [flex(params)?, flex(&samples.observations)?];
    let [returns, old_values] = [flex(&samples.returns)?, flex(&samples.values)?];
    let (weights, observations) = (weights.as_slice()?, observations.as_slice()?);
    let (returns, old_values) = (returns.as_slice::<f32>()?, old_values.as_slice::<f32>()?);
    let mut gradient = vec![0.0; weights.len()];
    let loss = SCRATCH.with_borrow_mut(|(scratch, derivative)| {
        let values = network.forward_plain(weights, observations, scratch);
        derivative.resize(values.len(), 0.0);
        let scale = 2.0 * coef as f32 / values.len() as f32;
        let mut sum = 0.0;
        for (i, derivative) in derivative.iter_mut().enumerate() {
            let mut error = values[i] - returns[i];
            let mut slope = error;
            if let Some(range) = clip_range {
                let moved = values[i] - old_values[i];
                let kept = moved.clamp(-range as f32, range as f32);
                let clipped = old_values[i] + kept - returns[i];
                if clipped * clipped > error * error {
                    error = clipped;
                    slope = if kept == moved { clipped } else { 0.0 };
                }
            }
            sum += f64::from(error * error);
            *derivative = scale * slope;
        }
        let loss = sum / values.len() as f64;
        network.backward_plain(weights, observations, derivative, &mut gradient, scratch);
        loss as f32
    });
    Some((tensor(vec![loss], params), tensor(gradient, params)))
}

/// See [`crate::samples::normalized`].
pub(crate) fn normalized(column: &Tensor<2>) -> Option<Tensor<2>> {
    let numbers = flex(column)?;
    let numbers = numbers.as_slice::<f32>()?;
    let size = numbers.len();
    let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / size as f64;
    let squares: f64 = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    let scale = 1.0 / ((squares / (size - 1) as f64).sqrt() + 1e-8);
    let scaled: Vec<f32> =
        numbers.iter().map(|&x| ((f64::from(x) - mean) * scale) as f32).collect();
    Some(Tensor::from_data(TensorData::new(scaled, [size, 1]), &column.device()))
}

/// Norm and scale `[1]`; see [`crate::adam::clip`].
pub(crate) fn clip(gradients: [&Tensor<1>; 2], max_norm: f64) -> Option<(Tensor<1>, Tensor<1>)> {
    let [first, second] = [flex(gradients[0])?, flex(gradients[1])?];
    let squares = [first.as_slice()?, second.as_slice()?].map(kernel::sum_of_squares);
    let norm = (squares[0] + squares[1]).sqrt();
    let scale = (max_norm / (norm + 1e-6)).min(1.0);
    // `min` would hide a norm that is not a number.
    let scale = if norm.is_nan() { norm } else { scale };
    let like = gradients[0];
    Some((tensor(vec![norm as f32], like), tensor(vec![scale as f32], like)))
}

/// Moves the parameters, the first and the second moment in place; see [`crate::adam::Adam::step`].
pub(crate) fn adam(
    [params, first, second]: [&mut Tensor<1>; 3],
    gradient: &Tensor<1>,
    scale: &Tensor<1>,
    step: kernel::AdamStep,
) -> Option<()> {
    let (slope, scale) = (flex(gradient)?, flex(scale)?);
    let (slope, scale) = (slope.as_slice()?, scale.as_slice()?[0]);
    // Leaving the gradient in its place makes each vector's memory this function's own.
    let take = |tensor: &mut Tensor<1>| {
        std::mem::replace(tensor, gradient.clone()).try_into_primitive::<Flex>().ok()
    };
    let (mut p, mut m, mut v) = (take(params)?, take(first)?, take(second)?);
    kernel::adam(p.storage_mut(), m.storage_mut(), v.storage_mut(), slope, scale, step);
    for (tensor, moved) in [(params, p), (first, m), (second, v)] {
        *tensor = Tensor::from_primitive::<Flex>(moved);
    }
    Some(())
}

/// Some rows of a column, in this order.
pub(crate) fn rows<K>(column: &Tensor<2, K>, order: &[i32]) -> Option<Tensor<2, K>>
where
    K: Basic + BackendPrimitive<Flex, Primitive = Array>,
{
    let column = flex(column)?;
    let shape = [order.len(), column.layout().shape()[1]];
    let rows = match column.dtype() {
        DType::F32 => TensorData::new(picked(column.as_slice::<f32>()?, shape[1], order), shape),
        DType::I32 => TensorData::new(picked(column.as_slice::<i32>()?, shape[1], order), shape),
        DType::I64 => TensorData::new(picked(column.as_slice::<i64>()?, shape[1], order), shape),
        _ => return None,
    };
    Some(Tensor::from_primitive::<Flex>(Array::from_data(rows)))
}

fn picked<T: Copy>(numbers: &[T], width: usize, order: &[i32]) -> Vec<T> {
    if width == 1 {
        return order.iter().map(|&row| numbers[row as usize]).collect();
    }
    let rows = order.iter().map(|&row| row as usize * width);
    rows.flat_map(|start| numbers[start..start + width].iter().copied()).collect()
}

/// Here the other backend, which has no fused pass, computes what must come out.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::{Adam, AdamState, clip};
    use crate::config::NetworkConfig;
    use crate::critic::value_gradient;
    use crate::ppo::policy_gradient;
    use crate::samples::normalized;
    use burn::tensor::Device;
    use envs::{Rng, Space, Stream, stream};
    use rand::RngExt;

    #[allow(deprecated)] // `ndarray` has no other successor than `flex` itself.
    fn devices() -> [Device; 2] {
        [Device::flex(), Device::ndarray()]
    }

    fn random(size: usize, scale: f32, rng: &mut Rng) -> Vec<f32> {
        (0..size).map(|_| scale * (2.0 * rng.random::<f32>() - 1.0)).collect()
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    fn assert_close(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error < 2e-5, "{what}: number {i} is {found}, not {expected}");
        }
    }

    /// 61 samples for a policy, with ratios on both sides of the clip.
    fn samples(policy: &Policy, device: &Device) -> (Tensor<1>, Tensor<1>, Samples) {
        let mut rng = stream(3, Stream::Sampling);
        let size = 61;
        let params = random(policy.num_params(), 0.7, &mut rng);
        let old_params: Vec<f32> =
            params.iter().zip(random(params.len(), 0.1, &mut rng)).map(|(p, d)| p + d).collect();
        let rows = |width: usize, scale: f32, rng: &mut Rng| {
            let data = TensorData::new(random(size * width, scale, rng), [size, width]);
            Tensor::<2>::from_data(data, device)
        };
        let observations = rows(policy.observation_width(), 2.0, &mut rng);
        let [params, old_params] =
            [params, old_params].map(|params| Tensor::<1>::from_floats(params.as_slice(), device));
        let outputs = policy.outputs(&old_params, observations.clone());
        let width = policy.action_width();
        let actions: Vec<f32> = if width < policy.output_width() {
            (0..size).map(|_| rng.random_range(0..policy.output_width()) as f32).collect()
        } else {
            random(size * width, 2.0, &mut rng)
        };
        let actions = policy.actions(&actions, device);
        let old = policy.distribution_of(outputs.clone(), &old_params);
        let samples = Samples {
            log_probs: old.log_prob(&actions) + rows(1, 0.3, &mut rng),
            advantages: rows(1, 3.0, &mut rng),
            returns: rows(1, 3.0, &mut rng),
            values: rows(1, 1.0, &mut rng),
            observations,
            actions,
            outputs,
        };
        (params, old_params, samples)
    }

    #[test]
    fn the_policy_gradient_is_that_of_the_composed_loss() {
        let box_of = |width| Space::symmetric_box(width, 1.5);
        for (actions, squash) in [
            (Space::Discrete { n: 2 }, false),
            (Space::Discrete { n: 5 }, false),
            (box_of(1), false),
            (box_of(3), false),
            (box_of(2), true),
        ] {
            let network = NetworkConfig { hidden: vec![9, 7], squash, ..Default::default() };
            let policy = Policy::new(&box_of(4), &actions, &network).unwrap();
            for proximity in [Proximity::Clip { range: 0.2 }, Proximity::KlPenalty { coef: 0.7 }] {
                for entropy_coef in [0.0, 0.05] {
                    let [(figures, gradient), (expected, expected_gradient)] =
                        devices().map(|device| {
                            let (params, old, samples) = samples(&policy, &device);
                            policy_gradient(
                                &policy,
                                &params,
                                &old,
                                &samples,
                                proximity,
                                entropy_coef,
                            )
                            .unwrap()
                        });
                    let what = format!("{actions:?} {squash} {proximity:?} {entropy_coef}");
                    let figures = numbers(figures);
                    if let Proximity::Clip { .. } = proximity {
                        assert!(figures[2] > 0.1 && figures[2] < 0.9, "{what}: some are clipped");
                    }
                    assert_close(&figures, &numbers(expected), &what);
                    assert_close(&numbers(gradient), &numbers(expected_gradient), &what);
                }
            }
        }
    }

    #[test]
    fn the_critic_the_clip_adam_and_the_gathering_are_the_composed_ones() {
        let space = Space::symmetric_box(4, 1.0);
        let network = NetworkConfig { hidden: vec![8], ..Default::default() };
        let policy = Policy::new(&space, &Space::symmetric_box(1, 1.0), &network).unwrap();
        for clip_range in [None, Some(0.3)] {
            let [found, expected] = devices().map(|device| {
                let (params, _, samples) = samples(&policy, &device);
                let critic = policy.network();
                let params = params.slice_dim(0, 0..critic.num_params());
                let mut order = stream(1, Stream::Shuffling);
                let mut batches = samples.minibatches(25, &mut order);
                let batch = batches.next().unwrap();
                assert_eq!(batches.map(|batch| batch.len()).collect::<Vec<_>>(), [25, 11]);
                let (loss, slope) =
                    value_gradient(critic, &params, &batch, clip_range, 0.4).unwrap();
                let other = slope.clone().mul_scalar(-3.0);
                let (norm, scale) = clip([&slope, &other], 0.5);
                let state = AdamState::new(critic.num_params());
                let mut adam = Adam::new(&numbers(params), &state, 1e-5, &device);
                adam.step(&slope, &scale, 0.1);
                adam.step(&other, &scale, 0.1);
                let column = normalized(batch.advantages);
                let column = column.reshape([-1]);
                [loss, slope, norm, scale, adam.params, adam.first, adam.second, column]
                    .map(numbers)
            });
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_close(found, expected, &format!("result {i}, {clip_range:?}"));
            }
            assert!(found[3][0] < 1.0, "the gradient is long enough to be clipped");
        }
    }

    #[test]
    fn a_number_that_is_not_finite_shows_in_the_figures() {
        let space = Space::symmetric_box(3, 1.0);
        let network = NetworkConfig { hidden: vec![4], ..Default::default() };
        let policy = Policy::new(&space, &Space::Discrete { n: 3 }, &network).unwrap();
        let (params, old, mut samples) = samples(&policy, &Device::flex());
        samples.advantages = samples.advantages.mul_scalar(f32::NAN);
        samples.returns = samples.returns.mul_scalar(f32::INFINITY);
        let proximity = Proximity::Clip { range: 0.2 };
        let (figures, gradient) =
            policy_gradient(&policy, &params, &old, &samples, proximity, 0.0).unwrap();
        assert!(numbers(figures)[0].is_nan());
        let (norm, scale) = clip([&gradient, &gradient], 0.5);
        assert!(numbers(norm)[0].is_nan() && numbers(scale)[0].is_nan());
    }
}
