//! What the library computes by other means, in the form of the textbook: sums over an episode, and
//! losses whose derivatives are left to automatic differentiation. The tests judge by them.

use agents::distribution::Distribution;
use agents::gae::Trajectory;
use agents::ops::Surrogate;
use agents::{Activation, Minibatch};
use burn::tensor::Tensor;

/// `gamma V(s_{t+1})` of entry `i`, 0 where the step terminated.
fn bootstrap(trajectory: &Trajectory<'_>, i: usize, gamma: f64) -> f64 {
    if trajectory.terminated[i] { 0.0 } else { gamma * f64::from(trajectory.next_values[i]) }
}

/// Whether the entry after `i` in time belongs to the same episode and lies in the rollout.
fn continues(trajectory: &Trajectory<'_>, i: usize) -> bool {
    let ended = trajectory.terminated[i] || trajectory.truncated[i];
    !ended && i + trajectory.num_envs < trajectory.rewards.len()
}

/// K-step returns `r_t + gamma r_{t+1} + ... + gamma^{K-1} r_{t+K-1} + gamma^K V(s_{t+K})`,
/// `[time][env]`. They stop, and bootstrap as [`Trajectory`] says, where the episode or the rollout
/// ends earlier. Less `V(s_t)` they are the K-step advantages.
#[must_use]
pub fn k_step_returns(trajectory: &Trajectory<'_>, gamma: f64, k: usize) -> Vec<f64> {
    (0..trajectory.rewards.len())
        .map(|start| {
            let (mut total, mut discount) = (0.0, 1.0);
            let mut i = start;
            for step in 1..=k.max(1) {
                total += discount * f64::from(trajectory.rewards[i]);
                if step == k.max(1) || !continues(trajectory, i) {
                    break;
                }
                discount *= gamma;
                i += trajectory.num_envs;
            }
            total + discount * bootstrap(trajectory, i, gamma)
        })
        .collect()
}

/// Discounted returns `G_t = r_t + gamma G_{t+1}`, `[time][env]`: Monte-Carlo to the end of the
/// episode, bootstrapped as [`Trajectory`] says where the episode or the rollout was cut short.
#[must_use]
pub fn discounted_returns(trajectory: &Trajectory<'_>, gamma: f64) -> Vec<f64> {
    let mut returns = vec![0.0; trajectory.rewards.len()];
    for i in (0..returns.len()).rev() {
        let rest = if continues(trajectory, i) {
            gamma * returns[i + trajectory.num_envs]
        } else {
            bootstrap(trajectory, i, gamma)
        };
        returns[i] = f64::from(trajectory.rewards[i]) + rest;
    }
    returns
}

/// Solves `a x = b` by Gaussian elimination with pivoting.
///
/// # Panics
/// When `a` is not a square matrix of `b`'s size.
#[must_use]
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let size = b.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .unwrap_or(column);
        a.swap(column, pivot);
        b.swap(column, pivot);
        let (done, rest) = a.split_at_mut(column + 1);
        let pivot_row = &done[column];
        for (i, row) in rest.iter_mut().enumerate() {
            let factor = row[column] / pivot_row[column];
            row.iter_mut().zip(pivot_row).for_each(|(x, p)| *x -= factor * p);
            b[column + 1 + i] -= factor * b[column];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| a[row][column] * b[column]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

/// The loss of a policy and what is monitored about it, each `[1]`.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// To minimise: `-objective - entropy_coef * entropy`. Automatic differentiation follows it.
    pub loss: Tensor<1>,
    /// The plain, clipped or penalised surrogate, mean over the samples.
    pub objective: Tensor<1>,
    /// Mean entropy.
    pub entropy: Tensor<1>,
    /// Share of ratios out of the clip range.
    pub clip_fraction: Tensor<1>,
    /// Exact mean KL(old, new).
    pub kl: Tensor<1>,
    /// Mean of `(ratio - 1) - ln ratio`.
    pub approx_kl: Tensor<1>,
}

