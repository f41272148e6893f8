//! A batch on the device.

use crate::batch::Batch;
use burn::tensor::{Device, Tensor, TensorData};
use envs::Rng;
use rand::seq::SliceRandom;
use std::ops::Range;

/// Some or all of a batch's samples on a device. Columns with one number per sample are `[batch, 1]`.
#[derive(Clone, Debug)]
pub struct Minibatch {
    /// What the policy saw, `[batch, in]`.
    pub observations: Tensor<2>,
    /// What it did, `[batch, width]`: the index of a choice, or a sample before clipping or squashing.
    pub actions: Tensor<2>,
    /// Log-probability of the action under the policy that acted.
    pub log_probs: Tensor<2>,
    /// Network outputs of the policy that acted, `[batch, out]`.
    pub outputs: Tensor<2>,
    /// Advantage estimates, as the algorithm combines them.
    pub advantages: Tensor<2>,
    /// What each critic learns, in the order of the critics.
    pub targets: Vec<Target>,
}

/// Ranges of so many samples, each of a size that leaves room for the results of all layers, which Fisher products and
/// most backends keep.
pub(crate) fn parts(samples: usize) -> impl Iterator<Item = Range<usize>> {
    const PART: usize = 1 << 16;
    (0..samples).step_by(PART).map(move |start| start..samples.min(start + PART))
}

/// Uploads an array `[size]` and then the row.
pub(crate) fn rows(data: &[f32], size: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(data.to_vec(), [size, data.len() / size]), device)
}

/// The indices of these samples.
pub(crate) fn indices_of(samples: Range<usize>) -> Vec<i32> {
    samples.map(|index| index as i32).collect()
}

/// What a critic learns from. Columns `[batch, 1]`.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it should have predicted.
    pub returns: Tensor<2>,
    /// What it predicted while acting.
    pub values: Tensor<2>,
}

impl Minibatch {
    /// Uploads a whole batch with the advantages that the algorithm has made of its signals'.
    #[must_use]
    pub fn upload(batch: &Batch, advantages: &[f32], device: &Device) -> Minibatch {
        let rows = |data: &[f32]| rows(data, batch.len(), device);
        Minibatch {
            observations: rows(&batch.observations),
            actions: rows(&batch.actions),
            log_probs: rows(&batch.log_probs),
            outputs: rows(&batch.outputs),
            advantages: rows(advantages),
            targets: batch
                .signals
                .iter()
                .map(|signal| Target {
                    returns: rows(&signal.returns),
                    values: rows(&signal.values),
                })
                .collect(),
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

    /// The indices of all samples in random order: those of the minibatches, one after the other. They are written
    /// over what is in `order`.
    pub fn shuffled<'a>(&self, rng: &mut Rng, order: &'a mut Vec<i32>) -> &'a [i32] {
        order.clear();
        order.extend(0..self.len() as i32);
        order.shuffle(rng);
        order
    }
}
