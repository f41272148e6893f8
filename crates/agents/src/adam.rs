//! Adam over one flat parameter vector (Kingma and Ba 2015).

use crate::error::AgentError;
use crate::ops::{AdamStep, Bounds, Handle, adam, clip_scale, sum_of_squares};
use crate::transfer::read;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// More steps than any run takes: up to here they are whole numbers in f64.
const MAX_STEPS: u64 = 1 << 53;

/// Adam's moments between iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamState {
    /// First moment: running mean of the gradient.
    pub m: Vec<f32>,
    /// Second moment: running mean of the squared gradient.
    pub v: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

impl AdamState {
    /// No step taken yet.
    #[must_use]
    pub fn new(num_params: usize) -> AdamState {
        AdamState { m: vec![0.0; num_params], v: vec![0.0; num_params], steps: 0 }
    }

    /// Checks that a saved state has this many parameters, and numbers from which Adam can go on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, name: &str, num_params: usize) -> Result<(), AgentError> {
        AgentError::check_length(name, num_params, self.m.len())?;
        AgentError::check_length(name, num_params, self.v.len())?;
        let holds = self.m.iter().all(|m| m.is_finite())
            && self.v.iter().all(|v| v.is_finite() && *v >= 0.0)
            && self.steps < MAX_STEPS;
        AgentError::check_saved(name, holds)
    }
}

/// A parameter vector on its way down a loss, on a device.
#[derive(Clone, Debug)]
pub struct Adam {
    params: Handle,
    m: Handle,
    v: Handle,
    steps: u64,
    epsilon: f64,
    bounds: Option<Bounds>,
}

impl Adam {
    /// Goes on from `params` and a saved state; `epsilon` is added to the root of the second moment,
    /// and parameters that have bounds stay in them.
    #[must_use]
    pub fn new(
        params: &[f32],
        state: &AdamState,
        epsilon: f64,
        bounds: Option<Bounds>,
        device: &Device,
    ) -> Adam {
        Adam {
            params: Handle::vector(params, device),
            m: Handle::vector(&state.m, device),
            v: Handle::vector(&state.v, device),
            steps: state.steps,
            epsilon,
            bounds,
        }
    }

    /// The parameters, `[params]`.
    #[must_use]
    pub fn params(&self) -> &Handle {
        &self.params
    }

    /// Moves the parameters by one step against `scale [1]` times `gradient [params]`, with bias
    /// correction.
    pub fn step(&mut self, gradient: &Handle, scale: &Handle, rate: f64) {
        self.steps += 1;
        let steps = self.steps as f64;
        // The corrections of both moments, put into the rate and epsilon (section 2).
        let m_share = 1.0 - BETA_1.powf(steps);
        let v_root = (1.0 - BETA_2.powf(steps)).sqrt();
        let step = AdamStep {
            betas: [BETA_1, BETA_2],
            epsilon: self.epsilon * v_root,
            rate: rate * v_root / m_share,
            bounds: self.bounds,
        };
        adam([&mut self.params, &mut self.m, &mut self.v], gradient, scale, step);
    }

    /// Reads vectors and their optimisers back from the device, those of `named` and those of critics,
    /// and the numbers of `metrics` first; all in one transfer.
    ///
    /// # Errors
    /// When the device fails or a parameter is not finite.
    pub fn read_all<const N: usize>(
        metrics: Tensor<1>,
        named: [(&str, Adam); N],
        critics: Vec<Adam>,
    ) -> Result<ReadBack<N>, AgentError> {
        let critics = critics.into_iter().map(|adam| ("critic", adam));
        let adams: Vec<(&str, Adam)> = named.into_iter().chain(critics).collect();
        let steps: Vec<(&str, u64)> =
            adams.iter().map(|(name, adam)| (*name, adam.steps)).collect();
        // Handed over, so that nothing is copied where nobody else holds a vector.
        let vectors = adams.into_iter().map(|(_, adam)| [adam.params, adam.m, adam.v]);
        let vectors = vectors.flatten().map(Handle::into_tensor);
        let mut vectors = read([metrics].into_iter().chain(vectors))?.into_iter();
        let incomplete = || AgentError::Device("a transfer came back incomplete".into());
        let mut next = || vectors.next().ok_or_else(incomplete);
        let metrics = next()?;
        let read = steps.into_iter().map(|(name, steps)| {
            let (params, m, v) = (next()?, next()?, next()?);
            // All of them are looked at, which takes less time than to stop at the first.
            if !params.iter().fold(true, |all, param| all & param.is_finite()) {
                return Err(AgentError::NonFinite(format!("{name}'s parameters")));
            }
            Ok((params, AdamState { m, v, steps }))
        });
        let mut named: Vec<Fitted> = read.collect::<Result<_, AgentError>>()?;
        let critics = named.split_off(N);
        Ok((metrics, named.try_into().map_err(|_| incomplete())?, critics))
    }
}

