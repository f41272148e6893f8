//! Gradients of minibatches: samples are gathered and go through a network, a loss and back. That is one
//! operation, written in this order twice: from the other operations for every backend, and for `flex` on
//! plain slices in memory that is used again.

use super::kernel;
use super::network::NetworkOps;
use super::spare::{Spare, with_spare};
use super::surrogate::{Family, LossTerms, SurrogateOps, flex};
use super::tensors::{Array, Expr, Handle, flex_body, numbers_of, room, tensor_of};
use super::value::{self, ValueOps};
use super::vector::{VectorOps, standardize};
use crate::minibatch::{Minibatch, Target};
use crate::network::Mlp;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Cube, Dispatch, Flex, NdArray, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

/// The gradient of a loss on a minibatch.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The gradient itself, `[params]`.
    pub gradient: Handle,
    /// What the loss reports: of a policy [`crate::PolicyMetrics`], of a critic the mean squared error. Behind it
    /// stands the sum of the gradient's squares.
    pub report: Handle,
}

/// A policy's loss over a batch, for gradients on some of its samples.
#[derive(Clone, Debug)]
pub struct PolicyGradients {
    network: Mlp,
    terms: LossTerms,
    standardize: bool,
    old_params: Handle,
    /// Observations, actions, log-probabilities, outputs, advantages.
    columns: [Handle; 5],
}

impl PolicyGradients {
    /// The loss of a network with these terms. `old_params` are those of the policy that acted: the
    /// network's and, behind them, the log standard deviations. With `standardize` a minibatch's advantages
    /// are standardised first ([`super::standardized`]).
    #[must_use]
    pub fn new(
        network: &Mlp,
        old_params: &Tensor<1>,
        samples: &Minibatch,
        terms: LossTerms,
        standardize: bool,
    ) -> PolicyGradients {
        let Minibatch { observations, actions, log_probs, outputs, advantages, .. } = samples;
        PolicyGradients {
            network: network.clone(),
            terms,
            standardize,
            old_params: old_params.clone().into(),
            columns: [observations, actions, log_probs, outputs, advantages]
                .map(|column| column.clone().into()),
        }
    }

    /// The gradient at `params` on the samples with these indices.
    #[must_use]
    pub fn at(&self, params: &Handle, indices: &[i32]) -> Gradient {
        let [observations, actions, log_probs, outputs, advantages] =
            self.columns.each_ref().map(Handle::read);
        let (gradient, report) = <Dispatch as GradientOps>::policy_gradient(
            params.read(),
            self.old_params.read(),
            observations,
            actions,
            log_probs,
            outputs,
            advantages,
            indices,
            &self.network,
            self.terms,
            self.standardize,
        );
        Gradient { gradient: Handle::of(gradient), report: Handle::of(report) }
    }
}

/// A critic's loss ([`super::value_loss`]) over a batch, for gradients on some of its samples.
#[derive(Clone, Debug)]
pub struct ValueGradients {
    network: Mlp,
    clip_range: Option<f64>,
    coef: f64,
    /// Observations, returns, old values.
    columns: [Handle; 3],
}

impl ValueGradients {
    /// `coef` times the loss of a network's values of `observations [batch, in]`.
    #[must_use]
    pub fn new(
        network: &Mlp,
        observations: &Tensor<2>,
        target: &Target,
        clip_range: Option<f64>,
        coef: f64,
    ) -> ValueGradients {
        let columns = [observations, &target.returns, &target.values];
        let columns = columns.map(|column| column.clone().into());
        ValueGradients { network: network.clone(), clip_range, coef, columns }
    }

    /// The gradient at `params` on the samples with these indices.
    #[must_use]
    pub fn at(&self, params: &Handle, indices: &[i32]) -> Gradient {
        let [observations, returns, values] = self.columns.each_ref().map(Handle::read);
        let (gradient, report) = <Dispatch as GradientOps>::value_gradient(
            params.read(),
            observations,
            returns,
            values,
            indices,
            &self.network,
            self.clip_range,
            self.coef,
        );
        Gradient { gradient: Handle::of(gradient), report: Handle::of(report) }
    }
}

/// Two reports ([`Gradient::report`]) as one: what the first says, what the second says, and the sum of the
/// squares of both gradients.
#[must_use]
pub fn together(report: &Handle, other: &Handle) -> Handle {
    Handle::of(<Dispatch as GradientOps>::together(report.read(), other.read()))
}

