//! What a network's gradients report, kept on the device until the update is over.

use super::tensors::Handle;
use super::vector::{copy, write};
use crate::error::AgentError;
use burn::tensor::{Device, Tensor};

/// Minibatches that there is room for at first.
const ROWS: usize = 512;

/// What a network's gradients of an update's minibatches report ([`super::PolicyGradients::at`]): a row for each minibatch.
#[derive(Debug)]
pub struct Reports {
    /// The rows, and room for more.
    rows: Handle,
    /// How many rows there is room for.
    room: usize,
    /// Minibatches so far.
    len: usize,
    /// Numbers in a row.
    width: usize,
}

impl Reports {
    /// Of gradients that report so many numbers each.
    #[must_use]
    pub fn new(width: usize, device: &Device) -> Reports {
        let rows = Tensor::<1>::zeros([ROWS * width], device);
        Reports { rows: rows.into(), room: ROWS, len: 0, width }
    }

    /// Minibatches so far.
    #[must_use]
    pub fn minibatches(&self) -> usize {
        self.len
    }

    /// Takes in a minibatch's report.
    pub fn add(&mut self, report: &Handle) {
        if self.len == self.room {
            // Twice the room; its second half is written over.
            let rows = self.rows.tensor::<1>();
            self.rows = Tensor::cat(vec![rows.clone(), rows], 0).into();
            self.room *= 2;
        }
        write(&mut self.rows, self.len * self.width, report);
        self.len += 1;
    }

    /// What the last gradient reports, as far as its first `N` numbers.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there was no minibatch yet.
    pub fn last<const N: usize>(&self) -> Result<[f32; N], AgentError> {
        let mut numbers = [0.0; N];
        copy(&self.rows, (self.len - 1) * self.width, &mut numbers)?;
        Ok(numbers)
    }

    /// All rows, one behind the other.
    #[must_use]
    pub fn rows(&self) -> Tensor<1> {
        self.rows.tensor::<1>().slice_dim(0, 0..self.len * self.width)
    }

    /// The first number of each report, `[minibatches]`: the loss.
    #[must_use]
    pub fn losses(&self) -> Tensor<1> {
        let rows = self.rows().reshape([self.len, self.width]);
        rows.slice_dim(1, 0..1).reshape([self.len])
    }
}
