#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(feature = "c", test)), no_std)]

extern crate alloc;

#[cfg(feature = "c")]
mod c;
mod file;
mod json;
mod network;

pub use file::ReadError;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use network::Network;

/// A trained policy, from the observation as the environment gives it to the action as the environment
/// receives it. Reading it allocates, acting does not.
///
/// ```
/// use policy::{Action, Policy};
///
/// # let (header, zeros) = (r#"{"__metadata__":{"policy":"{\"format\":1,\"layers\":1,\"activation\":\"tanh\",\"actions\":\"discrete\",\"environment\":\"cartpole\"}"},"layers.0.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"layers.0.weight":{"dtype":"F32","shape":[4,2],"data_offsets":[8,40]}}"#, [0; 40]);
/// # let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &zeros].concat();
/// // let bytes = std::fs::read("runs/ppo_cartpole/1/policy.safetensors")?;
/// let mut policy = Policy::read(&bytes)?;
/// assert_eq!((policy.observation_width(), policy.about("environment")), (4, Some("cartpole")));
/// match policy.act(&[0.01, -0.02, 0.03, 0.04])? {
///     Action::Discrete(choice) => assert_eq!(choice, 0),
///     Action::Continuous(numbers) => unreachable!("{numbers:?}"),
/// }
/// assert!(policy.act(&[0.01, f32::NAN, 0.03, 0.04]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    normalization: Option<Normalization>,
    network: Network,
    decision: Decision,
    about: Vec<(String, String)>,
    /// The observation as the network sees it.
    input: Vec<f32>,
    action: Vec<f32>,
}

/// Shift, scale and clip of an observation.
#[derive(Clone, Debug)]
struct Normalization {
    mean: Vec<f64>,
    std: Vec<f64>,
    clip: f64,
}

/// From a network's outputs to an action.
#[derive(Clone, Debug)]
enum Decision {
    Discrete,
    Continuous {
        /// Middle and half-width of the box that outputs are squashed into.
        squash: Option<[Vec<f32>; 2]>,
        low: Vec<f32>,
        high: Vec<f32>,
    },
}

/// What the policy does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// The index of a choice.
    Discrete(usize),
    /// A number for each dimension, within the bounds of the action space.
    Continuous(&'a [f32]),
}

/// Why there is no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActError {
    /// The observation has another length.
    Length {
        /// Numbers that the policy reads.
        expected: usize,
        /// Numbers that were given.
        found: usize,
    },
    /// A number of the observation is infinite or not a number.
    Observation {
        /// Its place.
        index: usize,
    },
    /// The observation is so large that the network's outputs are not finite.
    Overflow,
}

impl fmt::Display for ActError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActError::Length { expected, found } => {
                write!(
                    formatter,
                    "the observation has {found} numbers, the policy reads {expected}"
                )
            }
            ActError::Observation { index } => {
                write!(formatter, "number {index} of the observation is not finite")
            }
            ActError::Overflow => {
                formatter.write_str("the observation is too large: the network overflows")
            }
        }
    }
}

impl core::error::Error for ActError {}

impl Policy {
    /// Reads the content of a file that `trainer export --format safetensors` wrote.
    ///
    /// # Errors
    /// When it is none, or not whole.
    pub fn read(bytes: &[u8]) -> Result<Policy, ReadError> {
        file::read(bytes)
    }

    /// Numbers in an observation.
    #[must_use]
    pub fn observation_width(&self) -> usize {
        self.network.inputs()
    }

    /// Numbers in a continuous action, or choices of a discrete one.
    #[must_use]
    pub fn action_width(&self) -> usize {
        self.network.outputs()
    }

    /// Whether actions are choices.
    #[must_use]
    pub fn is_discrete(&self) -> bool {
        matches!(self.decision, Decision::Discrete)
    }

    /// What the file says under this name: `environment`, `step_seconds`, and `observation_names` and
    /// `action_names` as JSON arrays; docs/export.md lists all.
    #[must_use]
    pub fn about(&self, name: &str) -> Option<&str> {
        self.about.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The greedy action for an observation.
    ///
    /// # Errors
    /// When the observation has another length or a number that is not finite, or is so large that the network
    /// overflows.
    pub fn act(&mut self, observation: &[f32]) -> Result<Action<'_>, ActError> {
        let (expected, found) = (self.observation_width(), observation.len());
        if expected != found {
            return Err(ActError::Length { expected, found });
        }
        if let Some(index) = observation.iter().position(|number| !number.is_finite()) {
            return Err(ActError::Observation { index });
        }
        self.input.copy_from_slice(observation);
        if let Some(Normalization { mean, std, clip }) = &self.normalization {
            for ((x, mean), std) in self.input.iter_mut().zip(mean).zip(std) {
                *x = ((f64::from(*x) - mean) / std).clamp(-clip, *clip) as f32;
            }
        }
        let outputs = self.network.forward(&self.input);
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(ActError::Overflow);
        }
        match &self.decision {
            Decision::Discrete => {
                let mut best = 0;
                for (index, output) in outputs.iter().enumerate() {
                    if *output > outputs[best] {
                        best = index;
                    }
                }
                Ok(Action::Discrete(best))
            }
            Decision::Continuous { squash, low, high } => {
                self.action.copy_from_slice(outputs);
                if let Some([center, half_width]) = squash {
                    network::tanh(&mut self.action);
                    for ((x, center), half) in self.action.iter_mut().zip(center).zip(half_width) {
                        *x = center + half * *x;
                    }
                }
                for ((x, low), high) in self.action.iter_mut().zip(low).zip(high) {
                    *x = x.max(*low).min(*high);
                }
                Ok(Action::Continuous(&self.action))
            }
        }
    }
}
