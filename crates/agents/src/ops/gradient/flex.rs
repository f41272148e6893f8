//! Gradients of minibatches on plain slices, in memory that is used again.

use crate::metrics::PolicyMetrics;
use crate::network::Mlp;
use crate::ops::kernel;
use crate::ops::spare::{Spare, with_spare};
use crate::ops::surrogate::{LossTerms, flex};
use crate::ops::tensors::{Array, numbers_of, room};
use crate::ops::vector::standardize;
use crate::ranks::Team;
use burn::backend::TensorMetadata;
use std::borrow::Cow;

/// The loss of a policy's minibatches, on plain slices.
pub struct PolicyLoss<'a> {
    /// New ones, and those of the policy that acted.
    pub params: [Cow<'a, [f32]>; 2],
    /// Observations, actions, log-probabilities, old outputs.
    pub columns: [&'a Array; 4],
    pub advantages: &'a Array,
    pub network: &'a Mlp,
    pub terms: LossTerms,
}

impl PolicyLoss<'_> {
    pub fn num_params(&self) -> usize {
        self.network.num_params() + self.log_stds()[0].len()
    }

    fn log_stds(&self) -> [&[f32]; 2] {
        let [params, old_params] = &self.params;
        self.terms.log_stds([params, old_params])
    }

    /// The metrics on the samples with these indices, of which each member of the team computes some; writes the
    /// gradient, unless there is no room for it.
    pub fn at(
        &self,
        indices: &[i32],
        standardized: bool,
        gradient: &mut [f32],
        team: &Team,
    ) -> [f32; PolicyMetrics::COUNT] {
        let PolicyLoss { params: [params, _], columns, advantages, network, terms } = self;
        let (of, log_stds) = (indices.len(), self.log_stds());
        let (along_network, along_log_std) =
            gradient.split_at_mut(network.num_params().min(gradient.len()));
        with_buffers(|Buffers { columns: room_for, advantages: [raw, scaled], sums, pass }| {
            let [mut advantages] = gather([*advantages], indices, std::slice::from_mut(raw));
            if standardized && of > 1 {
                standardize(advantages, scaled);
                advantages = scaled;
            }
            sums.resize(flex::COUNT + log_stds[0].len(), 0.0);
            team.sum_into(of, along_network, sums, |rows, gradient, sums| {
                let advantages = &advantages[rows.clone()];
                let [observations, actions, log_probs, old_outputs] =
                    gather(*columns, &indices[rows], room_for);
                pass.forward(network, params, observations);
                let columns = flex::Columns { actions, log_probs, advantages, old_outputs };
                let (outputs, derivative) = (&pass.outputs, &mut pass.derivative);
                flex::sums(*terms, log_stds, outputs, &columns, of, derivative, sums);
                if !gradient.is_empty() {
                    pass.backward(network, params, observations, gradient);
                }
            });
            let (metrics, along) = flex::means(sums, of, *terms);
            along_log_std.iter_mut().zip(along).for_each(|(slope, along)| *slope = along);
            metrics
        })
    }
}

/// Writes the report of a gradient, which begins with these numbers.
pub fn write_report<const N: usize>(report: &mut Array, gradient: &[f32], metrics: [f32; N]) {
    let numbers = room(report, N + 1);
    numbers[..N].copy_from_slice(&metrics);
    numbers[N] = kernel::sum_of_squares(gradient) as f32;
}

/// A minibatch's memory.
#[derive(Default)]
pub struct Buffers {
    /// The samples' numbers, a column of the batch in each.
    pub columns: [Vec<f32>; 4],
    /// Those of a policy's samples, and the same standardised.
    advantages: [Vec<f32>; 2],
    /// Sums over the samples.
    sums: Vec<f64>,
    pub pass: Pass,
}

/// A minibatch on its way through a network and back.
#[derive(Default)]
pub struct Pass {
    hidden: Vec<f32>,
    pub outputs: Vec<f32>,
    /// Derivative of the loss with respect to the outputs.
    pub derivative: Vec<f32>,
}

impl Pass {
    /// Computes the outputs; makes room for the derivative.
    pub fn forward(&mut self, network: &Mlp, params: &[f32], observations: &[f32]) {
        let rows = observations.len() / network.inputs();
        self.hidden.resize(kernel::hidden_len(&network.layers, rows), 0.0);
        self.outputs.resize(rows * network.outputs(), 0.0);
        self.derivative.resize(rows * network.outputs(), 0.0);
        let (hidden, outputs) = (&mut self.hidden, &mut self.outputs);
        kernel::forward(network.for_kernels(), params, observations, hidden, outputs);
    }

    /// Writes the gradient that the derivative leads to.
    pub fn backward(
        &self,
        network: &Mlp,
        params: &[f32],
        observations: &[f32],
        gradient: &mut [f32],
    ) {
        let Pass { hidden, derivative, .. } = self;
        kernel::backward(network.for_kernels(), params, observations, hidden, derivative, gradient);
    }
}

/// Work on buffers that are kept between calls.
pub fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static SPARE: Spare<Buffers> = const { Spare::new(Vec::new()) };
    }
    with_spare(&SPARE, work)
}

/// The rows of columns `[batch, width]` with these indices, in buffers.
pub fn gather<'a, const N: usize>(
    columns: [&Array; N],
    indices: &[i32],
    buffers: &'a mut [Vec<f32>],
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
