//! The arithmetic of multi-layer perceptrons on plain slices, for the CPU: forward, backward and
//! forward-mode derivative of a whole network.
//!
//! Samples go through the network in chunks of [`CHUNK`], so that a chunk stays in the cache; sums over
//! samples are sums of chunks in a fixed tree, whose file says which. A result depends neither on how many
//! threads there are nor, for outputs, on what other samples are computed with it.

mod activation;
mod few;
mod flat;
mod panels;
mod products;
#[cfg(test)]
mod tests;
mod tree;
mod vector;

use crate::config::Activation;
use few::forward_few;
pub use flat::{AdamStep, Bounds, adam, sum_of_squares};
use panels::{
    NARROW, PANEL, Place, ROWS, Row, Rows, hidden_panels, pack, pack_columns, pack_observations,
    pack_turned, parameter_rows, turned_rows, unpack, unpack_columns,
};
use products::{Finish, Start, narrow, narrow_back, outer, product, sum_rows, with_outputs};
use tree::Tree;
pub use vector::Level;
use vector::{Vector, dispatched};

/// Samples of a chunk.
pub const CHUNK: usize = 128;

/// At most so many samples are too few for panels of weights to pay.
const FEW: usize = 32;

/// One layer's place in the flat parameter vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Numbers that the layer reads.
    pub inputs: usize,
    /// Numbers that it gives.
    pub outputs: usize,
    /// Start of `W [inputs][outputs]`.
    pub weights: usize,
    /// Start of `b [outputs]`.
    pub biases: usize,
}

impl Layer {
    pub(crate) fn weights(self, params: &[f32]) -> &[f32] {
        &params[self.weights..self.biases]
    }

    pub(crate) fn biases(self, params: &[f32]) -> &[f32] {
        &params[self.biases..self.biases + self.outputs]
    }
}

/// Buffers of the kernels, kept between calls so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    level: Level,
    /// Parameters in panels.
    packed: Rows,
    /// A direction in panels, or weights for the way back.
    turned: Rows,
    /// Results of the hidden layers where nobody else wants them.
    hidden: Rows,
    gradients: Tree,
    chunk: ChunkBuffers,
}

impl Workspace {
    /// For the kernels in other instructions than the machine's fastest.
    #[must_use]
    pub fn with_level(level: Level) -> Workspace {
        Workspace { level, ..Workspace::default() }
    }
}

/// Buffers for one chunk of samples.
#[derive(Clone, Debug, Default)]
struct ChunkBuffers {
    observations: Vec<[f32; NARROW]>,
    /// Derivatives, or changes, of a layer's results and its neighbour's.
    current: Rows,
    next: Rows,
    /// Derivative with respect to few outputs, padded.
    derivative: Vec<f32>,
    /// Weights of a layer that need padding.
    edge: Rows,
}

/// Length of the `hidden` that [`forward`] writes for `rows` samples.
#[must_use]
pub fn hidden_len(layers: &[Layer], rows: usize) -> usize {
    rows.next_multiple_of(ROWS) * hidden_panels(layers) * PANEL
}

/// Outputs `[rows][out]` of a network for observations `[rows][in]`. `hidden`, [`hidden_len`] numbers,
/// receives the results of the hidden layers for [`backward`] and [`jvp`]: chunk by chunk, layer by
/// layer, in panels.
pub fn forward(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &mut [f32],
    outputs: &mut [f32],
    workspace: &mut Workspace,
) {
    let Workspace { level, packed, chunk, .. } = workspace;
    let packed = packed.get(parameter_rows(layers));
    pack(*level, layers, params, packed);
    let [inputs, width] = ends(layers);
    let hidden = chunks_of_hidden(layers, hidden.as_chunks_mut().0);
    let samples = observations.chunks(CHUNK * inputs).zip(outputs.chunks_mut(CHUNK * width));
    for ((observations, outputs), hidden) in samples.zip(hidden) {
        forward_chunk(*level, layers, activation, packed, observations, hidden, outputs, chunk);
    }
}

/// Numbers that a network reads, and those that it gives.
fn ends(layers: &[Layer]) -> [usize; 2] {
    [layers[0].inputs, layers[layers.len() - 1].outputs]
}

/// The parts of `hidden` that belong to each chunk, empty ones without hidden layers.
fn chunks_of_hidden<'a>(
    layers: &[Layer],
    mut hidden: &'a mut [Row],
) -> impl Iterator<Item = &'a mut [Row]> {
    let length = CHUNK * hidden_panels(layers);
    std::iter::from_fn(move || {
        let end = length.min(hidden.len());
        let (chunk, rest) = std::mem::take(&mut hidden).split_at_mut(end);
        hidden = rest;
        Some(chunk)
    })
}

/// Outputs `[rows][out]` of a network for observations `[rows][in]`, when no derivative will be needed.
pub fn outputs(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    outputs: &mut [f32],
    workspace: &mut Workspace,
) {
    let Workspace { level, packed, chunk, hidden, .. } = workspace;
    if observations.is_empty() {
        return;
    }
    if observations.len() <= FEW * layers[0].inputs {
        return forward_few(*level, layers, activation, params, observations, outputs, chunk);
    }
    let packed = packed.get(parameter_rows(layers));
    pack(*level, layers, params, packed);
    let [inputs, width] = ends(layers);
    for (observations, outputs) in
        observations.chunks(CHUNK * inputs).zip(outputs.chunks_mut(CHUNK * width))
    {
        let rows = observations.len() / inputs;
        let hidden = hidden.get(rows.next_multiple_of(ROWS) * hidden_panels(layers));
        forward_chunk(*level, layers, activation, packed, observations, hidden, outputs, chunk);
    }
}

