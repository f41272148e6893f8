//! Adam over one flat parameter vector (Kingma and Ba 2015).

use crate::agent::AgentError;
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

/// Adam at work on a device.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Running mean of the gradient, `[params]`.
    pub first: Tensor<1>,
    /// Running mean of the squared gradient, `[params]`.
    pub second: Tensor<1>,
    /// Steps taken.
    pub steps: u64,
    epsilon: f64,
}

impl Adam {
    /// Goes on from a saved state.
    #[must_use]
    pub fn new(state: &AdamState, epsilon: f64, device: &Device) -> Adam {
        Adam {
            first: Tensor::from_floats(state.first.as_slice(), device),
            second: Tensor::from_floats(state.second.as_slice(), device),
            steps: state.steps,
            epsilon,
        }
    }

    /// The parameters after one step against `gradient`, with bias correction.
    #[must_use]
    pub fn step(&mut self, params: Tensor<1>, gradient: Tensor<1>, rate: f64) -> Tensor<1> {
        self.steps += 1;
        let steps = self.steps as f64;
        let first_share = 1.0 - BETA_1.powf(steps);
        let second_root = (1.0 - BETA_2.powf(steps)).sqrt();
        let squared = gradient.clone().square();
        self.first = self.first.clone().mul_scalar(BETA_1) + gradient.mul_scalar(1.0 - BETA_1);
        self.second = self.second.clone().mul_scalar(BETA_2) + squared.mul_scalar(1.0 - BETA_2);
        let scale = self.second.clone().sqrt().add_scalar(self.epsilon * second_root);
        params - (self.first.clone() / scale).mul_scalar(rate * second_root / first_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let device = Device::flex();
        let mut adam = Adam::new(&AdamState::new(2), 1e-8, &device);
        let params = Tensor::from_floats([1.0, 1.0], &device);
        let gradient = Tensor::from_floats([0.5, -4.0], &device);
        let moved: Vec<f32> = adam.step(params, gradient, 0.1).into_data().try_into_vec().unwrap();
        assert!((moved[0] - 0.9).abs() < 1e-6 && (moved[1] - 1.1).abs() < 1e-6, "{moved:?}");
    }

    #[test]
    fn the_second_step_by_hand() {
        let device = Device::flex();
        let mut adam = Adam::new(&AdamState::new(1), 0.1, &device);
        let mut params = Tensor::from_floats([0.0], &device);
        for gradient in [1.0, 3.0] {
            params = adam.step(params, Tensor::from_floats([gradient], &device), 0.01);
        }
        let first = 0.9 * 0.1 + 0.1 * 3.0;
        let second = 0.999 * 0.001 + 0.001 * 9.0;
        let corrected: (f64, f64) = (first / (1.0 - 0.81), second / (1.0 - 0.999 * 0.999));
        let expected = -0.01 / (1.0 + 0.1) - 0.01 * corrected.0 / (corrected.1.sqrt() + 0.1);
        let found: f32 = params.into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-7, "{found} {expected}");
    }
}
