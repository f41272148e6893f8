//! A whole network as one operation: forward, backward and forward-mode derivative. On `flex` they are
//! the kernels of [`super::kernel`]. Autodiff records one node for the network, whatever its depth.

use super::kernel::{self, Layer};
use super::tensors::{Array, contiguous, flex_body, slice_of, tensor_of};
use crate::config::Activation;
use crate::network::Mlp;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{Shape, Slice, Tensor};

/// Outputs `[batch, out]` of a network for observations `[batch, in]` and parameters `[params]`, which
/// may have more numbers behind the network's own; and the results of all its hidden layers in one
/// vector, in an order that is the backend's own. Gradients flow to `params`, not to the
/// observations.
#[must_use]
pub fn forward(
    network: &Mlp,
    params: Tensor<1>,
    observations: Tensor<2>,
) -> (Tensor<2>, Tensor<1>) {
    let (outputs, hidden) = <Dispatch as NetworkOps>::mlp_forward(
        observations.into_dispatch(),
        params.into_dispatch(),
        network.clone(),
    );
    (Tensor::from_dispatch(outputs), Tensor::from_dispatch(hidden))
}

/// `J' d`: gradient, as long as the network's parameters, of a loss whose derivative with respect to the
/// outputs `[batch, out]` is given. `hidden` is what [`forward`] gave beside the outputs.
#[must_use]
pub fn backward(
    network: &Mlp,
    params: Tensor<1>,
    observations: Tensor<2>,
    hidden: Tensor<1>,
    derivative: Tensor<2>,
) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as NetworkOps>::mlp_backward(
        observations.into_dispatch(),
        params.into_dispatch(),
        hidden.into_dispatch(),
        derivative.into_dispatch(),
        network.clone(),
    ))
}

/// `J v`: change of the outputs `[batch, out]` along a direction `[params]` of the parameters. `hidden` is
/// what [`forward`] gave beside the outputs.
#[must_use]
pub fn jvp(
    network: &Mlp,
    params: Tensor<1>,
    observations: Tensor<2>,
    hidden: Tensor<1>,
    direction: Tensor<1>,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as NetworkOps>::mlp_jvp(
        observations.into_dispatch(),
        params.into_dispatch(),
        hidden.into_dispatch(),
        direction.into_dispatch(),
        network.clone(),
    ))
}

/// Operations of a network. The default bodies serve every backend.
#[backend_extension(
    Flex,
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "wgpu"),
    Autodiff
)]
pub trait NetworkOps: Backend {
    /// See [`forward`].
    fn mlp_forward(
        observations: FloatTensor<Self>,
        params: FloatTensor<Self>,
        network: Mlp,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let rows = observations.shape()[0];
        let last = network.layers.len() - 1;
        let device = observations.device();
        let mut x = observations;
        let mut hidden = vec![Self::float_zeros(Shape::from([0]), &device, x.dtype().into())];
        for (index, &layer) in network.layers.iter().enumerate() {
            x = affine::<Self>(x, &params, layer);
            if index < last {
                x = match network.activation {
                    Activation::Tanh => Self::float_tanh(x),
                    Activation::Relu => Self::relu(x),
                };
                hidden.push(Self::float_reshape(x.clone(), Shape::from([rows * layer.outputs])));
            }
        }
        let hidden =
            if last > 0 { Self::float_cat(hidden.split_off(1), 0) } else { hidden.remove(0) };
        (x, hidden)
    }

    /// See [`backward`].
    fn mlp_backward(
        observations: FloatTensor<Self>,
        params: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        derivative: FloatTensor<Self>,
        network: Mlp,
    ) -> FloatTensor<Self> {
        let inputs = layer_inputs::<Self>(observations, &hidden, &network);
        let mut derivative = derivative;
        let mut gradients = Vec::with_capacity(2 * network.layers.len());
        for (index, (&layer, input)) in network.layers.iter().zip(inputs).enumerate().rev() {
            let biases = Self::float_sum_dim(derivative.clone(), 0);
            let weights =
                Self::float_matmul(Self::float_transpose(input.clone()), derivative.clone());
            gradients.push(Self::float_reshape(biases, Shape::from([layer.outputs])));
            gradients
                .push(Self::float_reshape(weights, Shape::from([layer.inputs * layer.outputs])));
            if index > 0 {
                let weights = Self::float_transpose(weights_of::<Self>(&params, layer));
                let slope = slope::<Self>(network.activation, input);
                derivative = Self::float_mul(Self::float_matmul(derivative, weights), slope);
            }
        }
        gradients.reverse();
        Self::float_cat(gradients, 0)
    }

    /// See [`jvp`].
    fn mlp_jvp(
        observations: FloatTensor<Self>,
        params: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        direction: FloatTensor<Self>,
        network: Mlp,
    ) -> FloatTensor<Self> {
        let inputs = layer_inputs::<Self>(observations, &hidden, &network);
        let mut change: Option<FloatTensor<Self>> = None;
        for (&layer, input) in network.layers.iter().zip(inputs) {
            let moved = affine::<Self>(input.clone(), &direction, layer);
            change = Some(match change {
                Some(change) => {
                    let slope = slope::<Self>(network.activation, input);
                    let change = Self::float_mul(change, slope);
                    let carried = Self::float_matmul(change, weights_of::<Self>(&params, layer));
                    Self::float_add(moved, carried)
                }
                None => moved,
            });
        }
        change.unwrap_or(direction)
    }
}

