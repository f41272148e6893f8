//! A batch on the device, and reading results back.

use crate::distribution::Actions;
use crate::error::AgentError;
use crate::fused;
use crate::policy::Actor;
use crate::rollout::Batch;
use burn::tensor::{Device, Int, Tensor, TensorData, Transaction};
use envs::Rng;
use rand::seq::SliceRandom;

/// A batch of experience on a device. Columns with one number per sample are `[batch, 1]`.
#[derive(Clone, Debug)]
pub struct Samples {
    /// What the policy saw, `[batch, in]`.
    pub observations: Tensor<2>,
    /// What it did.
    pub actions: Actions,
    /// Log-probability of the action under the policy that acted.
    pub log_probs: Tensor<2>,
    /// Network outputs of the policy that acted, `[batch, out]`.
    pub outputs: Tensor<2>,
    /// Advantage estimates.
    pub advantages: Tensor<2>,
    /// Targets of the critic.
    pub returns: Tensor<2>,
    /// Predictions of the critic while acting.
    pub values: Tensor<2>,
}

impl Samples {
    /// Uploads a batch.
    #[must_use]
    pub fn upload(batch: &Batch, actor: &Actor, device: &Device) -> Samples {
        let size = batch.rewards.len();
        let rows = |data: &[f32]| {
            Tensor::from_data(TensorData::new(data.to_vec(), [size, data.len() / size]), device)
        };
        Samples {
            observations: rows(&batch.observations),
            actions: actor.policy().actions(&batch.actions, device),
            log_probs: rows(&batch.log_probs),
            outputs: rows(&batch.outputs),
            advantages: rows(&batch.advantages),
            returns: rows(&batch.returns),
            values: rows(&batch.values),
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.advantages.dims()[0]
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Minibatches of `size` samples that take each sample once, in random order; the last may be
    /// smaller.
    pub fn minibatches(&self, size: usize, rng: &mut Rng) -> impl Iterator<Item = Samples> {
        let mut order: Vec<i32> = (0..self.len() as i32).collect();
        order.shuffle(rng);
        let device = self.observations.device();
        let all = TensorData::new(order.clone(), [order.len()]);
        let all = Tensor::<1, Int>::from_data(all, &device);
        (0..order.len()).step_by(size).map(move |start| {
            let end = (start + size).min(order.len());
            let (order, rows) = (&order[start..end], || all.clone().slice_dim(0, start..end));
            self.each(
                &|column| fused::rows(&column, order).unwrap_or_else(|| column.select(0, rows())),
                &|column| fused::rows(&column, order).unwrap_or_else(|| column.select(0, rows())),
            )
        })
    }

    fn each(
        &self,
        floats: &dyn Fn(Tensor<2>) -> Tensor<2>,
        ints: &dyn Fn(Tensor<2, Int>) -> Tensor<2, Int>,
    ) -> Samples {
        Samples {
            observations: floats(self.observations.clone()),
            actions: match &self.actions {
                Actions::Discrete(indices) => Actions::Discrete(ints(indices.clone())),
                Actions::Continuous(rows) => Actions::Continuous(floats(rows.clone())),
            },
            log_probs: floats(self.log_probs.clone()),
            outputs: floats(self.outputs.clone()),
            advantages: floats(self.advantages.clone()),
            returns: floats(self.returns.clone()),
            values: floats(self.values.clone()),
        }
    }
}

/// Shifts a column to mean 0 and scales it to (sample) standard deviation 1; a single number is left
/// as it is.
#[must_use]
pub fn normalized(column: Tensor<2>) -> Tensor<2> {
    let size = column.dims()[0];
    if size < 2 {
        return column;
    }
    if let Some(column) = fused::normalized(&column) {
        return column;
    }
    let centered = column.clone() - column.mean().reshape([1, 1]);
    let variance = centered.clone().square().sum().div_scalar((size - 1) as f64);
    centered / variance.sqrt().add_scalar(1e-8).reshape([1, 1])
}

/// Reads vectors from the device, all in one transfer.
///
/// # Errors
/// When the device fails.
pub fn read<const N: usize>(tensors: [Tensor<1>; N]) -> Result<[Vec<f32>; N], AgentError> {
    let failed = |error: &dyn std::fmt::Display| AgentError::Device(error.to_string());
    let transaction = tensors.into_iter().fold(Transaction::default(), Transaction::register);
    let data = transaction.try_execute().map_err(|error| failed(&error))?;
    let vectors: Vec<Vec<f32>> = data
        .into_iter()
        .map(|data| data.try_into_vec().map_err(|error| failed(&error)))
        .collect::<Result<_, _>>()?;
    vectors.try_into().map_err(|_| AgentError::Device("a transfer came back incomplete".into()))
}
