//! Multi-layer perceptrons over one flat parameter vector.
//!
//! The vector holds, for each layer, `W [in][out]` row-major and then `b [out]`. With no hidden layer
//! the network is a linear function, and a linear function of a one-hot observation is a table.

use crate::config::{Activation, Init, NetworkConfig};
use burn::tensor::{Tensor, activation};
use envs::Rng;
use rand::RngExt;
use rand_distr::StandardNormal;

/// A function of an observation batch and a flat parameter vector that gradients flow through.
pub trait Network {
    /// Length of the parameter vector.
    fn num_params(&self) -> usize;

    /// Outputs `[batch, out]` for observations `[batch, in]`.
    fn forward(&self, params: Tensor<1>, observations: Tensor<2>) -> Tensor<2>;

    /// Directional derivative `J v`: how the outputs `[batch, out]` move when the parameters move
    /// along `direction`. By default a central difference, exact to about 1e-3 in f32.
    fn jvp(&self, params: Tensor<1>, direction: Tensor<1>, observations: Tensor<2>) -> Tensor<2> {
        let norm: f32 = direction.clone().square().sum().sqrt().into_scalar();
        if norm == 0.0 {
            return self.forward(params, observations).mul_scalar(0.0);
        }
        let size = 1e-2 / norm;
        let offset = direction.mul_scalar(size);
        let ahead = self.forward(params.clone() + offset.clone(), observations.clone());
        let behind = self.forward(params - offset, observations);
        (ahead - behind).mul_scalar(0.5 / size)
    }
}

/// A multi-layer perceptron: the same nonlinearity after each hidden layer, none after the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    layers: Vec<Layer>,
    activation: Activation,
}

/// One layer's place in the parameter vector.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weights: usize,
    biases: usize,
}

impl Mlp {
    /// A network from `inputs` numbers through the hidden layers to `outputs` numbers.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize, config: &NetworkConfig) -> Mlp {
        let mut layers = Vec::with_capacity(config.hidden.len() + 1);
        let (mut inputs, mut weights) = (inputs, 0);
        for &outputs in config.hidden.iter().chain([&outputs]) {
            let biases = weights + inputs * outputs;
            layers.push(Layer { inputs, outputs, weights, biases });
            (inputs, weights) = (outputs, biases + outputs);
        }
        Mlp { layers, activation: config.activation }
    }

    /// Numbers that the network reads.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Numbers that the network gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.last().outputs
    }

    fn last(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    /// Fresh parameters; the last layer's weights are scaled by `last_gain`.
    #[must_use]
    pub fn init(&self, init: Init, last_gain: f32, rng: &mut Rng) -> Vec<f32> {
        let mut params = vec![0.0; self.num_params()];
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let weights = &mut params[layer.weights..layer.biases];
            let is_last = index == last;
            match init {
                Init::Orthogonal => {
                    let gain = if is_last { last_gain } else { std::f32::consts::SQRT_2 };
                    orthogonal(weights, layer.inputs, layer.outputs, gain, rng);
                }
                Init::Xavier => {
                    let gain = if is_last { last_gain } else { 1.0 };
                    let bound = gain * (6.0 / (layer.inputs + layer.outputs) as f32).sqrt();
                    weights.fill_with(|| bound * (2.0 * rng.random::<f32>() - 1.0));
                }
            }
        }
        params
    }

    fn activate(&self, x: Tensor<2>) -> Tensor<2> {
        match self.activation {
            Activation::Tanh => x.tanh(),
            Activation::Relu => activation::relu(x),
        }
    }

    /// Derivative of the nonlinearity, from its result.
    fn slope(&self, activated: Tensor<2>) -> Tensor<2> {
        match self.activation {
            Activation::Tanh => activated.square().neg().add_scalar(1.0),
            Activation::Relu => activated.sign(),
        }
    }

    /// Outputs `[rows][out]` for observations `[rows][in]`, on plain slices: no tensor, no device.
    pub fn forward_plain<'a>(
        &self,
        params: &[f32],
        observations: &[f32],
        scratch: &'a mut Scratch,
    ) -> &'a [f32] {
        let rows = observations.len() / self.inputs();
        let last = self.layers.len() - 1;
        let Scratch { front, back } = scratch;
        for (index, layer) in self.layers.iter().enumerate() {
            let input = if index == 0 { observations } else { &front[..rows * layer.inputs] };
            back.resize(rows * layer.outputs, 0.0);
            affine(
                input,
                &params[layer.weights..layer.biases],
                &params[layer.biases..layer.biases + layer.outputs],
                back,
            );
            if index < last {
                match self.activation {
                    Activation::Tanh => back.iter_mut().for_each(|x| *x = x.tanh()),
                    Activation::Relu => back.iter_mut().for_each(|x| *x = x.max(0.0)),
                }
            }
            std::mem::swap(front, back);
        }
        &front[..rows * self.outputs()]
    }
}