/// A parameter vector and its optimiser's state, as they came from the device.
pub type Fitted = (Vec<f32>, AdamState);

/// Metrics, the named vectors and those of the critics; see [`Adam::read_all`].
pub type ReadBack<const N: usize> = (Vec<f32>, [Fitted; N], Vec<Fitted>);

/// Euclidean norm `[1]` of all gradients together, and the factor `[1]` that shortens them to
/// `max_norm` where they are longer; both are NaN where a gradient has one.
///
/// # Panics
/// When there is no gradient.
#[must_use]
pub fn clip(gradients: &[&Tensor<1>], max_norm: f64) -> (Tensor<1>, Handle) {
    let squares = gradients.iter().map(|gradient| sum_of_squares(gradient));
    let squares = squares.reduce(|sum, square| sum + square);
    let squares = squares.unwrap_or_else(|| unreachable!("an actor has a gradient"));
    let [mut scale, none] = [(); 2].map(|()| Handle::empty(&squares.device()));
    clip_scale(&mut scale, [&squares.clone().into(), &none], max_norm);
    (squares.sqrt(), scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let device = Device::flex();
        let mut adam = Adam::new(&[1.0, 1.0], &AdamState::new(2), 1e-8, None, &device);
        let gradient = Tensor::<1>::from_floats([0.5, -4.0], &device).into();
        adam.step(&gradient, &Tensor::<1>::ones([1], &device).into(), 0.1);
        let moved: Vec<f32> = adam.params().tensor::<1>().to_data().try_into_vec().unwrap();
        assert!((moved[0] - 0.9).abs() < 1e-6 && (moved[1] - 1.1).abs() < 1e-6, "{moved:?}");
    }

    #[test]
    fn the_second_step_by_hand() {
        let device = Device::flex();
        let mut adam = Adam::new(&[0.0], &AdamState::new(1), 0.1, None, &device);
        for gradient in [1.0, 3.0] {
            // Half of the double, to see that the scale counts.
            let gradient = Tensor::<1>::from_floats([2.0 * gradient], &device).into();
            let half = Tensor::<1>::from_floats([0.5], &device).into();
            adam.step(&gradient, &half, 0.01);
        }
        let first = 0.9 * 0.1 + 0.1 * 3.0;
        let second = 0.999 * 0.001 + 0.001 * 9.0;
        let corrected: (f64, f64) = (first / (1.0 - 0.81), second / (1.0 - 0.999 * 0.999));
        let expected = -0.01 / (1.0 + 0.1) - 0.01 * corrected.0 / (corrected.1.sqrt() + 0.1);
        let found: f32 = adam.params().tensor::<1>().into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-7, "{found} {expected}");
    }

    #[test]
    #[allow(deprecated)]
    fn parameters_with_bounds_stay_in_them() {
        for backend in [Backend::Flex, Backend::NdArray] {
            let Ok(device) = backend.open() else { continue };
            let bounds = Bounds { first: 1, low: -0.5, high: 0.5 };
            let start = [0.45, 0.45, -0.45];
            let mut adam = Adam::new(&start, &AdamState::new(3), 1e-8, Some(bounds), &device);
            let gradient = Tensor::<1>::from_floats([-1.0, -1.0, 1.0], &device).into();
            adam.step(&gradient, &Tensor::<1>::ones([1], &device).into(), 0.1);
            let moved: Vec<f32> = adam.params().tensor::<1>().to_data().try_into_vec().unwrap();
            assert!((moved[0] - 0.55).abs() < 1e-6, "{moved:?}");
            assert_eq!(moved[1..], [0.5, -0.5]);
        }
    }

    #[test]
    fn a_norm_that_is_no_number_shows_in_the_scale() {
        let [good, bad] = [1.0, f32::NAN].map(|x| Tensor::from_floats([x], &Device::flex()));
        let scalar = |scale: Handle| scale.tensor::<1>().into_scalar::<f32>();
        let (norm, scale) = clip(&[&good, &bad], 0.5);
        assert!(norm.into_scalar::<f32>().is_nan() && scalar(scale).is_nan());
        let (norm, scale) = clip(&[&good, &good], 0.5);
        assert!((norm.into_scalar::<f32>() - 2.0_f32.sqrt()).abs() < 1e-6);
        assert!((scalar(scale) - 0.5 / 2.0_f32.sqrt()).abs() < 1e-6);
    }
}