/// Gradients of minibatches. The default bodies serve every backend.
#[backend_extension(Flex, NdArray, Cube)]
pub trait GradientOps: NetworkOps + SurrogateOps + ValueOps + VectorOps {
    /// See [`PolicyGradients`].
    #[allow(clippy::too_many_arguments)]
    fn policy_gradient(
        params: &FloatTensor<Self>,
        old_params: &FloatTensor<Self>,
        observations: &FloatTensor<Self>,
        actions: &FloatTensor<Self>,
        log_probs: &FloatTensor<Self>,
        old_outputs: &FloatTensor<Self>,
        advantages: &FloatTensor<Self>,
        indices: &[i32],
        network: &Mlp,
        terms: LossTerms,
        standardize: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let columns = [observations, actions, log_probs, old_outputs, advantages];
        let [observations, actions, log_probs, old_outputs, mut advantages] =
            rows_of::<Self, 5>(columns, indices);
        if standardize && indices.len() > 1 {
            advantages = Self::standardized(advantages);
        }
        let (outputs, hidden) =
            Self::mlp_forward(observations.clone(), params.clone(), network.clone());
        let (metrics, derivative, log_std) = Self::surrogate_loss(
            outputs,
            params.clone(),
            old_params.clone(),
            old_outputs,
            actions,
            log_probs,
            advantages,
            terms,
        );
        let (params, network) = (params.clone(), network.clone());
        let gradient = Self::mlp_backward(observations, params, hidden, derivative, network);
        let gradient = match terms.family {
            Family::Categorical => gradient,
            Family::Gaussian | Family::SquashedGaussian { .. } => {
                Self::float_cat(vec![gradient, log_std], 0)
            }
        };
        let squares = Self::sum_of_squares(gradient.clone());
        (gradient, Self::float_cat(vec![metrics, squares], 0))
    }

    /// See [`ValueGradients`].
    #[allow(clippy::too_many_arguments)]
    fn value_gradient(
        params: &FloatTensor<Self>,
        observations: &FloatTensor<Self>,
        returns: &FloatTensor<Self>,
        old_values: &FloatTensor<Self>,
        indices: &[i32],
        network: &Mlp,
        clip_range: Option<f64>,
        coef: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let columns = [observations, returns, old_values];
        let [observations, returns, old_values] = rows_of::<Self, 3>(columns, indices);
        let (values, hidden) =
            Self::mlp_forward(observations.clone(), params.clone(), network.clone());
        let (loss, derivative) = Self::value_loss(values, returns, old_values, clip_range, coef);
        let (params, network) = (params.clone(), network.clone());
        let gradient = Self::mlp_backward(observations, params, hidden, derivative, network);
        let squares = Self::sum_of_squares(gradient.clone());
        (gradient, Self::float_cat(vec![loss, squares], 0))
    }

    /// See [`together`].
    fn together(report: &FloatTensor<Self>, other: &FloatTensor<Self>) -> FloatTensor<Self> {
        let [said, others] = [report, other].map(|report| {
            let squares = report.shape()[0] - 1;
            let part = |from, to| Expr::<Self>(report.clone()).range(from, to);
            [part(0, squares), part(squares, squares + 1)]
        });
        let ([said, squares], [other_said, other_squares]) = (said, others);
        let squares = squares + other_squares;
        Self::float_cat(vec![said.0, other_said.0, squares.0], 0)
    }
}

/// The rows of columns `[batch, width]` with these indices.
fn rows_of<B: Backend, const N: usize>(
    columns: [&FloatTensor<B>; N],
    indices: &[i32],
) -> [FloatTensor<B>; N] {
    let data = TensorData::new(indices.to_vec(), [indices.len()]);
    let indices: IntTensor<B> = B::int_from_data(data, &columns[0].device());
    columns.map(|column| B::float_select(column.clone(), 0, indices.clone()))
}

impl GradientOps for NdArray {}

impl GradientOps for Cube {}

impl GradientOps for Flex {
    fn policy_gradient(
        params: &Array,
        old_params: &Array,
        observations: &Array,
        actions: &Array,
        log_probs: &Array,
        old_outputs: &Array,
        advantages: &Array,
        indices: &[i32],
        network: &Mlp,
        terms: LossTerms,
        standardized: bool,
    ) -> (Array, Array) {
        flex_body!("policy_gradient");
        let [params, old_params] = [params, old_params].map(numbers_of);
        with_buffers(|Buffers { columns, standardized: scaled, pass }| {
            let arrays = [observations, actions, log_probs, old_outputs, advantages];
            let [observations, actions, log_probs, old_outputs, mut advantages] =
                gather(arrays, indices, columns);
            if standardized && indices.len() > 1 {
                standardize(advantages, scaled);
                advantages = scaled;
            }
            pass.forward(network, &params, observations);
            let log_stds = terms.log_stds([&params, &old_params]);
            let columns = flex::Columns { actions, log_probs, advantages, old_outputs };
            let weights = network.num_params();
            let mut gradient = room(weights + log_stds[0].len());
            let (by_weights, by_log_std) = gradient.split_at_mut(weights);
            let metrics = flex::loss(
                terms,
                log_stds,
                &pass.outputs,
                &columns,
                &mut pass.derivative,
                by_log_std,
            );
            pass.backward(network, &params, observations, by_weights);
            with_report(gradient, metrics)
        })
    }

