//! ONNX: a graph of named operations, in protocol buffers.
//!
//! The messages are the part of `onnx.proto` that such a graph needs, field by field as it is there.

use super::ExportFormat;
use crate::config::Activation;
use crate::greedy::{Decision, GreedyPolicy, Normalization};
use prost::Message;

/// Version of the operators: that of ONNX 1.12 (2022), old enough for every runtime in use.
const OPSET: i64 = 17;
/// Version of the file format that came with it.
const IR: i64 = 8;

// `TensorProto.DataType`
const FLOAT: i32 = 1;
const INT64: i32 = 7;
const DOUBLE: i32 = 11;

/// `AttributeProto.AttributeType.INT`
const INT: i32 = 2;

/// The file: observations `[batch, n]` in, actions out.
pub fn encode(policy: &GreedyPolicy<'_>, known: &[(&str, String)]) -> Vec<u8> {
    let mut graph = GraphBuilder::default();
    let mut x = ExportFormat::INPUT.to_owned();
    if let Some(normalization) = &policy.normalization {
        x = normalize(&mut graph, x, normalization);
    }
    for (index, layer) in policy.layers.iter().enumerate() {
        if index > 0 {
            let activation = match policy.activation {
                Activation::Tanh => "Tanh",
                Activation::Relu => "Relu",
            };
            x = graph.node(activation, &[x], &[]);
        }
        let (inputs, outputs) = (layer.inputs, layer.outputs);
        let name = |part: &str| format!("layers.{index}.{part}");
        let weights = graph.floats(&name("weight"), layer.weights, &[inputs, outputs]);
        let biases = graph.floats(&name("bias"), layer.biases, &[outputs]);
        x = graph.node("Gemm", &[x, weights, biases], &[]);
    }
    let output = decide(&mut graph, x, &policy.decision);
    if let Some(last) = graph.nodes.last_mut() {
        last.output = vec![ExportFormat::OUTPUT.to_owned()];
    }
    let entry =
        |(key, value): &(&str, String)| StringEntry { key: (*key).into(), value: value.clone() };
    let model = Model {
        ir_version: IR,
        producer_name: "backburn".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(Graph {
            node: graph.nodes,
            name: "policy".into(),
            initializer: graph.tensors,
            input: vec![ValueInfo::new(
                ExportFormat::INPUT,
                FLOAT,
                Some(policy.observation_width()),
            )],
            output: vec![output],
        }),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: known.iter().map(entry).collect(),
    };
    model.encode_to_vec()
}

/// Normalised observations.
fn normalize(graph: &mut GraphBuilder, x: String, normalization: &Normalization<'_>) -> String {
    // In double precision as the trainer does it: a mean that is large beside the deviation would
    // cancel the digits of a float.
    let width = normalization.mean.len();
    let mean = graph.doubles("observation.mean", normalization.mean, &[width]);
    let std = graph.doubles("observation.std", &normalization.std, &[width]);
    let low = graph.doubles("observation.clip.low", &[-normalization.clip], &[]);
    let high = graph.doubles("observation.clip.high", &[normalization.clip], &[]);
    let x = graph.node("Cast", &[x], &[("to", DOUBLE.into())]);
    let x = graph.node("Sub", &[x, mean], &[]);
    let x = graph.node("Div", &[x, std], &[]);
    let x = graph.node("Clip", &[x, low, high], &[]);
    graph.node("Cast", &[x], &[("to", FLOAT.into())])
}

/// What the network's outputs become: the last node's result.
fn decide(graph: &mut GraphBuilder, mut x: String, decision: &Decision<'_>) -> ValueInfo {
    match decision {
        Decision::Discrete => {
            // Of equal ones it takes the first, as the trainer does.
            graph.node("ArgMax", &[x], &[("axis", 1), ("keepdims", 0)]);
            ValueInfo::new(ExportFormat::OUTPUT, INT64, None)
        }
        Decision::Continuous { squash, low, high } => {
            let width = low.len();
            if let Some(squash) = squash {
                let center = graph.floats("action.center", squash.center, &[width]);
                let half_width = graph.floats("action.half_width", squash.half_width, &[width]);
                x = graph.node("Tanh", &[x], &[]);
                x = graph.node("Mul", &[x, half_width], &[]);
                x = graph.node("Add", &[x, center], &[]);
            }
            let low = graph.floats("action.low", low, &[width]);
            let high = graph.floats("action.high", high, &[width]);
            // Not `Clip`, which has one bound for all numbers.
            x = graph.node("Max", &[x, low], &[]);
            graph.node("Min", &[x, high], &[]);
            ValueInfo::new(ExportFormat::OUTPUT, FLOAT, Some(width))
        }
    }
}

/// A graph that grows by a node at a time; values go by their names.
#[derive(Default)]
struct GraphBuilder {
    nodes: Vec<Node>,
    tensors: Vec<TensorProto>,
}

impl GraphBuilder {
    /// Adds an operation and returns the name of its result.
    fn node(&mut self, op_type: &str, input: &[String], attributes: &[(&str, i64)]) -> String {
        let name = format!("{op_type}_{}", self.nodes.len());
        let attribute = attributes
            .iter()
            .map(|(name, i)| Attribute { name: (*name).into(), i: Some(*i), kind: INT })
            .collect();
        self.nodes.push(Node {
            input: input.to_vec(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.into(),
            attribute,
        });
        name
    }

    /// Adds constants and returns their name.
    fn floats(&mut self, name: &str, numbers: &[f32], shape: &[usize]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensor(name, FLOAT, bytes, shape)
    }

    fn doubles(&mut self, name: &str, numbers: &[f64], shape: &[usize]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensor(name, DOUBLE, bytes, shape)
    }

    fn tensor(&mut self, name: &str, data_type: i32, bytes: Vec<u8>, shape: &[usize]) -> String {
        let dims = shape.iter().map(|&size| size as i64).collect();
        self.tensors.push(TensorProto { dims, data_type, name: name.into(), raw_data: bytes });
        name.into()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StringEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    /// An `Option`, so that 0 is written too.
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    /// Little-endian.
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

impl ValueInfo {
    /// Rows of any number, of `width` numbers each, or of one number without a dimension of its own.
    fn new(name: &str, elem_type: i32, width: Option<usize>) -> ValueInfo {
        let batch = Dimension { value: None, param: Some("batch".into()) };
        let row = width.map(|width| Dimension { value: Some(width as i64), param: None });
        let shape = Some(TensorShape { dim: [batch].into_iter().chain(row).collect() });
        let tensor_type = Some(TensorType { elem_type, shape });
        ValueInfo { name: name.into(), kind: Some(Type { tensor_type }) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

/// Either a number or a name.
#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}
