//! The kernels' memory.

use super::panels::Rows;
use super::vector::NARROW;
use std::cell::RefCell;

/// Buffers of a kernel.
#[derive(Default)]
pub(super) struct Buffers {
    /// Parameters in panels.
    pub(super) packed: Rows,
    /// A direction in panels, or weights for the way back.
    pub(super) turned: Rows,
    /// Results of a chunk's hidden layers where nobody else wants them.
    pub(super) hidden: Rows,
    /// A sum over samples.
    pub(super) sum: Rows,
    pub(super) chunk: ChunkBuffers,
}

/// Buffers for one chunk of samples.
#[derive(Default)]
pub(super) struct ChunkBuffers {
    pub(super) observations: Vec<[f32; NARROW]>,
    /// Derivatives, or changes, of a layer's results and its neighbour's.
    pub(super) current: Rows,
    pub(super) next: Rows,
    /// Derivative with respect to few outputs, padded.
    pub(super) derivative: Vec<f32>,
    /// Weights of a layer that need padding.
    pub(super) edge: Rows,
}

/// Gives the work buffers that are kept between calls, so that nothing is allocated. While a thread waits
/// for another one it may begin other work: that gets buffers of its own.
pub(super) fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static SPARE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
    }
    let mut buffers = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut buffers);
    SPARE.with_borrow_mut(|spare| spare.push(buffers));
    result
}