/// The loss of a policy that gives the distributions `new`, which depend on a leaf. The policy that
/// acted gave `old`; `half_widths` are those of the box that actions are squashed into, if they are.
///
/// Sources: Schulman et al. 2015, equation 14; Schulman et al. 2017, equations 7 and 8.
#[must_use]
pub fn policy_loss(
    new: &Distribution,
    old: &Distribution,
    minibatch: &Minibatch,
    surrogate: Surrogate,
    entropy_coef: f64,
    half_widths: Option<&[f32]>,
) -> PolicyLoss {
    let Minibatch { actions, log_probs, advantages, .. } = minibatch;
    let log_ratio = new.log_prob(actions) - log_probs.clone();
    let ratio = log_ratio.clone().exp();
    let unclipped = ratio.clone() * advantages.clone();
    let kl = old.kl(new).mean();
    let mut clip_fraction = Tensor::zeros([1], &advantages.device());
    let objective = match surrogate {
        Surrogate::Plain => unclipped.mean(),
        Surrogate::Clipped { range } => {
            let outside = ratio.clone().inner().sub_scalar(1.0).abs().greater_elem(range);
            clip_fraction = outside.float().mean();
            let clipped = ratio.clone().clamp(1.0 - range, 1.0 + range);
            unclipped.min_pair(clipped * advantages.clone()).mean()
        }
        Surrogate::Penalized { coef } => unclipped.mean() - kl.clone().mul_scalar(coef),
    };
    let entropy = entropy(new, actions, half_widths);
    let mut loss = objective.clone().neg();
    if entropy_coef > 0.0 {
        loss = loss - entropy.clone().mul_scalar(entropy_coef);
    }
    let (ratio, log_ratio) = (ratio.inner(), log_ratio.inner());
    PolicyLoss {
        loss,
        objective: objective.inner(),
        entropy: entropy.inner(),
        clip_fraction,
        kl: kl.inner(),
        approx_kl: (ratio.sub_scalar(1.0) - log_ratio).mean(),
    }
}

/// Mean entropy, `[1]`. A Gaussian that is squashed into a box of these half-widths has no closed
/// form: there it is the mean of `-ln p` of the squashed actions, which move along with the
/// distribution (`x = mean + std * noise`), so that it has its true gradient.
///
/// # Panics
/// When choices are to be squashed.
#[must_use]
pub fn entropy(
    distribution: &Distribution,
    actions: &Tensor<2>,
    half_widths: Option<&[f32]>,
) -> Tensor<1> {
    let Some(half_widths) = half_widths else {
        return distribution.entropy().mean();
    };
    let Distribution::Gaussian { mean, log_std } = distribution else {
        panic!("only a Gaussian is squashed");
    };
    let std = log_std.clone().exp();
    let noise = ((actions.clone() - mean.clone()) / std.clone()).detach();
    let actions = mean.clone() + std * noise;
    (log_slope(&actions, half_widths) - distribution.log_prob(&actions)).mean()
}

/// Logarithm of the derivative of `half_width * tanh(x)`, summed over dimensions: `[batch, 1]`. In
/// the form `2 (ln 2 - x - softplus(-2x))` it stays finite for every x.
fn log_slope(actions: &Tensor<2>, half_widths: &[f32]) -> Tensor<2> {
    let magnitude = actions.clone().abs();
    let softplus = magnitude.clone().mul_scalar(-2.0).exp().log1p();
    let constant: f64 = half_widths.iter().map(|&half| f64::from(half).ln()).sum();
    (magnitude + softplus)
        .mul_scalar(-2.0)
        .add_scalar(2.0 * std::f64::consts::LN_2)
        .sum_dim(1)
        .add_scalar(constant)
}

/// Mean squared error `mean (V(s) - G)^2`, `[1]`, of values `[batch, 1]`. With a clip range the
/// larger of the clipped and the unclipped error counts.
#[must_use]
pub fn value_loss(
    values: Tensor<2>,
    returns: &Tensor<2>,
    old_values: &Tensor<2>,
    clip_range: Option<f64>,
) -> Tensor<1> {
    let error = (values.clone() - returns.clone()).square();
    let Some(range) = clip_range else {
        return error.mean();
    };
    let clipped = old_values.clone() + (values - old_values.clone()).clamp(-range, range);
    error.max_pair((clipped - returns.clone()).square()).mean()
}

/// A multi-layer perceptron whose layers read and give `sizes` numbers, for observations
/// `[batch, in]`: per layer `x W + b`, the nonlinearity after all but the last. `params` holds `W`, row
/// by row, and `b` of each layer.
#[must_use]
pub fn network(
    sizes: &[usize],
    activation: Activation,
    params: &Tensor<1>,
    observations: Tensor<2>,
) -> Tensor<2> {
    let (mut x, mut start) = (observations, 0);
    let last = sizes.len() - 2;
    for (index, layer) in sizes.windows(2).enumerate() {
        let [inputs, outputs] = [layer[0], layer[1]];
        let mut take = |count: usize| {
            start += count;
            params.clone().slice_dim(0, start - count..start)
        };
        let weights = take(inputs * outputs).reshape([inputs, outputs]);
        x = x.matmul(weights) + take(outputs).reshape([1, outputs]);
        x = match activation {
            _ if index == last => x,
            Activation::Tanh => x.tanh(),
            Activation::Relu => burn::tensor::activation::relu(x),
        };
    }
    x
}

/// The gradient of a loss with respect to a leaf that it depends on, by automatic differentiation.
///
/// # Panics
/// When it does not depend on it.
#[must_use]
pub fn gradient<const D: usize>(leaf: &Tensor<D>, loss: Tensor<1>) -> Tensor<D> {
    let mut gradients = loss.backward();
    leaf.grad_remove(&mut gradients)
        .unwrap_or_else(|| panic!("the loss does not depend on the leaf"))
}
