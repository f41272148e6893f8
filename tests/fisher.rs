//! The Fisher-vector product against a dense Fisher matrix and against the Hessian of the mean KL,
//! both assembled here in f64 from nothing but the definition of the policies: a network, and the
//! log-probability of an action.
//!
//! `F = mean_s E_a [score score']` with `score = d ln pi(a|s) / d theta`. The expectation is a sum
//! over the choices of a categorical policy, and a Gauss-Hermite quadrature for a Gaussian one, exact
//! here because the scores are quadratic in the action.

use agents::network::Mlp;
use agents::policy::Policy;
use agents::trpo::{Candidate, TrustRegion, moved};
use agents::{Activation, Backend, Minibatch, NetworkConfig};
use backburn_tests::{assert_match, numbers, rows, widened};
use burn::tensor::{Device, Tensor};
use envs::{Rng, Space, Stream, stream};
use rand::RngExt;
use std::sync::Arc;

const INPUTS: usize = 3;

/// A policy at random parameters, and random observations.
struct Case {
    name: &'static str,
    network: NetworkConfig,
    /// Log standard deviations behind the network's parameters, instead of a softmax.
    gaussian: bool,
    outputs: usize,
    theta: Vec<f32>,
    observations: Vec<f32>,
}

impl Case {
    fn new(
        name: &'static str,
        hidden: &[usize],
        activation: Activation,
        gaussian: bool,
        outputs: usize,
        samples: usize,
    ) -> Case {
        let mut rng = stream(1, Stream::Initialization);
        let network =
            NetworkConfig { hidden: hidden.to_vec(), activation, ..NetworkConfig::default() };
        let mut case = Case {
            name,
            network,
            gaussian,
            outputs,
            theta: Vec::new(),
            observations: uniform(samples * INPUTS, 1.5, &mut rng),
        };
        case.theta = uniform(case.policy().num_params(), 0.8, &mut rng);
        case
    }

    fn policy(&self) -> Policy {
        let actions = if self.gaussian {
            Space::symmetric_box(self.outputs, 1.0)
        } else {
            Space::Discrete { n: self.outputs }
        };
        Policy::new(&Space::symmetric_box(INPUTS, 2.0), &actions, &self.network).unwrap()
    }

    fn is_smooth(&self) -> bool {
        self.network.activation == Activation::Tanh
    }

    fn mlp(&self) -> Mlp {
        Mlp::new(INPUTS, self.outputs, &self.network.hidden, self.network.activation)
    }

    fn minibatch(&self, policy: &Policy, device: &Device) -> Minibatch {
        let size = self.observations.len() / INPUTS;
        let column = || Tensor::<2>::zeros([size, 1], device);
        let observations = rows(&self.observations, INPUTS, device);
        let width = policy.action_width();
        Minibatch {
            outputs: policy
                .outputs(&Tensor::from_floats(&*self.theta, device), observations.clone()),
            observations,
            actions: rows(&vec![0.0; size * width], width, device),
            log_probs: column(),
            advantages: column(),
            targets: Vec::new(),
        }
    }

    /// The matrix whose products the library gives, column by column.
    fn fisher_by_products(&self, device: &Device) -> Vec<Vec<f64>> {
        let policy = self.policy();
        let minibatch = self.minibatch(&policy, device);
        let region = TrustRegion::new(&policy, &self.theta, &minibatch, 0.0, 0.0, &Arc::default());
        (0..self.theta.len())
            .map(|i| {
                let mut unit = vec![0.0; self.theta.len()];
                unit[i] = 1.0;
                region.damped_fisher_product(&unit).unwrap()
            })
            .collect()
    }

