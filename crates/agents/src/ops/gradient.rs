//! Gradients of minibatches: samples are gathered and go through a network, a loss and back. That is one
//! operation, written in this order twice: from the other operations for every backend, and for `flex` on
//! plain slices in memory that is used again.

mod flex;

use super::kernel;
use super::network::NetworkOps;
use super::surrogate::{Family, LossTerms, SurrogateOps};
use super::tensors::{Array, Handle, flex_body, host, numbers_of, on_backend_of, room};
use super::value::{self, ValueOps};
use super::vector::VectorOps;
use crate::error::AgentError;
use crate::metrics::PolicyMetrics;
use crate::minibatch::{Minibatch, Target, indices_of, parts};
use crate::network::Mlp;
use crate::ranks::{Sums, Team};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Flex, TensorMetadata};
use burn::tensor::{Slice, Tensor, TensorData};
use flex::{Buffers, Column, PolicyLoss, gather, with_buffers, write_report};
use std::ops::Range;

/// A policy's loss over a batch, for gradients on some of its samples.
#[derive(Clone, Debug)]
pub struct PolicyGradients {
    network: Mlp,
    terms: LossTerms,
    standardize: bool,
    old_params: Handle,
    /// Observations, actions, log-probabilities, outputs, advantages.
    columns: [Handle; 5],
    team: Team,
}

impl PolicyGradients {
    /// How many numbers a report has.
    pub const REPORTED: usize = PolicyMetrics::COUNT + 1;

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
            team: Team::default(),
        }
    }

    /// The same, computed by this team.
    #[must_use]
    pub fn by(self, team: &Team) -> PolicyGradients {
        PolicyGradients { team: team.clone(), ..self }
    }

    /// The same loss over columns on `flex`.
    fn on_slices<'a>(&'a self, params: [&'a Array; 2], columns: [&'a Array; 5]) -> PolicyLoss<'a> {
        let [observations, actions, log_probs, outputs, advantages] = columns;
        PolicyLoss {
            params: params.map(numbers_of),
            observations: numbers_of(observations),
            columns: [actions, log_probs, outputs].map(Column::of),
            advantages: Column::of(advantages),
            network: &self.network,
            terms: self.terms,
        }
    }

    /// Writes the gradient at `params` on the samples with these indices, `[params]`, and its report: [`PolicyMetrics`],
    /// and behind them the sum of the gradient's squares.
    pub fn at(&self, params: &Handle, indices: &[i32], gradient: &mut Handle, report: &mut Handle) {
        on_backend_of!(params, B => {
            let params = [params, &self.old_params].map(Handle::read::<B>);
            let columns = self.columns.each_ref().map(Handle::read::<B>);
            let into = [gradient.write::<B>(), report.write::<B>()];
            B::policy_gradient(into, params, columns, indices, self);
        });
    }

    /// The metrics of the loss at `params` on the samples with these indices.
    ///
    /// # Errors
    /// When the device fails.
    pub fn metrics(&self, params: &Handle, indices: &[i32]) -> Result<PolicyMetrics, AgentError> {
        let mut metrics = self.old_params.clone();
        on_backend_of!(params, B => {
            let params = [params, &self.old_params].map(Handle::read::<B>);
            let columns = self.columns.each_ref().map(Handle::read::<B>);
            B::policy_metrics(metrics.write::<B>(), params, columns, indices, self);
        });
        PolicyMetrics::read(metrics.into_tensor())
    }

    /// The same on all samples.
    ///
    /// # Errors
    /// When the device fails.
    pub fn metrics_of_all(&self, params: &Handle) -> Result<PolicyMetrics, AgentError> {
        let size = self.columns[0].dispatched().shape()[0];
        let mut sums = [0.0; PolicyMetrics::COUNT];
        for part in parts(size) {
            let count = part.len() as f64;
            let metrics = self.metrics(params, &indices_of(part))?.row();
            sums.iter_mut().zip(metrics).for_each(|(sum, mean)| *sum += count * f64::from(mean));
        }
        Ok(PolicyMetrics::from_row(sums.map(|sum| sum / size as f64)))
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
    team: Team,
}

