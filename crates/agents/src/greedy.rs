//! A policy's greedy actions as a plain function, for programs that have nothing of this one.

use crate::config::Activation;
use crate::policy::Actor;
pub use crate::policy::Squash;
use envs::{ObservationNormalizer, Space};

/// What [`evaluate`](crate::evaluate) does with greedy actions, from the observation as the environment
/// gives it to the action as the environment receives it:
///
/// ```text
/// x = clip((observation - mean) / std, -clip, clip)     where the run normalises; in f64
/// x = activation(x W + b)                               for each hidden layer
/// x = x W + b                                           for the last one
/// action = the first index of the largest x             discrete
/// x = center + half_width tanh(x)                       continuous, where the policy squashes
/// action = min(max(x, low), high)                       continuous
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GreedyPolicy<'a> {
    /// How observations are normalised, if they are.
    pub normalization: Option<Normalization<'a>>,
    /// The network, in order; at least one.
    pub layers: Vec<Dense<'a>>,
    /// Nonlinearity after every layer but the last.
    pub activation: Activation,
    /// What is made of the network's outputs.
    pub decision: Decision<'a>,
}

/// Shift, scale and clip of each number of an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization<'a> {
    /// What is subtracted.
    pub mean: &'a [f64],
    /// What is divided by; never 0.
    pub std: Vec<f64>,
    /// Largest magnitude of the result.
    pub clip: f64,
}

/// A layer of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense<'a> {
    /// Numbers that it reads.
    pub inputs: usize,
    /// Numbers that it gives.
    pub outputs: usize,
    /// `[inputs][outputs]`, row-major.
    pub weights: &'a [f32],
    /// `[outputs]`
    pub biases: &'a [f32],
}

/// From a network's outputs to an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'a> {
    /// The first index of the largest output.
    Discrete,
    /// The outputs, squashed where the policy squashes, within the bounds of the action space.
    Continuous {
        /// The box that the policy squashes into.
        squash: Option<Squash<'a>>,
        /// Lower bounds; negative infinity where there is none.
        low: &'a [f32],
        /// Upper bounds; infinity where there is none.
        high: &'a [f32],
    },
}

impl GreedyPolicy<'_> {
    /// Numbers in an observation.
    #[must_use]
    pub fn observation_width(&self) -> usize {
        self.layers[0].inputs
    }
}

impl Actor {
    /// The greedy policy, in the action space that it was made for.
    #[must_use]
    pub fn greedy<'a>(&'a self, action_space: &'a Space) -> GreedyPolicy<'a> {
        let normalization = self.normalizer.as_ref().map(|normalizer| Normalization {
            mean: normalizer.statistics().mean(),
            std: normalizer.std(),
            clip: ObservationNormalizer::CLIP,
        });
        let network = self.policy.network();
        let layers = network.layers.iter().map(|layer| Dense {
            inputs: layer.inputs,
            outputs: layer.outputs,
            weights: layer.weights(&self.params),
            biases: layer.biases(&self.params),
        });
        let decision = match action_space {
            Space::Discrete { .. } => Decision::Discrete,
            Space::Box { low, high } => {
                Decision::Continuous { squash: self.policy.squash(), low, high }
            }
        };
        GreedyPolicy {
            normalization,
            layers: layers.collect(),
            activation: network.activation,
            decision,
        }
    }
}