    /// The network in f64.
    fn forward(&self, theta: &[f64], observation: &[f64]) -> Vec<f64> {
        let mut x = observation.to_vec();
        let mut params = theta;
        let layers = self.network.hidden.len();
        let sizes = self.network.hidden.iter().chain([&self.outputs]);
        for (index, &outputs) in sizes.enumerate() {
            let (weights, rest) = params.split_at(x.len() * outputs);
            let (biases, rest) = rest.split_at(outputs);
            params = rest;
            let mut y = biases.to_vec();
            for (x, weights) in x.iter().zip(weights.chunks_exact(outputs)) {
                y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
            }
            if index < layers {
                y.iter_mut().for_each(|y| match self.network.activation {
                    Activation::Tanh => *y = y.tanh(),
                    Activation::Relu => *y = y.max(0.0),
                });
            }
            x = y;
        }
        x
    }

    fn log_stds<'a>(&self, theta: &'a [f64]) -> &'a [f64] {
        &theta[theta.len() - self.outputs..]
    }

    /// `ln pi(a|s)`; a choice is a vector of one number.
    fn log_prob(&self, theta: &[f64], observation: &[f64], action: &[f64]) -> f64 {
        let outputs = self.forward(theta, observation);
        if !self.gaussian {
            let total: f64 = outputs.iter().map(|z| z.exp()).sum();
            return outputs[action[0] as usize] - total.ln();
        }
        let mut total = 0.0;
        for ((mean, log_std), a) in outputs.iter().zip(self.log_stds(theta)).zip(action) {
            let scaled = (a - mean) / log_std.exp();
            total -= 0.5 * scaled * scaled + log_std + 0.5 * std::f64::consts::TAU.ln();
        }
        total
    }

    /// Actions with weights: a weighted sum over them is the expectation over the policy's actions.
    fn expectation(&self, theta: &[f64], observation: &[f64]) -> Vec<(f64, Vec<f64>)> {
        if !self.gaussian {
            let choices = (0..self.outputs).map(|a| vec![a as f64]);
            return choices.map(|a| (self.log_prob(theta, observation, &a).exp(), a)).collect();
        }
        // Three points are exact for polynomials up to degree 5.
        let nodes = [(1.0 / 6.0, -3.0_f64.sqrt()), (2.0 / 3.0, 0.0), (1.0 / 6.0, 3.0_f64.sqrt())];
        let mut actions = vec![(1.0, Vec::new())];
        let means = self.forward(theta, observation);
        for (mean, log_std) in means.iter().zip(self.log_stds(theta)) {
            actions = actions
                .iter()
                .flat_map(|(weight, action)| {
                    nodes.map(|(share, x)| {
                        (weight * share, [&action[..], &[mean + log_std.exp() * x]].concat())
                    })
                })
                .collect();
        }
        actions
    }

    /// `F`, from scores by central differences of the log-probability.
    fn dense_fisher(&self) -> Vec<Vec<f64>> {
        let theta = widened(&self.theta);
        let mut fisher = vec![vec![0.0; theta.len()]; theta.len()];
        let rows = self.observations.len() / INPUTS;
        for observation in widened(&self.observations).chunks_exact(INPUTS) {
            for (weight, action) in self.expectation(&theta, observation) {
                let log_prob = |theta: &[f64]| self.log_prob(theta, observation, &action);
                let score = derivative(&theta, 1e-5, log_prob);
                for (row, a) in fisher.iter_mut().zip(&score) {
                    let factor = weight * a / rows as f64;
                    row.iter_mut().zip(&score).for_each(|(f, b)| *f += factor * b);
                }
            }
        }
        fisher
    }

    /// Mean KL from the policy at the case's parameters to the one at `other`.
    fn mean_kl(&self, other: &[f64]) -> f64 {
        let theta = widened(&self.theta);
        let observations = widened(&self.observations);
        let rows = observations.chunks_exact(INPUTS);
        let kl = rows.map(|observation| {
            let actions = self.expectation(&theta, observation);
            let terms = actions.iter().map(|(weight, action)| {
                let log_prob = |theta| self.log_prob(theta, observation, action);
                weight * (log_prob(&theta[..]) - log_prob(other))
            });
            terms.sum::<f64>()
        });
        kl.sum::<f64>() / (observations.len() / INPUTS) as f64
    }

    /// Hessian of the mean KL by second differences.
    fn kl_hessian(&self) -> Vec<Vec<f64>> {
        const STEP: f64 = 1e-4;
        let theta = widened(&self.theta);
        let at = |i: usize, towards_i: f64, j: usize, towards_j: f64| {
            let mut moved = theta.clone();
            moved[i] += STEP * towards_i;
            moved[j] += STEP * towards_j;
            self.mean_kl(&moved)
        };
        let entry = |i: usize, j: usize| {
            let same = at(i, 1.0, j, 1.0) + at(i, -1.0, j, -1.0);
            let opposite = at(i, 1.0, j, -1.0) + at(i, -1.0, j, 1.0);
            (same - opposite) / (4.0 * STEP * STEP)
        };
        (0..theta.len()).map(|i| (0..theta.len()).map(|j| entry(i, j)).collect()).collect()
    }
}