/// Gradient `[params]` of a loss whose derivative with respect to the outputs `[rows][out]` is
/// given: `J' d`. `hidden` is what [`forward`] wrote.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    derivative: &[f32],
    gradient: &mut [f32],
    workspace: &mut Workspace,
) {
    let Workspace { level, turned, gradients, chunk, .. } = workspace;
    let turned = turned.get(turned_rows(layers));
    pack_turned(*level, layers, params, turned);
    let [inputs, width] = ends(layers);
    let rows = parameter_rows(layers);
    let mut hidden = hidden.as_chunks().0;
    let mut done = 0;
    let samples = observations.chunks(CHUNK * inputs).zip(derivative.chunks(CHUNK * width));
    for (observations, derivative) in samples {
        let (results, rest) = hidden.split_at(hidden.len().min(CHUNK * hidden_panels(layers)));
        hidden = rest;
        let (gradient, add) = gradients.next(done, rows);
        backward_chunk(
            *level,
            layers,
            activation,
            turned,
            observations,
            results,
            derivative,
            gradient,
            add,
            chunk,
        );
        done += 1;
        gradients.carry(*level, done, rows);
    }
    if done == 0 {
        return gradient.fill(0.0);
    }
    unpack(*level, layers, gradients.total(*level, done, rows), gradient);
}

/// Change `J v` of the outputs, `[rows][out]`, when the parameters move along `direction`.
/// `hidden` is what [`forward`] wrote.
#[allow(clippy::too_many_arguments)]
pub fn jvp(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    direction: &[f32],
    change: &mut [f32],
    workspace: &mut Workspace,
) {
    let Workspace { level, packed, turned, chunk, .. } = workspace;
    let rows = parameter_rows(layers);
    let (packed, moved) = (packed.get(rows), turned.get(rows));
    pack(*level, layers, params, packed);
    pack(*level, layers, direction, moved);
    let [inputs, width] = ends(layers);
    let mut hidden = hidden.as_chunks().0;
    let samples = observations.chunks(CHUNK * inputs).zip(change.chunks_mut(CHUNK * width));
    for (observations, change) in samples {
        let (results, rest) = hidden.split_at(hidden.len().min(CHUNK * hidden_panels(layers)));
        hidden = rest;
        jvp_chunk(*level, layers, activation, packed, moved, observations, results, change, chunk);
    }
}

dispatched! {
    /// [`forward`] for one chunk, with the parameters in panels.
    forward_chunk = forward_body(
        layers: &[Layer], activation: Activation, packed: &[Row], observations: &[f32],
        hidden: &mut [Row], outputs: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`backward`] for one chunk, with weights and gradient in panels; with `add` it is added to what
    /// is there.
    backward_chunk = backward_body(
        layers: &[Layer], activation: Activation, turned: &[Row], observations: &[f32],
        hidden: &[Row], derivative: &[f32], gradient: &mut [Row], add: bool,
        buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`jvp`] for one chunk, with parameters and direction in panels.
    jvp_chunk = jvp_body(
        layers: &[Layer], activation: Activation, packed: &[Row], direction: &[Row],
        observations: &[f32], hidden: &[Row], change: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn forward_body<V: Vector, const R: usize>(
    layers: &[Layer],
    activation: Activation,
    packed: &[Row],
    observations: &[f32],
    hidden: &mut [Row],
    outputs: &mut [f32],
    buffers: &mut ChunkBuffers,
) {
    let inputs = layers[0].inputs;
    let rows = (observations.len() / inputs).next_multiple_of(ROWS);
    let observations = pack_observations(observations, inputs, rows, &mut buffers.observations);
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
    observations: &[f32],
    hidden: &[Row],
    derivative: &[f32],
    gradient: &mut [Row],
    add: bool,
    buffers: &mut ChunkBuffers,
) {
    let inputs = layers[0].inputs;
    let rows = (observations.len() / inputs).next_multiple_of(ROWS);
    let observations = pack_observations(observations, inputs, rows, &mut buffers.observations);
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
        let read = if place.is_first { 0 } else { rows * inputs.div_ceil(PANEL) };
        let (hidden_before, left) = hidden.split_at(hidden.len() - read);
        hidden = hidden_before;
        if let Some(few) = place.few_outputs() {
            let derivative = padded(derivative, outputs, few, rows, &mut buffers.derivative);
            with_outputs!(few, O => narrow_back::<V, O>(
                left, rows, activation, weights, derivative, &mut current[..read],
                weight_gradient, to, add
            ));
            continue;
        }
        let slopes = &mut current[..rows * place.panels()];
        if place.is_last {
            pack_columns::<V>(derivative, outputs, slopes, rows);
        }
        sum_rows::<V>(slopes, rows, to, add);
        let depth = place.depth();
        if place.is_first {
            outer::<V, NARROW, NARROW>(observations, slopes, rows, weight_gradient, depth, add);
            return;
        }
        outer::<V, R, PANEL>(left, slopes, rows, weight_gradient, depth, add);
        let height = place.panels() * PANEL;
        let finish = Finish::Slope(activation, left);
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
    observations: &[f32],
    hidden: &[Row],
    change: &mut [f32],
    buffers: &mut ChunkBuffers,
) {
    let inputs = layers[0].inputs;
    let rows = (observations.len() / inputs).next_multiple_of(ROWS);
    let observations = pack_observations(observations, inputs, rows, &mut buffers.observations);
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
            (y, Finish::Slope(activation, y))
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
