//! One chunk's ways through a network: forward, back, and forward with a direction.

use super::buffers::ChunkBuffers;
use super::panels::{Layer, Place, pack_columns, unpack_columns};
use super::products::{
    Finish, OfBiases, Start, narrow, narrow_back, outer, product, sum_rows, with_outputs,
};
use super::vector::{NARROW, PANEL, Row, Vector, dispatched};
use crate::config::Activation;

dispatched! {
    /// [`forward`](super::forward) of one chunk, with observations and parameters in panels.
    pub(super) forward_chunk = forward_body(
        layers: &[Layer], activation: Activation, packed: &[Row], observations: &[[f32; NARROW]],
        hidden: &mut [Row], outputs: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`backward`](super::backward) of one chunk, with observations, weights and gradient in panels; with `add` it is
    /// added to what is there.
    pub(super) backward_chunk = backward_body(
        layers: &[Layer], activation: Activation, turned: &[Row], observations: &[[f32; NARROW]],
        hidden: &[Row], derivative: &[f32], gradient: &mut [Row], add: bool,
        buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`jvp`](super::jvp) of one chunk, with observations, parameters and direction in panels.
    pub(super) jvp_chunk = jvp_body(
        layers: &[Layer], activation: Activation, packed: &[Row], direction: &[Row],
        observations: &[[f32; NARROW]], hidden: &[Row], change: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn forward_body<V: Vector, const R: usize>(
    layers: &[Layer],
    activation: Activation,
    packed: &[Row],
    observations: &[[f32; NARROW]],
    hidden: &mut [Row],
    outputs: &mut [f32],
    buffers: &mut ChunkBuffers,
) {
    let rows = observations.len() / layers[0].inputs.div_ceil(NARROW);
    let last_outputs = layers[layers.len() - 1].outputs;
    let mut last_results = buffers.current.get(rows * last_outputs.div_ceil(PANEL));
    let (mut packed, mut hidden, mut before): (_, _, &[Row]) = (packed, hidden, &[]);
    for place in Place::all(layers) {
        let (weights, after) = packed.split_at(place.weight_rows());
        let (biases, after) = after.split_at(place.panels());
        packed = after;
        let columns = place.layer.outputs;
        if let Some(few) = place.few_outputs() {
            with_outputs!(few, O => narrow::<V, O>(
                before, rows, weights, Some(biases), outputs, columns, false
            ));
            return;
        }
        let (results, finish) = if place.is_last {
            (std::mem::take(&mut last_results), Finish::Keep)
        } else {
            let (results, after) = hidden.split_at_mut(rows * place.panels());
            hidden = after;
            (results, Finish::Activate(activation))
        };
        let (depth, start) = (place.depth(), Start::Biases(biases));
        if place.is_first {
            product::<V, R, NARROW>(observations, rows, weights, depth, start, results, finish);
        } else {
            product::<V, R, PANEL>(before, rows, weights, depth, start, results, finish);
        }
        if place.is_last {
            unpack_columns::<V>(results, rows, outputs, columns);
        }
        before = results;
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward_body<V: Vector, const R: usize>(
    layers: &[Layer],
    activation: Activation,
    turned: &[Row],
    observations: &[[f32; NARROW]],
    hidden: &[Row],
    derivative: &[f32],
    gradient: &mut [Row],
    add: bool,
    buffers: &mut ChunkBuffers,
) {
    let rows = observations.len() / layers[0].inputs.div_ceil(NARROW);
    let widest = layers.iter().map(|layer| layer.inputs.max(layer.outputs)).max().unwrap_or(0);
    let size = rows * widest.div_ceil(PANEL);
    let mut current = buffers.current.get(size);
    let mut next = buffers.next.get(size);
    let (mut turned, mut hidden, mut gradient) = (turned, hidden, gradient);
    for place in Place::all(layers).rev() {
        let Layer { inputs, outputs, .. } = place.layer;
        let (before, to) = gradient.split_at_mut(gradient.len() - place.panels());
        let (gradient_before, weight_gradient) =
            before.split_at_mut(before.len() - place.weight_rows());
        gradient = gradient_before;
        let (turned_before, weights) = turned.split_at(turned.len() - place.turned_rows());
        turned = turned_before;
        // What the layer read.
        let panels_read = if place.is_first { 0 } else { inputs.div_ceil(PANEL) };
        let read = rows * panels_read;
        let (hidden_before, left) = hidden.split_at(hidden.len() - read);
        hidden = hidden_before;
        // The biases of the layer before, whose gradient is found with its slopes.
        let biases_before = gradient.len() - panels_read;
        let biases_before = &mut gradient[biases_before..];
        if let Some(few) = place.few_outputs() {
            let derivative = padded(derivative, outputs, few, rows, &mut buffers.derivative);
            with_outputs!(few, O => narrow_back::<V, O>(
                left, rows, activation, weights, derivative, &mut current[..read],
                weight_gradient, to, biases_before, add
            ));
            continue;
        }
        let slopes = &mut current[..rows * place.panels()];
        if place.is_last {
            pack_columns::<V>(derivative, outputs, slopes, rows);
            sum_rows::<V>(slopes, rows, to, add);
        }
        let depth = place.depth();
        if place.is_first {
            outer::<V, NARROW, NARROW>(observations, slopes, rows, weight_gradient, depth, add);
            return;
        }
        outer::<V, R, PANEL>(left, slopes, rows, weight_gradient, depth, add);
        let height = place.panels() * PANEL;
        let of_biases = OfBiases { gradient: biases_before, add };
        let finish = Finish::Slope(activation, left, Some(of_biases));
        let results = &mut next[..read];
        product::<V, R, PANEL>(slopes, rows, weights, height, Start::Zero, results, finish);
        std::mem::swap(&mut current, &mut next);
    }
}

/// Writes `derivative [..][columns]` as `[rows][padded columns]`.
#[inline(always)]
fn padded<'a>(
    derivative: &[f32],
    columns: usize,
    padded: usize,
    rows: usize,
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    buffer.clear();
    buffer.resize(rows * padded, 0.0);
    if columns == padded {
        buffer[..derivative.len()].copy_from_slice(derivative);
    } else {
        for (to, from) in buffer.chunks_exact_mut(padded).zip(derivative.chunks_exact(columns)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }
    buffer
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn jvp_body<V: Vector, const R: usize>(
    layers: &[Layer],
    activation: Activation,
    packed: &[Row],
    direction: &[Row],
    observations: &[[f32; NARROW]],
    hidden: &[Row],
    change: &mut [f32],
    buffers: &mut ChunkBuffers,
) {
    let rows = observations.len() / layers[0].inputs.div_ceil(NARROW);
    let widest = layers.iter().map(|layer| layer.outputs).max().unwrap_or(0);
    let size = rows * widest.div_ceil(PANEL);
    let mut current = buffers.current.get(size);
    let mut next = buffers.next.get(size);
    let (mut packed, mut direction, mut hidden) = (packed, direction, hidden);
    // What the layer reads, and where its change begins.
    let mut left: &[Row] = &[];
    for place in Place::all(layers) {
        let Layer { inputs, outputs, .. } = place.layer;
        let (weights, after) = packed.split_at(place.weight_rows());
        packed = &after[place.panels()..];
        let (moved, after) = direction.split_at(place.weight_rows());
        let (biases, after) = after.split_at(place.panels());
        direction = after;
        let read = rows * inputs.div_ceil(PANEL);
        if let Some(few) = place.few_outputs() {
            with_outputs!(few, O => {
                narrow::<V, O>(left, rows, moved, Some(biases), change, outputs, false);
                let carried = &current[..read];
                narrow::<V, O>(carried, rows, weights, None, change, outputs, true);
            });
            return;
        }
        let (depth, start) = (place.depth(), Start::Biases(biases));
        let results = &mut next[..rows * place.panels()];
        let (y, finish): (&[Row], _) = if place.is_last {
            (&[], Finish::Keep)
        } else {
            let (y, after) = hidden.split_at(rows * place.panels());
            hidden = after;
            (y, Finish::Slope(activation, y, None))
        };
        if place.is_first {
            product::<V, R, NARROW>(observations, rows, moved, depth, start, results, finish);
        } else {
            let carried = &current[..read];
            product::<V, R, PANEL>(left, rows, moved, depth, start, results, Finish::Keep);
            product::<V, R, PANEL>(carried, rows, weights, depth, Start::Results, results, finish);
        }
        if place.is_last {
            unpack_columns::<V>(results, rows, change, outputs);
        }
        left = y;
        std::mem::swap(&mut current, &mut next);
    }
}
