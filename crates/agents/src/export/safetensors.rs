//! Safetensors: a header in JSON, then the numbers. `docs/export.md` has the function that they belong to.

use crate::config::Activation;
use crate::greedy::{Decision, GreedyPolicy};
use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

/// Of names and metadata; changes when a reader of the old one would go wrong.
const FORMAT: u32 = 1;

/// The one entry of the file's metadata, a JSON object: the order of entries would be random.
const METADATA: &str = "policy";

/// The file: a tensor that is not there stands for a step that the policy does not have.
pub fn encode(policy: &GreedyPolicy<'_>, known: &[(&str, String)]) -> io::Result<Vec<u8>> {
    let mut tensors = Vec::new();
    let mut add = |name: &str, tensor: Tensor| tensors.push((name.to_owned(), tensor));
    if let Some(normalization) = &policy.normalization {
        add("observation.mean", Tensor::f64(normalization.mean));
        add("observation.std", Tensor::f64(&normalization.std));
        add("observation.clip", Tensor { shape: vec![], ..Tensor::f64(&[normalization.clip]) });
    }
    for (index, layer) in policy.layers.iter().enumerate() {
        let shape = vec![layer.inputs, layer.outputs];
        add(&format!("layers.{index}.weight"), Tensor { shape, ..Tensor::f32(layer.weights) });
        add(&format!("layers.{index}.bias"), Tensor::f32(layer.biases));
    }
    let kind = match policy.decision {
        Decision::Discrete => "discrete",
        Decision::Continuous { squash, low, high } => {
            if let Some(squash) = squash {
                add("action.center", Tensor::f32(squash.center));
                add("action.half_width", Tensor::f32(squash.half_width));
            }
            add("action.low", Tensor::f32(low));
            add("action.high", Tensor::f32(high));
            "continuous"
        }
    };
    let activation = match policy.activation {
        Activation::Tanh => "tanh",
        Activation::Relu => "relu",
    };
    let mut metadata: Map<String, Value> =
        known.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into())).collect();
    metadata.insert("format".into(), FORMAT.into());
    metadata.insert("layers".into(), policy.layers.len().into());
    metadata.insert("activation".into(), activation.into());
    metadata.insert("actions".into(), kind.into());
    let metadata = HashMap::from([(METADATA.to_owned(), Value::Object(metadata).to_string())]);
    safetensors::serialize(tensors, Some(metadata)).map_err(io::Error::other)
}

/// Numbers as the file has them.
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn f32(numbers: &[f32]) -> Tensor {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Tensor { dtype: Dtype::F32, shape: vec![numbers.len()], bytes }
    }

    fn f64(numbers: &[f64]) -> Tensor {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Tensor { dtype: Dtype::F64, shape: vec![numbers.len()], bytes }
    }
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