/// Weights `[in, out]` of a layer out of the flat vector.
fn weights_of<B: Backend>(params: &FloatTensor<B>, layer: Layer) -> FloatTensor<B> {
    let weights = B::float_slice(params.clone(), &[Slice::from(layer.weights..layer.biases)]);
    B::float_reshape(weights, Shape::from([layer.inputs, layer.outputs]))
}

/// `x W + b` with the layer's part of `params`.
fn affine<B: Backend>(x: FloatTensor<B>, params: &FloatTensor<B>, layer: Layer) -> FloatTensor<B> {
    let end = layer.biases + layer.outputs;
    let biases = B::float_slice(params.clone(), &[Slice::from(layer.biases..end)]);
    let biases = B::float_reshape(biases, Shape::from([1, layer.outputs]));
    B::float_add(B::float_matmul(x, weights_of::<B>(params, layer)), biases)
}

/// What each layer reads, `[batch, in]`: the observations, then the hidden layers' results.
fn layer_inputs<B: Backend>(
    observations: FloatTensor<B>,
    hidden: &FloatTensor<B>,
    network: &Mlp,
) -> Vec<FloatTensor<B>> {
    let rows = observations.shape()[0];
    let mut inputs = vec![observations];
    let mut start = 0;
    for layer in &network.layers[1..] {
        let end = start + rows * layer.inputs;
        let results = B::float_slice(hidden.clone(), &[Slice::from(start..end)]);
        inputs.push(B::float_reshape(results, Shape::from([rows, layer.inputs])));
        start = end;
    }
    inputs
}

/// Slope of the nonlinearity, from its results.
fn slope<B: Backend>(activation: Activation, results: FloatTensor<B>) -> FloatTensor<B> {
    match activation {
        Activation::Tanh => {
            let square = B::float_mul(results.clone(), results);
            B::float_add_scalar(B::float_neg(square), 1.0_f32.into())
        }
        Activation::Relu => B::float_sign(results),
    }
}

#[cfg(feature = "ndarray")]
impl NetworkOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl NetworkOps for burn::backend::Cube {}

impl NetworkOps for Flex {
    fn mlp_forward(observations: Array, params: Array, network: Mlp) -> (Array, Array) {
        flex_body!("mlp_forward");
        let rows = observations.shape()[0];
        let [observations, params] = [observations, params].map(contiguous);
        let mut hidden = vec![0.0; kernel::hidden_len(&network.layers, rows)];
        let mut outputs = vec![0.0; rows * network.outputs()];
        kernel::forward(
            network.for_kernels(),
            slice_of(&params),
            slice_of(&observations),
            &mut hidden,
            &mut outputs,
        );
        let units = hidden.len();
        (tensor_of(outputs, [rows, network.outputs()]), tensor_of(hidden, [units]))
    }

    fn mlp_backward(
        observations: Array,
        params: Array,
        hidden: Array,
        derivative: Array,
        network: Mlp,
    ) -> Array {
        flex_body!("mlp_backward");
        let [observations, params, hidden, derivative] =
            [observations, params, hidden, derivative].map(contiguous);
        let mut gradient = vec![0.0; network.num_params()];
        kernel::backward(
            network.for_kernels(),
            slice_of(&params),
            slice_of(&observations),
            slice_of(&hidden),
            slice_of(&derivative),
            &mut gradient,
        );
        let length = gradient.len();
        tensor_of(gradient, [length])
    }

    fn mlp_jvp(
        observations: Array,
        params: Array,
        hidden: Array,
        direction: Array,
        network: Mlp,
    ) -> Array {
        flex_body!("mlp_jvp");
        let rows = observations.shape()[0];
        let [observations, params, hidden, direction] =
            [observations, params, hidden, direction].map(contiguous);
        let mut change = vec![0.0; rows * network.outputs()];
        kernel::jvp(
            network.for_kernels(),
            slice_of(&params),
            slice_of(&observations),
            slice_of(&hidden),
            slice_of(&direction),
            &mut change,
        );
        tensor_of(change, [rows, network.outputs()])
    }
}

/// The network's node in the graph.
#[derive(Debug)]
struct NetworkNode;

/// What the node keeps for its backward pass.
#[derive(Clone, Debug)]
struct NetworkState<T> {
    observations: T,
    params: T,
    hidden: T,
    network: Mlp,
}

impl<B: NetworkOps> Backward<B, 1> for NetworkNode {
    type State = NetworkState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let derivative = gradients.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let NetworkState { observations, params, hidden, network } = ops.state;
            let (length, used) = (params.shape()[0], network.num_params());
            let (device, dtype) = (params.device(), params.dtype());
            let mut gradient = B::mlp_backward(observations, params, hidden, derivative, network);
            if used < length {
                // What stands behind the network's parameters does not move its outputs.
                let rest = B::float_zeros(Shape::from([length - used]), &device, dtype.into());
                gradient = B::float_cat(vec![gradient, rest], 0);
            }
            gradients.register::<B>(node.id, gradient);
        }
    }
}

impl<B: NetworkOps, C: CheckpointStrategy> NetworkOps for Autodiff<B, C> {
    fn mlp_forward(
        observations: FloatTensor<Self>,
        params: FloatTensor<Self>,
        network: Mlp,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let node = params.node();
        let (observations, params) = (observations.into_primitive(), params.into_primitive());
        let (outputs, hidden) =
            B::mlp_forward(observations.clone(), params.clone(), network.clone());
        let outputs = match NetworkNode.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let hidden = hidden.clone();
                prep.finish(NetworkState { observations, params, hidden, network }, outputs)
            }
            OpsKind::UnTracked(prep) => prep.finish(outputs),
        };
        (outputs, <Self as AutodiffBackend>::from_inner(hidden))
    }
}
