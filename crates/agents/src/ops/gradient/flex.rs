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
use std::ops::Range;

/// The loss of a policy's minibatches, on plain slices.
pub struct PolicyLoss<'a> {
    /// New ones, and those of the policy that acted.
    pub params: [Cow<'a, [f32]>; 2],
    pub observations: Cow<'a, [f32]>,
    /// Actions, log-probabilities, old outputs.
    pub columns: [Column<'a>; 3],
    pub advantages: Column<'a>,
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
        let PolicyLoss { params: [params, _], observations, columns, advantages, network, terms } =
            self;
        let (of, log_stds) = (indices.len(), self.log_stds());
        let (along_network, along_log_std) =
            gradient.split_at_mut(network.num_params().min(gradient.len()));
        with_buffers(|Buffers { advantages: [raw, scaled], sums, .. }| {
            let [mut advantages] = gather([advantages], indices, std::slice::from_mut(raw));
            if standardized && of > 1 {
                standardize(advantages, scaled);
                advantages = scaled;
            }
            sums.resize(flex::COUNT + log_stds[0].len(), 0.0);
            team.sum_into(of, along_network, sums, |rows, gradient, sums| {
                let (indices, advantages) = (&indices[rows.clone()], &advantages[rows]);
                let loss = |some: Range<usize>,
                            outputs: &[f32],
                            derivative: &mut [f32],
                            sums: &mut [f64]| {
                    with_buffers(|Buffers { columns: room_for, .. }| {
                        let [actions, log_probs, old_outputs] =
                            gather(columns.each_ref(), &indices[some.clone()], room_for);
                        let advantages = &advantages[some];
                        let columns = flex::Columns { actions, log_probs, advantages, old_outputs };
                        flex::sums(*terms, log_stds, outputs, &columns, of, derivative, sums);
                    });
                };
                let network = network.for_kernels();
                kernel::gradient(network, params, observations, indices, gradient, sums, &loss);
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

/// Memory of a loss.
#[derive(Default)]
pub struct Buffers {
    /// What a chunk's samples have in columns of the batch.
    pub columns: [Vec<f32>; 3],
    /// Advantages of a minibatch, and the same standardised.
    advantages: [Vec<f32>; 2],
    /// Sums over a minibatch.
    sums: Vec<f64>,
}

/// Work on buffers that are kept between calls.
pub fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static SPARE: Spare<Buffers> = const { Spare::new(Vec::new()) };
    }
    with_spare(&SPARE, work)
}

/// A column of a batch, `[batch, width]`.
pub struct Column<'a> {
    numbers: Cow<'a, [f32]>,
    width: usize,
}

impl<'a> Column<'a> {
    pub fn of(column: &'a Array) -> Column<'a> {
        Column { numbers: numbers_of(column), width: column.shape()[1] }
    }
}

/// The rows of columns with these indices, in buffers.
pub fn gather<'a, const N: usize>(
    columns: [&Column<'_>; N],
    indices: &[i32],
    buffers: &'a mut [Vec<f32>],
) -> [&'a [f32]; N] {
    let mut buffers = buffers.iter_mut();
    columns.map(|Column { numbers, width }| {
        let Some(rows) = buffers.next() else { unreachable!("a buffer for each column") };
        match *width {
            1 => {
                rows.clear();
                rows.extend(indices.iter().map(|&index| numbers[index as usize]));
            }
            2 => narrow_rows::<2>(numbers, indices, rows),
            3 => narrow_rows::<3>(numbers, indices, rows),
            4 => narrow_rows::<4>(numbers, indices, rows),
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
