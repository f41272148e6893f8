//! Results from the device.

use crate::error::AgentError;
use burn::tensor::{Tensor, Transaction};

/// Reads vectors from the device, all in one transfer.
///
/// # Errors
/// When the device fails.
pub fn read(tensors: impl IntoIterator<Item = Tensor<1>>) -> Result<Vec<Vec<f32>>, AgentError> {
    let failed = |error: &dyn std::fmt::Display| AgentError::Device(error.to_string());
    let transaction = tensors.into_iter().fold(Transaction::default(), Transaction::register);
    let data = transaction.try_execute().map_err(|error| failed(&error))?;
    data.into_iter().map(|data| data.try_into_vec().map_err(|error| failed(&error))).collect()
}