/// Small enough for a Hessian.
fn small_cases() -> Vec<Case> {
    use Activation::{Relu, Tanh};
    vec![
        Case::new("categorical, linear", &[], Tanh, false, 3, 7),
        Case::new("categorical, tanh", &[5], Tanh, false, 3, 7),
        Case::new("categorical, relu", &[5], Relu, false, 3, 7),
        Case::new("categorical, two tanh layers", &[4, 3], Tanh, false, 2, 7),
        Case::new("gaussian, linear", &[], Tanh, true, 2, 7),
        Case::new("gaussian, tanh", &[5], Tanh, true, 2, 7),
        Case::new("gaussian, relu", &[5], Relu, true, 2, 7),
        Case::new("gaussian, two relu layers", &[4, 3], Relu, true, 1, 7),
    ]
}

/// Sizes that fill the vector registers of the CPU kernels, and leave a rest.
fn large_cases() -> Vec<Case> {
    vec![
        Case::new("large, categorical, tanh", &[19, 9], Activation::Tanh, false, 4, 101),
        Case::new("large, gaussian, relu", &[19, 9], Activation::Relu, true, 2, 101),
    ]
}

fn cpu_devices() -> [(Backend, Device); 2] {
    [Backend::Flex, Backend::NdArray].map(|backend| (backend, backend.open().unwrap()))
}

fn uniform(count: usize, bound: f32, rng: &mut Rng) -> Vec<f32> {
    (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Derivative by each number of `theta`, by central differences.
fn derivative(theta: &[f64], step: f64, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = theta.to_vec();
    (0..theta.len())
        .map(|i| {
            moved[i] = theta[i] + step;
            let ahead = f(&moved);
            moved[i] = theta[i] - step;
            let behind = f(&moved);
            moved[i] = theta[i];
            (ahead - behind) / (2.0 * step)
        })
        .collect()
}

fn largest(matrix: &[Vec<f64>]) -> f64 {
    matrix.iter().flatten().fold(0.0, |largest, x| x.abs().max(largest))
}

/// Asserts that two matrices agree to `tolerance` times the largest entry.
fn assert_same_matrix(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, place: &str) {
    let scale = largest(expected);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (j, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance * scale,
                "{place}, entry {i}, {j}: {found} where {expected} is expected \
                 (the largest is {scale})"
            );
        }
    }
}

/// Whether a symmetric matrix is positive definite: whether it has a Cholesky factor.
fn is_positive_definite(matrix: &[Vec<f64>]) -> bool {
    let mut factor: Vec<Vec<f64>> = Vec::new();
    for (i, row) in matrix.iter().enumerate() {
        let mut new = Vec::with_capacity(i + 1);
        for (j, known) in factor.iter().enumerate() {
            new.push((row[j] - dot(&new, known)) / known[j]);
        }
        let rest = row[i] - dot(&new, &new);
        if rest.is_nan() || rest <= 0.0 {
            return false;
        }
        new.push(rest.sqrt());
        factor.push(new);
    }
    true
}