impl Network for Mlp {
    fn num_params(&self) -> usize {
        self.last().biases + self.last().outputs
    }

    fn forward(&self, params: Tensor<1>, observations: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        let mut x = observations;
        for (index, layer) in self.layers.iter().enumerate() {
            let (weights, biases) = layer.split(&params);
            x = x.matmul(weights) + biases;
            if index < last {
                x = self.activate(x);
            }
        }
        x
    }

    fn jvp(&self, params: Tensor<1>, direction: Tensor<1>, observations: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        let mut x = observations;
        let mut moved: Option<Tensor<2>> = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let (weights, biases) = layer.split(&params);
            let (weights_direction, biases_direction) = layer.split(&direction);
            let mut change = x.clone().matmul(weights_direction) + biases_direction;
            if let Some(moved) = moved {
                change = change + moved.matmul(weights.clone());
            }
            x = x.matmul(weights) + biases;
            if index < last {
                x = self.activate(x);
                change = change * self.slope(x.clone());
            }
            moved = Some(change);
        }
        moved.unwrap_or(x)
    }
}

impl Layer {
    /// Weights `[in, out]` and biases `[1, out]` out of the flat vector.
    fn split(&self, params: &Tensor<1>) -> (Tensor<2>, Tensor<2>) {
        let end = self.biases + self.outputs;
        (
            params.clone().slice([self.weights..self.biases]).reshape([self.inputs, self.outputs]),
            params.clone().slice([self.biases..end]).reshape([1, self.outputs]),
        )
    }
}

/// Room for the layers of [`Mlp::forward_plain`], kept between calls so that acting allocates once.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    front: Vec<f32>,
    back: Vec<f32>,
}

/// `output [rows][out] = input [rows][in] weights [in][out] + biases [out]`.
fn affine(input: &[f32], weights: &[f32], biases: &[f32], output: &mut [f32]) {
    let outputs = biases.len();
    let inputs = weights.len() / outputs;
    for (x, y) in input.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs)) {
        y.copy_from_slice(biases);
        for (&x, w) in x.iter().zip(weights.chunks_exact(outputs)) {
            for (y, &w) in y.iter_mut().zip(w) {
                *y += x * w;
            }
        }
    }
}

/// Fills `weights [inputs][outputs]` with a matrix whose shorter side is orthonormal, times `gain`:
/// Gram-Schmidt, twice for accuracy, on normal draws (Saxe et al. 2014).
fn orthogonal(weights: &mut [f32], inputs: usize, outputs: usize, gain: f32, rng: &mut Rng) {
    let (count, length) = (inputs.min(outputs), inputs.max(outputs));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = (0..length).map(|_| rng.sample(StandardNormal)).collect();
        for _ in 0..2 {
            for other in &basis {
                let overlap: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= overlap * b);
            }
        }
        let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A draw that lies in the span so far (never, in practice) is drawn again.
        if norm > 1e-6 {
            vector.iter_mut().for_each(|a| *a /= norm);
            basis.push(vector);
        }
    }
    for i in 0..inputs {
        for j in 0..outputs {
            let value = if inputs >= outputs { basis[j][i] } else { basis[i][j] };
            weights[i * outputs + j] = gain * value as f32;
        }
    }
}
