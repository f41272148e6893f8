//! Reading a policy from a safetensors file: a header in JSON, then the numbers.

use crate::json::Json;
use crate::network::{Activation, Layer, Network};
use crate::{Decision, Normalization, Policy};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Version of names and metadata that is read here.
const FORMAT: usize = 1;

/// Why bytes are no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl core::error::Error for ReadError {}

fn wrong(message: &str) -> ReadError {
    ReadError(message.into())
}

/// A tensor's numbers, and its shape.
type Shaped<T> = (T, Vec<usize>);

/// The tensors of a file.
struct Tensors<'a> {
    header: Json,
    numbers: &'a [u8],
}

impl Tensors<'_> {
    /// The numbers of a tensor of this type as bytes; `None` where there is no such tensor.
    fn bytes(&self, name: &str, dtype: &str) -> Result<Option<Shaped<&[u8]>>, ReadError> {
        let Some(tensor) = self.header.get(name) else { return Ok(None) };
        let shape = tensor.get("shape").and_then(Json::sizes);
        let offsets = tensor.get("data_offsets").and_then(Json::sizes);
        let size = if dtype == "F64" { 8 } else { 4 };
        let bytes = match (tensor.get("dtype").and_then(Json::text), shape, offsets.as_deref()) {
            (Some(found), Some(shape), Some(&[begin, end])) if found == dtype => {
                let count = shape.iter().try_fold(size, |count: usize, n| count.checked_mul(*n));
                let bytes = self.numbers.get(begin..end);
                bytes.filter(|bytes| Some(bytes.len()) == count).map(|bytes| (bytes, shape))
            }
            _ => None,
        };
        match bytes {
            Some(found) => Ok(Some(found)),
            None => Err(ReadError(format!("the file is damaged: tensor {name}"))),
        }
    }

    fn f32(&self, name: &str) -> Result<Option<Shaped<Vec<f32>>>, ReadError> {
        let found = self.bytes(name, "F32")?;
        Ok(found.map(|(bytes, shape)| {
            let (numbers, _) = bytes.as_chunks();
            (numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), shape)
        }))
    }

    fn f64(&self, name: &str) -> Result<Option<Vec<f64>>, ReadError> {
        let found = self.bytes(name, "F64")?;
        Ok(found.map(|(bytes, _)| {
            let (numbers, _) = bytes.as_chunks();
            numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }))
    }

    /// A vector of so many finite numbers, or ones that are `bounds`, which may be infinite.
    fn vector(&self, name: &str, width: usize, bounds: bool) -> Result<Vec<f32>, ReadError> {
        let (numbers, _) =
            self.f32(name)?.ok_or_else(|| ReadError(format!("tensor {name} is missing")))?;
        let is_number = |x: &f32| if bounds { !x.is_nan() } else { x.is_finite() };
        if numbers.len() != width || !numbers.iter().all(is_number) {
            return Err(ReadError(format!("tensor {name} is not one of {width} numbers")));
        }
        Ok(numbers)
    }
}

pub fn read(bytes: &[u8]) -> Result<Policy, ReadError> {
    let (length, rest) =
        bytes.split_first_chunk().ok_or_else(|| wrong("is no safetensors file"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).and_then(|header| core::str::from_utf8(header).ok());
    let header =
        header.and_then(Json::read).ok_or_else(|| wrong("is no safetensors file, or not whole"))?;
    let about = header.get("__metadata__").and_then(|metadata| metadata.get("policy")?.text());
    let about = about.and_then(Json::read).ok_or_else(|| {
        wrong("is no policy: write one with `trainer export --format safetensors`")
    })?;
    match about.get("format").and_then(Json::size) {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(ReadError(format!(
                "has format {other}; this program reads format {FORMAT}"
            )));
        }
        None => return Err(wrong("is a policy without a format")),
    }
    let text = |key: &str| about.get(key).and_then(Json::text);
    let activation = match text("activation") {
        Some("tanh") => Activation::Tanh,
        Some("relu") => Activation::Relu,
        _ => return Err(wrong("is a policy with another activation than tanh and relu")),
    };
    let count = about.get("layers").and_then(Json::size).filter(|count| *count > 0);
    let count = count.ok_or_else(|| wrong("is a policy without layers"))?;
    let tensors = Tensors { header, numbers: &rest[length..] };

    let mut layers: Vec<Layer> = Vec::new();
    for index in 0..count {
        let name = format!("layers.{index}.weight");
        let found = tensors.f32(&name)?;
        let (weights, shape) =
            found.ok_or_else(|| ReadError(format!("tensor {name} is missing")))?;
        let expected = layers.last().map(|layer| layer.biases.len());
        let inputs = match shape[..] {
            [inputs, outputs]
                if outputs > 0 && inputs > 0 && expected.is_none_or(|n| n == inputs) =>
            {
                inputs
            }
            _ => return Err(ReadError(format!("tensor {name} does not fit the layer before it"))),
        };
        if !weights.iter().all(|weight| weight.is_finite()) {
            return Err(ReadError(format!("tensor {name} has numbers that are not finite")));
        }
        let biases = tensors.vector(&format!("layers.{index}.bias"), shape[1], false)?;
        layers.push(Layer { inputs, weights, biases });
    }
    let network = Network::new(layers, activation);

    let width = network.inputs();
    let normalization = match tensors.f64("observation.mean")? {
        None => None,
        Some(mean) => {
            let std = tensors.f64("observation.std")?.unwrap_or_default();
            let clip = tensors.f64("observation.clip")?.unwrap_or_default();
            let are_sound = [mean.len(), std.len(), clip.len()] == [width, width, 1]
                && mean.iter().chain(&std).chain(&clip).all(|number| number.is_finite())
                && std.iter().chain(&clip).all(|number| *number > 0.0);
            if !are_sound {
                return Err(wrong("the observation's normalisation is damaged"));
            }
            Some(Normalization { mean, std, clip: clip[0] })
        }
    };
    let width = network.outputs();
    let (decision, action) = match text("actions") {
        Some("discrete") => (Decision::Discrete, Vec::new()),
        Some("continuous") => {
            let squash = match tensors.f32("action.center")? {
                None => None,
                Some(_) => {
                    let names = ["action.center", "action.half_width"];
                    let [center, half] = names.map(|name| tensors.vector(name, width, false));
                    Some([center?, half?])
                }
            };
            let [low, high] =
                ["action.low", "action.high"].map(|name| tensors.vector(name, width, true));
            (Decision::Continuous { squash, low: low?, high: high? }, vec![0.0; width])
        }
        _ => return Err(wrong("is a policy whose actions are neither discrete nor continuous")),
    };
    let shown = |(key, value): &(String, Json)| Some((key.clone(), value.shown()?));
    Ok(Policy {
        normalization,
        decision,
        about: about.entries().iter().filter_map(shown).collect(),
        input: vec![0.0; network.inputs()],
        action,
        network,
    })
}