    fn value_gradient(
        params: &Array,
        observations: &Array,
        returns: &Array,
        old_values: &Array,
        indices: &[i32],
        network: &Mlp,
        clip_range: Option<f64>,
        coef: f64,
    ) -> (Array, Array) {
        flex_body!("value_gradient");
        let params = numbers_of(params);
        with_buffers(|Buffers { columns, pass, .. }| {
            let [observations, returns, old_values] =
                gather([observations, returns, old_values], indices, columns);
            pass.forward(network, &params, observations);
            let targets = [returns, old_values];
            let loss = value::loss(&pass.outputs, targets, clip_range, coef, &mut pass.derivative);
            let mut gradient = room(network.num_params());
            pass.backward(network, &params, observations, &mut gradient);
            with_report(gradient, [loss])
        })
    }

    fn together(report: &Array, other: &Array) -> Array {
        flex_body!("together");
        let [report, other] = [report, other].map(numbers_of);
        let [(squares, said), (other_squares, other_said)] =
            [report.split_last(), other.split_last()]
                .map(|parts| parts.unwrap_or_else(|| unreachable!("a report ends in squares")));
        let joined = [said, other_said, &[squares + other_squares]].concat();
        let length = joined.len();
        tensor_of(joined, [length])
    }
}

/// A gradient, and its report that begins with these numbers.
fn with_report<const N: usize>(gradient: Vec<f32>, metrics: [f32; N]) -> (Array, Array) {
    let mut report = Vec::with_capacity(N + 1);
    report.extend(metrics);
    report.push(kernel::sum_of_squares(&gradient) as f32);
    let length = gradient.len();
    (tensor_of(gradient, [length]), tensor_of(report, [N + 1]))
}

/// A minibatch's memory.
#[derive(Default)]
struct Buffers {
    /// The samples' numbers, a column of the batch in each.
    columns: [Vec<f32>; 5],
    standardized: Vec<f32>,
    pass: Pass,
}

/// A minibatch on its way through a network and back.
#[derive(Default)]
struct Pass {
    hidden: Vec<f32>,
    outputs: Vec<f32>,
    /// Derivative of the loss with respect to the outputs.
    derivative: Vec<f32>,
}

impl Pass {
    /// Computes the outputs; makes room for the derivative.
    fn forward(&mut self, network: &Mlp, params: &[f32], observations: &[f32]) {
        let rows = observations.len() / network.inputs();
        self.hidden.resize(kernel::hidden_len(&network.layers, rows), 0.0);
        self.outputs.resize(rows * network.outputs(), 0.0);
        self.derivative.resize(rows * network.outputs(), 0.0);
        let (hidden, outputs) = (&mut self.hidden, &mut self.outputs);
        kernel::forward(network.for_kernels(), params, observations, hidden, outputs);
    }

    /// Writes the gradient that the derivative leads to.
    fn backward(&self, network: &Mlp, params: &[f32], observations: &[f32], gradient: &mut [f32]) {
        let Pass { hidden, derivative, .. } = self;
        kernel::backward(network.for_kernels(), params, observations, hidden, derivative, gradient);
    }
}

/// Work on buffers that are kept between calls.
fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static SPARE: Spare<Buffers> = const { Spare::new(Vec::new()) };
    }
    with_spare(&SPARE, work)
}

/// The rows of columns `[batch, width]` with these indices, in buffers.
fn gather<'a, const N: usize>(
    columns: [&Array; N],
    indices: &[i32],
    buffers: &'a mut [Vec<f32>; 5],
) -> [&'a [f32]; N] {
    let mut buffers = buffers.iter_mut();
    columns.map(|column| {
        let Some(rows) = buffers.next() else { unreachable!("a buffer for each column") };
        let numbers = numbers_of(column);
        match column.shape()[1] {
            1 => {
                rows.clear();
                rows.extend(indices.iter().map(|&index| numbers[index as usize]));
            }
            2 => narrow_rows::<2>(&numbers, indices, rows),
            3 => narrow_rows::<3>(&numbers, indices, rows),
            4 => narrow_rows::<4>(&numbers, indices, rows),
            width => {
                rows.resize(indices.len() * width, 0.0);
                for (row, &index) in rows.chunks_exact_mut(width).zip(indices) {
                    row.copy_from_slice(&numbers[index as usize * width..][..width]);
                }
            }
        }
        &rows[..]
    })
}

/// Rows of so few numbers that a loop over them would take longer than the copy.
fn narrow_rows<const W: usize>(numbers: &[f32], indices: &[i32], rows: &mut Vec<f32>) {
    let numbers = numbers.as_chunks::<W>().0;
    rows.resize(indices.len() * W, 0.0);
    for (row, &index) in rows.as_chunks_mut::<W>().0.iter_mut().zip(indices) {
        *row = numbers[index as usize];
    }
}