#[test]
fn products_are_those_of_the_dense_fisher_matrix() {
    for case in small_cases().into_iter().chain(large_cases()) {
        let dense = case.dense_fisher();
        for (backend, device) in cpu_devices() {
            let place = format!("{}, {backend}", case.name);
            assert_same_matrix(&case.fisher_by_products(&device), &dense, 1e-5, &place);
        }
    }
}

#[test]
fn the_fisher_matrix_is_the_hessian_of_the_mean_kl() {
    for case in small_cases() {
        let found = case.fisher_by_products(&Device::flex());
        assert_same_matrix(&found, &case.kl_hessian(), 1e-5, case.name);
    }
}

#[test]
fn the_fisher_matrix_is_symmetric_and_positive_semidefinite() {
    for case in small_cases().into_iter().chain(large_cases()) {
        for (backend, device) in cpu_devices() {
            let found = case.fisher_by_products(&device);
            let size = found.len();
            let transposed: Vec<Vec<f64>> =
                (0..size).map(|j| (0..size).map(|i| found[i][j]).collect()).collect();
            let place = format!("{}, {backend}", case.name);
            assert_same_matrix(&found, &transposed, 1e-6, &format!("{place}: transposed"));
            // It may be singular, so it gets what rounding may have taken.
            let mut shifted = found.clone();
            (0..size).for_each(|i| shifted[i][i] += 1e-5 * largest(&found));
            assert!(is_positive_definite(&shifted), "{place}: a negative eigenvalue");
        }
    }
    let indefinite = [vec![1.0, 2.0], vec![2.0, 1.0]];
    assert!(!is_positive_definite(&indefinite), "the check itself: eigenvalues 3 and -1");
}

/// The library's own KL has the curvature of its own Fisher matrix. (A relu network has kinks within
/// a step that f32 can measure.)
#[test]
fn a_small_step_has_the_kl_of_the_quadratic_model() {
    let mut rng = stream(2, Stream::Sampling(0));
    for case in small_cases().into_iter().chain(large_cases()).filter(Case::is_smooth) {
        let policy = case.policy();
        let minibatch = case.minibatch(&policy, &Device::flex());
        let region = TrustRegion::new(&policy, &case.theta, &minibatch, 0.0, 0.0, &Arc::default());
        let direction = widened(&uniform(case.theta.len(), 1.0, &mut rng));
        let curvature = dot(&direction, &region.damped_fisher_product(&direction).unwrap());
        let size = (2.0 * 2e-4 / curvature).sqrt();
        // The mean of both ways, which has no third order.
        let kl = |fraction| region.at(&moved(&case.theta, &direction, fraction)).unwrap().kl;
        let ratio = 0.5 * (kl(size) + kl(-size)) / 2e-4;
        assert!((ratio - 1.0).abs() < 0.02, "{}: {ratio} times the model's KL", case.name);
    }
}

#[test]
fn damping_adds_a_multiple_of_the_vector_at_any_scale() {
    let mut rng = stream(3, Stream::Sampling(0));
    for case in small_cases() {
        let policy = case.policy();
        let minibatch = case.minibatch(&policy, &Device::flex());
        let vector = widened(&uniform(case.theta.len(), 1.0, &mut rng));
        let product = |damping, vector: &[f64]| {
            let region =
                TrustRegion::new(&policy, &case.theta, &minibatch, damping, 0.0, &Arc::default());
            region.damped_fisher_product(vector).unwrap()
        };
        let expected: Vec<f64> =
            product(0.0, &vector).iter().zip(&vector).map(|(f, v)| f + 0.3 * v).collect();
        // Beyond the range of f32, whose squares under- and overflow much earlier.
        for scale in [1.0, 1e-60, 1e60] {
            let scaled: Vec<f64> = vector.iter().map(|v| scale * v).collect();
            let found: Vec<f64> = product(0.3, &scaled).iter().map(|f| f / scale).collect();
            assert_match(&found, &expected, 1e-6, format!("{}, scale {scale}", case.name));
        }
        let zero = vec![0.0; vector.len()];
        assert_eq!(product(0.3, &zero), zero, "{}: the product with 0", case.name);
    }
}

