//! What an update reports.

use crate::error::AgentError;
use crate::transfer::read;
use burn::tensor::Tensor;
use std::borrow::Cow;

/// Names and numbers of one update, the same names in every iteration of a run; those that
/// Stable-Baselines3 has too are named as there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    entries: Vec<(Cow<'static, str>, f64)>,
}

impl Metrics {
    /// Metrics with these names, as the run's files have them (`train/kl`), and numbers.
    #[must_use]
    pub fn new(entries: Vec<(&'static str, f64)>) -> Metrics {
        let entries = entries.into_iter().map(|(name, number)| (name.into(), number));
        Metrics { entries: entries.collect() }
    }

    /// Adds a number at the end.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, number: f64) {
        self.entries.push((name.into(), number));
    }

    /// Names and numbers, in order.
    #[must_use]
    pub fn entries(&self) -> &[(Cow<'static, str>, f64)] {
        &self.entries
    }

    /// The number of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }
}

/// A number that is reported, or one that this run does not have.
pub trait Metric: Copy {
    /// The number, if there is one.
    fn number(self) -> Option<f64>;
}

impl Metric for f64 {
    fn number(self) -> Option<f64> {
        Some(self)
    }
}

impl Metric for Option<f64> {
    fn number(self) -> Option<f64> {
        self
    }
}

/// Defines a struct of metrics, each an `f64` or an `Option<f64>`; as [`Metrics`] a field `kl` is
/// called `train/kl`.
///
/// ```
/// agents::metrics! {
///     /// What an update reports.
///     pub struct UpdateMetrics {
///         /// Loss of the policy.
///         pub policy_loss: f64,
///         /// Coefficient, where there is one.
///         pub kl_coef: Option<f64>,
///     }
/// }
///
/// let metrics = agents::Metrics::from(UpdateMetrics { policy_loss: -0.5, kl_coef: None });
/// assert_eq!(metrics.get("train/policy_loss"), Some(-0.5));
/// assert_eq!(metrics.entries().len(), 1);
/// ```
#[macro_export]
macro_rules! metrics {
    ($(#[$docs:meta])* pub struct $name:ident { $($(#[$field_docs:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$docs])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_docs])* pub $field: $kind,)*
        }

        impl From<$name> for $crate::Metrics {
            fn from(metrics: $name) -> $crate::Metrics {
                let entries = [$((concat!("train/", stringify!($field)), $crate::Metric::number(metrics.$field)),)*];
                $crate::Metrics::new(
                    entries.into_iter().filter_map(|(name, number)| Some((name, number?))).collect(),
                )
            }
        }
    };
}

/// Metrics of a policy's loss on a minibatch, each a mean over the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyMetrics {
    /// Negative surrogate objective, without the entropy bonus.
    pub policy_loss: f64,
    /// Entropy of the policy, in nats.
    pub entropy: f64,
    /// Share of samples whose ratio is out of the clip range; 0 where nothing is clipped.
    pub clip_fraction: f64,
    /// Exact KL(old, new), in nats.
    pub kl: f64,
    /// The same from the samples' ratios alone, as mean of `(ratio - 1) - ln ratio` (low variance,
    /// never negative).
    pub approx_kl: f64,
}

impl PolicyMetrics {
    /// How many they are.
    pub const COUNT: usize = 5;

    /// The numbers as a row, which is how they leave the device.
    #[must_use]
    pub fn row(&self) -> [f32; Self::COUNT] {
        let PolicyMetrics { policy_loss, entropy, clip_fraction, kl, approx_kl } = *self;
        [policy_loss, entropy, clip_fraction, kl, approx_kl].map(|number| number as f32)
    }

    /// Metrics from the numbers of a row as [`PolicyMetrics::row`] gives it.
    #[must_use]
    pub fn from_row(row: [f64; Self::COUNT]) -> PolicyMetrics {
        let [policy_loss, entropy, clip_fraction, kl, approx_kl] = row;
        PolicyMetrics { policy_loss, entropy, clip_fraction, kl, approx_kl }
    }

    /// Reads a row from the device, or a vector that begins with one.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(row: Tensor<1>) -> Result<PolicyMetrics, AgentError> {
        match read([row])?.concat().first_chunk::<{ Self::COUNT }>() {
            Some(row) => Ok(PolicyMetrics::from_row(row.map(f64::from))),
            None => Err(AgentError::Device("a transfer came back incomplete".into())),
        }
    }
}
