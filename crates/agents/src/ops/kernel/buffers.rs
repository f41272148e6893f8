//! The kernels' memory.

use super::panels::Rows;
use super::vector::NARROW;
use crate::ops::spare::{Spare, with_spare};

/// Buffers of a kernel.
#[derive(Default)]
pub(super) struct Buffers {
    /// A chunk's observations in panels.
    pub(super) observations: Vec<[f32; NARROW]>,
    /// Parameters in panels.
    pub(super) packed: Rows,
    /// Weights for the way back in panels.
    pub(super) turned: Rows,
    /// A direction in panels.
    pub(super) moved: Rows,
    /// Results of a chunk's hidden layers where nobody else wants them.
    pub(super) hidden: Rows,
    /// A chunk's outputs, and the derivative of the loss with respect to them, or their change.
    pub(super) outputs: Vec<f32>,
    pub(super) derivative: Vec<f32>,
    /// A sum over samples.
    pub(super) sum: Rows,
    pub(super) chunk: ChunkBuffers,
}

/// Buffers for one chunk of samples.
#[derive(Default)]
pub(super) struct ChunkBuffers {
    /// Derivatives, or changes, of a layer's results and its neighbour's.
    pub(super) current: Rows,
    pub(super) next: Rows,
    /// Derivative with respect to few outputs, padded.
    pub(super) derivative: Vec<f32>,
    /// Weights of a layer that need padding.
    pub(super) edge: Rows,
}

/// Work on buffers that are kept between calls.
pub(super) fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static SPARE: Spare<Buffers> = const { Spare::new(Vec::new()) };
    }
    with_spare(&SPARE, work)
}