#[test]
fn directional_derivatives_are_exact() {
    let mut rng = stream(4, Stream::Sampling(0));
    for case in small_cases().into_iter().chain(large_cases()) {
        let mlp = case.mlp();
        let theta = widened(&case.theta)[..mlp.num_params()].to_vec();
        for (backend, device) in cpu_devices() {
            for scale in [1e-3, 1.0, 1e3] {
                let direction = uniform(theta.len(), scale, &mut rng);
                let mut expected = Vec::new();
                for observation in widened(&case.observations).chunks_exact(INPUTS) {
                    let step = 1e-6 / f64::from(scale);
                    let outputs = |step: f64| {
                        let moved = theta.iter().zip(&direction);
                        let moved: Vec<f64> =
                            moved.map(|(t, &d)| t + step * f64::from(d)).collect();
                        case.forward(&moved, observation)
                    };
                    let both = outputs(step).into_iter().zip(outputs(-step));
                    expected.extend(both.map(|(ahead, behind)| (ahead - behind) / (2.0 * step)));
                }

                let network = mlp.linearize(
                    Tensor::from_floats(&case.theta[..theta.len()], &device),
                    rows(&case.observations, INPUTS, &device),
                );
                let found = numbers(network.jvp(Tensor::from_floats(&*direction, &device)));
                let place = format!("{}, {backend}, scale {scale}", case.name);
                assert_same_matrix(&[found], &[expected], 2e-6, &place);
            }
        }
    }
}

/// More samples than are looked at together are the mean of few, each as often.
#[test]
fn a_large_batch_is_the_mean_of_its_parts() {
    let mut rng = stream(5, Stream::Sampling(0));
    let case = small_cases().remove(0);
    let policy = case.policy();
    let flex = Device::flex();
    let few = case.minibatch(&policy, &flex);
    let size = few.len();
    let advantages = rows(&uniform(size, 1.0, &mut rng), 1, &flex);
    let few = Minibatch { advantages, ..few };
    // Three parts, the last of which is not a whole one.
    let times = 140_000 / size;
    let many = |column: &Tensor<2>| Tensor::cat(vec![column.clone(); times], 0);
    let many = Minibatch {
        observations: many(&few.observations),
        actions: many(&few.actions),
        log_probs: many(&few.log_probs),
        outputs: many(&few.outputs),
        advantages: many(&few.advantages),
        targets: Vec::new(),
    };
    let [few, many] = [&few, &many]
        .map(|samples| TrustRegion::new(&policy, &case.theta, samples, 0.3, 0.01, &Arc::default()));
    let vector = widened(&uniform(case.theta.len(), 1.0, &mut rng));
    let (expected, found) = (few.gradient().unwrap(), many.gradient().unwrap());
    assert_match(&[found.0], &[expected.0], 1e-5, "surrogate");
    assert_match(&found.1, &expected.1, 1e-5, "gradient");
    let [expected, found] =
        [&few, &many].map(|region| region.damped_fisher_product(&vector).unwrap());
    assert_match(&found, &expected, 1e-5, "Fisher-vector product");
    let near: Vec<f32> = moved(&case.theta, &vector, 0.1);
    let [expected, found] = [&few, &many].map(|region| region.at(&near).unwrap());
    let columns = |at: Candidate| [at.surrogate, at.policy_loss, at.kl, at.approx_kl];
    assert_match(&columns(found), &columns(expected), 1e-5, "candidate");
}