impl ValueGradients {
    /// How many numbers a report has.
    pub const REPORTED: usize = 2;

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
        let network = network.clone();
        ValueGradients { network, clip_range, coef, columns, team: Team::default() }
    }

    /// The same, computed by this team.
    #[must_use]
    pub fn by(self, team: &Team) -> ValueGradients {
        ValueGradients { team: team.clone(), ..self }
    }

    /// Writes the gradient at `params` on the samples with these indices, `[params]`, and its report: the mean squared
    /// error, and behind it the sum of the gradient's squares.
    pub fn at(&self, params: &Handle, indices: &[i32], gradient: &mut Handle, report: &mut Handle) {
        on_backend_of!(params, B => {
            let columns = self.columns.each_ref().map(Handle::read::<B>);
            let into = [gradient.write::<B>(), report.write::<B>()];
            B::value_gradient(into, params.read::<B>(), columns, indices, self);
        });
    }
}

/// Gradients of minibatches, written with their reports into two tensors. The default bodies serve every backend.
pub trait GradientOps: NetworkOps + SurrogateOps + ValueOps + VectorOps {
    /// See [`PolicyGradients::at`]. The parameters are the new ones and the old, the columns those of the loss.
    fn policy_gradient(
        [gradient, report]: [&mut FloatTensor<Self>; 2],
        [params, old_params]: [&FloatTensor<Self>; 2],
        [observations, actions, log_probs, old_outputs, advantages]: [&FloatTensor<Self>; 5],
        indices: &[i32],
        loss: &PolicyGradients,
    ) {
        let PolicyGradients { network, terms, team, .. } = loss;
        let [mut advantages] = rows_of::<Self, 1>([advantages], indices);
        if loss.standardize && indices.len() > 1 {
            advantages = Self::standardized(advantages);
        }
        let (found, metrics) = by_team::<Self>(team, indices.len(), &params.device(), |rows| {
            let columns = [observations, actions, log_probs, old_outputs];
            let [observations, actions, log_probs, old_outputs] =
                rows_of::<Self, 4>(columns, &indices[rows.clone()]);
            let advantages = Self::float_slice(advantages.clone(), &[Slice::from(rows)]);
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
                *terms,
            );
            let (params, network) = (params.clone(), network.clone());
            let gradient = Self::mlp_backward(observations, params, hidden, derivative, network);
            let gradient = match terms.family {
                Family::Categorical => gradient,
                Family::Gaussian | Family::SquashedGaussian { .. } => {
                    Self::float_cat(vec![gradient, log_std], 0)
                }
            };
            (gradient, metrics)
        });
        let squares = Self::sum_of_squares(found.clone());
        (*gradient, *report) = (found, Self::float_cat(vec![metrics, squares], 0));
    }

    /// See [`PolicyGradients::metrics`].
    fn policy_metrics(
        metrics: &mut FloatTensor<Self>,
        [params, old_params]: [&FloatTensor<Self>; 2],
        columns: [&FloatTensor<Self>; 5],
        indices: &[i32],
        loss: &PolicyGradients,
    ) {
        let PolicyGradients { network, terms, team, .. } = loss;
        let device = params.device();
        let (_, found) = by_team::<Self>(team, indices.len(), &device, |rows| {
            let [observations, actions, log_probs, old_outputs, advantages] =
                rows_of::<Self, 5>(columns, &indices[rows]);
            let (outputs, _) = Self::mlp_forward(observations, params.clone(), network.clone());
            let (metrics, _, unused) = Self::surrogate_loss(
                outputs,
                params.clone(),
                old_params.clone(),
                old_outputs,
                actions,
                log_probs,
                advantages,
                *terms,
            );
            (unused, metrics)
        });
        *metrics = found;
    }

    /// See [`ValueGradients::at`].
    fn value_gradient(
        [gradient, report]: [&mut FloatTensor<Self>; 2],
        params: &FloatTensor<Self>,
        columns: [&FloatTensor<Self>; 3],
        indices: &[i32],
        loss: &ValueGradients,
    ) {
        let ValueGradients { network, clip_range, coef, team, .. } = loss;
        let device = params.device();
        let (found, error) = by_team::<Self>(team, indices.len(), &device, |rows| {
            let [observations, returns, old_values] = rows_of::<Self, 3>(columns, &indices[rows]);
            let (values, hidden) =
                Self::mlp_forward(observations.clone(), params.clone(), network.clone());
            let (loss, derivative) =
                Self::value_loss(values, returns, old_values, *clip_range, *coef);
            let (params, network) = (params.clone(), network.clone());
            (Self::mlp_backward(observations, params, hidden, derivative, network), loss)
        });
        let squares = Self::sum_of_squares(found.clone());
        (*gradient, *report) = (found, Self::float_cat(vec![error, squares], 0));
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

/// A gradient and means over `samples` samples, of which `work` gives those of a range; each member works on its own.
/// How many ranks there are may show in the last bits.
fn by_team<B: Backend>(
    team: &Team,
    samples: usize,
    device: &B::Device,
    work: impl Fn(Range<usize>) -> (FloatTensor<B>, FloatTensor<B>),
) -> (FloatTensor<B>, FloatTensor<B>) {
    if !team.is_several() {
        return work(0..samples);
    }
    let sums = team.sum(samples, |rows| {
        let share = rows.len() as f64 / samples as f64;
        let (gradient, means) = work(rows);
        let [gradient, means] = [gradient, means].map(|vector| {
            // Ends the update, as any panic of a backend does.
            host::<B>(vector).unwrap_or_else(|error| panic!("the device gives no result: {error}"))
        });
        Sums {
            gradient: gradient.into_iter().map(|x| (f64::from(x) * share) as f32).collect(),
            figures: means.into_iter().map(|x| f64::from(x) * share).collect(),
        }
    });
    let vector = |numbers: Vec<f32>| {
        let length = numbers.len();
        B::float_from_data(TensorData::new(numbers, [length]), device)
    };
    let figures = sums.figures.into_iter().map(|x| x as f32);
    (vector(sums.gradient), vector(figures.collect()))
}

#[cfg(feature = "ndarray")]
impl GradientOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl GradientOps for burn::backend::Cube {}

impl GradientOps for Flex {
    fn policy_gradient(
        [gradient, report]: [&mut Array; 2],
        params: [&Array; 2],
        columns: [&Array; 5],
        indices: &[i32],
        loss: &PolicyGradients,
    ) {
        flex_body!("policy_gradient");
        let on_slices = loss.on_slices(params, columns);
        let gradient = room(gradient, on_slices.num_params());
        let metrics = on_slices.at(indices, loss.standardize, gradient, &loss.team);
        write_report(report, gradient, metrics);
    }

    fn policy_metrics(
        metrics: &mut Array,
        params: [&Array; 2],
        columns: [&Array; 5],
        indices: &[i32],
        loss: &PolicyGradients,
    ) {
        flex_body!("policy_metrics");
        let found = loss.on_slices(params, columns).at(indices, false, &mut [], &loss.team);
        room(metrics, found.len()).copy_from_slice(&found);
    }

    fn value_gradient(
        [gradient, report]: [&mut Array; 2],
        params: &Array,
        [observations, targets @ ..]: [&Array; 3],
        indices: &[i32],
        loss: &ValueGradients,
    ) {
        flex_body!("value_gradient");
        let ValueGradients { network, clip_range, coef, team, .. } = loss;
        let (params, observations) = (numbers_of(params), numbers_of(observations));
        let (targets, of) = (targets.map(Column::of), indices.len());
        let gradient = room(gradient, network.num_params());
        let mut total = [0.0];
        team.sum_into(of, gradient, &mut total, |rows, gradient, total| {
            let indices = &indices[rows];
            let loss =
                |some: Range<usize>, values: &[f32], derivative: &mut [f32], total: &mut [f64]| {
                    with_buffers(|Buffers { columns, .. }| {
                        let targets = gather(targets.each_ref(), &indices[some], columns);
                        total[0] =
                            value::total(values, targets, *clip_range, *coef, of, derivative);
                    });
                };
            let network = network.for_kernels();
            kernel::gradient(network, &params, &observations, indices, gradient, total, &loss);
        });
        write_report(report, gradient, [value::mean(total[0], of)]);
    }
}
