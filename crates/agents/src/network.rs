//! Multi-layer perceptrons over one flat parameter vector.
//!
//! The vector holds, for each layer, `W [in][out]` row-major and then `b [out]`. With no hidden layer
//! the network is a linear function, and a linear function of a one-hot observation is a table.

use crate::config::{Activation, Init};
use crate::ops::kernel::{self, Layer, Level};
use crate::ops::network as ops;
use crate::orthogonal::orthogonal;
use burn::tensor::Tensor;
use envs::Rng;
use rand::RngExt;
use std::sync::Arc;

/// A multi-layer perceptron: the same nonlinearity after each hidden layer, none after the last.
///
/// ```
/// use agents::Activation;
/// use agents::network::Mlp;
///
/// // Without hidden layers it is a linear function, 2 x + 3 y + 1.
/// let network = Mlp::new(2, 1, &[], Activation::Tanh);
/// assert_eq!(network.num_params(), 3);
/// let observations = [1.0, 1.0, 0.0, -1.0];
/// let mut outputs = [0.0; 2];
/// network.forward_plain(&[2.0, 3.0, 1.0], &observations, &mut outputs);
/// assert_eq!(outputs, [6.0, -2.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    pub(crate) layers: Arc<[Layer]>,
    pub(crate) activation: Activation,
}

impl Mlp {
    /// A network from `inputs` numbers through hidden layers of so many units to `outputs` numbers.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize, hidden: &[usize], activation: Activation) -> Mlp {
        let mut layers = Vec::with_capacity(hidden.len() + 1);
        let (mut inputs, mut weights) = (inputs, 0);
        for &outputs in hidden.iter().chain([&outputs]) {
            let biases = weights + inputs * outputs;
            layers.push(Layer { inputs, outputs, weights, biases });
            (inputs, weights) = (outputs, biases + outputs);
        }
        Mlp { layers: layers.into(), activation }
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn num_params(&self) -> usize {
        self.last().biases + self.last().outputs
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

    /// Outputs `[batch, out]` for observations `[batch, in]`; autodiff follows `params`, which may have
    /// more numbers behind the network's own.
    #[must_use]
    pub fn forward(&self, params: Tensor<1>, observations: Tensor<2>) -> Tensor<2> {
        ops::forward(self, params, observations).0
    }

    /// The outputs together with everything that their derivatives at `params` need: activations are
    /// computed once, however many products with the Jacobian follow.
    #[must_use]
    pub fn linearize(&self, params: Tensor<1>, observations: Tensor<2>) -> Linearized {
        let (outputs, hidden) = ops::forward(self, params.clone(), observations.clone());
        Linearized { network: self.clone(), params, observations, hidden, outputs }
    }

    /// Writes outputs `[rows][out]` for observations `[rows][in]`, on plain slices: no tensor, no device.
    pub fn forward_plain(&self, params: &[f32], observations: &[f32], outputs: &mut [f32]) {
        kernel::outputs(self.for_kernels(), params, observations, outputs);
    }

    pub(crate) fn for_kernels(&self) -> kernel::Network<'_> {
        let Mlp { layers, activation } = self;
        kernel::Network { layers, activation: *activation, level: Level::default() }
    }
}

/// A network's derivative at one parameter vector and batch of observations.
///
/// ```
/// use agents::Activation;
/// use agents::network::Mlp;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let network = Mlp::new(2, 1, &[], Activation::Tanh);
/// let params = Tensor::from_floats([2.0, 3.0, 1.0], &device);
/// let linearized = network.linearize(params, Tensor::from_floats([[1.0, 4.0]], &device));
/// assert_eq!(linearized.outputs().into_scalar::<f32>(), 15.0);
/// // Of 2 x + 3 y + 1 at (1, 4) by the parameters: (1, 4, 1).
/// let gradient = linearized.vjp(Tensor::ones([1, 1], &device));
/// assert_eq!(gradient.try_into_vec_as::<f32>().unwrap(), [1.0, 4.0, 1.0]);
/// let change = linearized.jvp(Tensor::from_floats([1.0, 1.0, 0.0], &device));
/// assert_eq!(change.into_scalar::<f32>(), 5.0);
/// ```
#[derive(Clone, Debug)]
pub struct Linearized {
    network: Mlp,
    params: Tensor<1>,
    observations: Tensor<2>,
    hidden: Tensor<1>,
    outputs: Tensor<2>,
}

impl Linearized {
    /// The network's outputs `[batch, out]`.
    #[must_use]
    pub fn outputs(&self) -> Tensor<2> {
        self.outputs.clone()
    }

    /// The parameters, `[params]`.
    #[must_use]
    pub fn params(&self) -> &Tensor<1> {
        &self.params
    }

    /// `J v`: how the outputs `[batch, out]` move when the parameters move along `direction`.
    #[must_use]
    pub fn jvp(&self, direction: Tensor<1>) -> Tensor<2> {
        let Linearized { network, params, observations, hidden, .. } = self.clone();
        ops::jvp(&network, params, observations, hidden, direction)
    }

    /// `J' d`: the gradient, as long as the network's parameters, of a loss whose derivative with
    /// respect to the outputs `[batch, out]` is `derivative`.
    #[must_use]
    pub fn vjp(&self, derivative: Tensor<2>) -> Tensor<1> {
        let Linearized { network, params, observations, hidden, .. } = self.clone();
        ops::backward(&network, params, observations, hidden, derivative)
    }
}
