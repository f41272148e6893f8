//! Adam over one flat parameter vector (Kingma and Ba 2015).

use crate::error::AgentError;
use crate::fused;
use crate::kernel::AdamStep;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;

/// Adam's moments between iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamState {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of the squared gradient.
    pub second: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

impl AdamState {
    /// No step taken yet.
    #[must_use]
    pub fn new(num_params: usize) -> AdamState {
        AdamState { first: vec![0.0; num_params], second: vec![0.0; num_params], steps: 0 }
    }

    pub(crate) fn check(&self, name: &str, num_params: usize) -> Result<(), AgentError> {
        AgentError::check_length(name, num_params, self.first.len())?;
        AgentError::check_length(name, num_params, self.second.len())
    }
}

/// A parameter vector on its way down a loss, on a device.
#[derive(Clone, Debug)]
pub struct Adam {
    /// The parameters, `[params]`.
    pub params: Tensor<1>,
    /// Running mean of the gradient, `[params]`.
    pub first: Tensor<1>,
    /// Running mean of the squared gradient, `[params]`.
    pub second: Tensor<1>,
    /// Steps taken.
    pub steps: u64,
    epsilon: f64,
}

impl Adam {
    /// Goes on from `params` and a saved state.
    #[must_use]
    pub fn new(params: &[f32], state: &AdamState, epsilon: f64, device: &Device) -> Adam {
        Adam {
            params: Tensor::from_floats(params, device),
            first: Tensor::from_floats(state.first.as_slice(), device),
            second: Tensor::from_floats(state.second.as_slice(), device),
            steps: state.steps,
            epsilon,
        }
    }

    /// Moves the parameters by one step against `scale [1]` times `gradient [params]`, with bias
    /// correction.
    pub fn step(&mut self, gradient: &Tensor<1>, scale: &Tensor<1>, rate: f64) {
        self.steps += 1;
        let steps = self.steps as f64;
        let first_share = 1.0 - BETA_1.powf(steps);
        let second_root = (1.0 - BETA_2.powf(steps)).sqrt();
        let rate = rate * second_root / first_share;
        let epsilon = self.epsilon * second_root;
        let betas = [BETA_1, BETA_2];
        let step = AdamStep { betas, epsilon: epsilon as f32, rate: rate as f32 };
        let vectors = [&mut self.params, &mut self.first, &mut self.second];
        if fused::adam(vectors, gradient, scale, step).is_some() {
            return;
        }
        let gradient = gradient.clone() * scale.clone();
        let squared = gradient.clone().square();
        self.first = self.first.clone().mul_scalar(BETA_1) + gradient.mul_scalar(1.0 - BETA_1);
        self.second = self.second.clone().mul_scalar(BETA_2) + squared.mul_scalar(1.0 - BETA_2);
        let scale = self.second.clone().sqrt().add_scalar(epsilon);
        self.params = self.params.clone() - (self.first.clone() / scale).mul_scalar(rate);
    }
}

/// Euclidean norm `[1]` of two gradients together, and the factor `[1]` that shortens them to
/// `max_norm` where they are longer.
#[must_use]
pub fn clip(gradients: [&Tensor<1>; 2], max_norm: f64) -> (Tensor<1>, Tensor<1>) {
    if let Some(clipped) = fused::clip(gradients, max_norm) {
        return clipped;
    }
    let [first, second] = gradients.map(|gradient| gradient.clone().square().sum());
    let norm = (first + second).sqrt();
    let scale = norm.clone().add_scalar(1e-6).recip().mul_scalar(max_norm).clamp_max(1.0);
    (norm, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let device = Device::flex();
        let mut adam = Adam::new(&[1.0, 1.0], &AdamState::new(2), 1e-8, &device);
        let gradient = Tensor::from_floats([0.5, -4.0], &device);
        adam.step(&gradient, &Tensor::ones([1], &device), 0.1);
        let moved: Vec<f32> = adam.params.into_data().try_into_vec().unwrap();
        assert!((moved[0] - 0.9).abs() < 1e-6 && (moved[1] - 1.1).abs() < 1e-6, "{moved:?}");
    }

    #[test]
    fn the_second_step_by_hand() {
        let device = Device::flex();
        let mut adam = Adam::new(&[0.0], &AdamState::new(1), 0.1, &device);
        for gradient in [1.0, 3.0] {
            // Half of the double, to see that the scale counts.
            let gradient = Tensor::from_floats([2.0 * gradient], &device);
            let half = Tensor::from_floats([0.5], &device);
            adam.step(&gradient, &half, 0.01);
        }
        let first = 0.9 * 0.1 + 0.1 * 3.0;
        let second = 0.999 * 0.001 + 0.001 * 9.0;
        let corrected: (f64, f64) = (first / (1.0 - 0.81), second / (1.0 - 0.999 * 0.999));
        let expected = -0.01 / (1.0 + 0.1) - 0.01 * corrected.0 / (corrected.1.sqrt() + 0.1);
        let found: f32 = adam.params.into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-7, "{found} {expected}");
    }
}
