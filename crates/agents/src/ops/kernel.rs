//! The arithmetic of multi-layer perceptrons on plain slices, for the CPU: forward, backward and
//! forward-mode derivative of a whole network.
//!
//! Samples go through the network in chunks ([`super::chunks`]), so that a chunk stays in the cache and
//! threads can share the work. A result depends neither on how many threads there are nor, for outputs, on
//! what other samples are computed with it.

mod activation;
mod buffers;
mod few;
mod flat;
mod panels;
mod products;
#[cfg(test)]
mod tests;
mod vector;

use super::chunks::{self, CHUNK, Samples, halves_at, is_worth_sharing, zeros};
use crate::config::Activation;
use buffers::{Buffers, ChunkBuffers, with_buffers};
use few::forward_few;
pub(crate) use flat::vectorized;
pub use flat::{AdamStep, Bounds, adam, moments, shift_and_scale, sum_of_squares};
pub use panels::Layer;
use panels::{
    Place, ROWS, hidden_panels, pack, pack_columns, pack_observations, pack_turned, parameter_rows,
    turned_rows, unpack, unpack_columns,
};
use products::{
    Finish, OfBiases, Start, narrow, narrow_back, outer, product, sum_rows, with_outputs,
};
use std::ops::Range;
pub use vector::Level;
use vector::{NARROW, PANEL, Row, Vector, ZERO, dispatched};

/// At most so many samples are too few for panels of weights to pay.
const FEW: usize = 32;

/// A network, and the instructions that it is computed with.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// From the observations to the outputs.
    pub layers: &'a [Layer],
    /// After each layer but the last.
    pub activation: Activation,
    /// The machine's fastest where it is not the tests that ask.
    pub level: Level,
}

impl Network<'_> {
    /// Numbers that it reads, and those that it gives.
    fn ends(self) -> [usize; 2] {
        [self.layers[0].inputs, self.layers[self.layers.len() - 1].outputs]
    }

    /// Numbers of a sample's results of all hidden layers.
    fn hidden_width(self) -> usize {
        hidden_panels(self.layers) * PANEL
    }

    /// A chunk's observations, of all, in panels.
    fn observations_of<'r>(
        self,
        samples: &Range<usize>,
        observations: &[f32],
        room: &'r mut Vec<[f32; NARROW]>,
    ) -> &'r [[f32; NARROW]] {
        let [inputs, _] = self.ends();
        let rows = samples.len().next_multiple_of(ROWS);
        let observations = &observations[samples.start * inputs..samples.end * inputs];
        pack_observations(observations.chunks_exact(inputs), inputs, rows, room)
    }

    /// What [`forward`] wrote for the samples of a chunk, of all that it wrote.
    fn hidden_of<'h>(self, samples: &Range<usize>, hidden: &'h [f32]) -> &'h [Row] {
        let panels = hidden_panels(self.layers);
        let rows = samples.len().next_multiple_of(ROWS);
        &hidden.as_chunks().0[samples.start * panels..][..rows * panels]
    }

    /// About how many nanoseconds a sample takes on its way forward: 100 products and sums each.
    fn cost(self) -> usize {
        let weights = |layer: &Layer| layer.inputs * layer.outputs;
        self.layers.iter().map(weights).sum::<usize>() / 50 + 1
    }
}

/// Length of the `hidden` that [`forward`] writes for `rows` samples.
#[must_use]
pub fn hidden_len(layers: &[Layer], rows: usize) -> usize {
    rows.next_multiple_of(ROWS) * hidden_panels(layers) * PANEL
}

/// Outputs `[rows][out]` of a network for observations `[rows][in]`. `hidden`, [`hidden_len`] numbers,
/// receives the results of the hidden layers for [`backward`] and [`jvp`]: chunk by chunk, layer by
/// layer, in panels. It may be empty where nobody wants them.
pub fn forward(
    network: Network<'_>,
    params: &[f32],
    observations: &[f32],
    hidden: &mut [f32],
    outputs: &mut [f32],
) {
    let Network { layers, activation, level } = network;
    let [inputs, width] = network.ends();
    with_buffers(|buffers| {
        let packed = buffers.packed.get(parameter_rows(layers));
        pack(level, layers, params, packed);
        let packed = &*packed;
        let samples = Samples::new(
            observations.len() / inputs,
            network.cost(),
            [(observations, inputs)],
            [(outputs, width), (hidden, network.hidden_width())],
        );
        chunks::for_each(samples, &|samples| {
            let ([(observations, _)], [(outputs, _), (hidden, _)]) =
                (samples.read, samples.written);
            with_buffers(|Buffers { observations: room, chunk, hidden: own, .. }| {
                let rows = (observations.len() / inputs).next_multiple_of(ROWS);
                let observations =
                    pack_observations(observations.chunks_exact(inputs), inputs, rows, room);
                let hidden = match hidden.as_chunks_mut().0 {
                    [] => own.get(rows * hidden_panels(layers)),
                    hidden => hidden,
                };
                forward_chunk(
                    level,
                    layers,
                    activation,
                    packed,
                    observations,
                    hidden,
                    outputs,
                    chunk,
                );
            });
        });
    });
}

/// Outputs `[rows][out]` of a network for observations `[rows][in]`, when no derivative will be needed.
pub fn outputs(network: Network<'_>, params: &[f32], observations: &[f32], outputs: &mut [f32]) {
    let Network { layers, activation, level } = network;
    match observations.len() / layers[0].inputs {
        0 => {}
        rows @ 1..=FEW => with_buffers(|Buffers { observations: room, chunk, .. }| {
            let inputs = layers[0].inputs;
            let observations =
                pack_observations(observations.chunks_exact(inputs), inputs, rows, room);
            forward_few(level, layers, activation, params, observations, outputs, chunk);
        }),
        _ => forward(network, params, observations, &mut [], outputs),
    }
}

/// A chunk of samples on its way through a network and back.
pub struct Chunk<'a> {
    network: Network<'a>,
    /// Parameters, and weights for the way back.
    packed: [&'a [Row]; 2],
    /// The sum that its gradient becomes, or is added to.
    gradient: &'a mut [Row],
    add: bool,
    buffers: &'a mut Buffers,
}

impl Chunk<'_> {
    /// The outputs `[rows][out]` for these rows of the observations `[..][in]`, and room for the loss's derivative with
    /// respect to them.
    pub fn forward(&mut self, observations: &[f32], rows: &[i32]) -> (&[f32], &mut [f32]) {
        let Network { layers, activation, level } = self.network;
        let [inputs, width] = self.network.ends();
        let Buffers { observations: room, hidden, outputs, derivative, chunk, .. } =
            &mut *self.buffers;
        outputs.resize(rows.len() * width, 0.0);
        derivative.resize(rows.len() * width, 0.0);
        let samples = rows.iter().map(|&row| &observations[row as usize * inputs..][..inputs]);
        let padded = rows.len().next_multiple_of(ROWS);
        let observations = pack_observations(samples, inputs, padded, room);
        let hidden = hidden.get(padded * hidden_panels(layers));
        let [packed, _] = self.packed;
        forward_chunk(level, layers, activation, packed, observations, hidden, outputs, chunk);
        (outputs, derivative)
    }

    /// Adds the gradient that the derivative leads to, where one is wanted.
    pub fn backward(&mut self) {
        if self.gradient.is_empty() {
            return;
        }
        let Network { layers, activation, level } = self.network;
        let [inputs, width] = self.network.ends();
        let Buffers { observations, hidden, derivative, chunk, .. } = &mut *self.buffers;
        let rows = (derivative.len() / width).next_multiple_of(ROWS);
        let observations = &observations[..rows * inputs.div_ceil(NARROW)];
        let hidden = hidden.get(rows * hidden_panels(layers));
        let ([_, turned], gradient) = (self.packed, &mut *self.gradient);
        backward_chunk(
            level,
            layers,
            activation,
            turned,
            observations,
            hidden,
            derivative,
            gradient,
            self.add,
            chunk,
        );
    }
}

/// Writes the gradient `[params]` of a loss on these samples, unless there is no room for it, and what else is summed
/// over them. `pass` sends a chunk of them through the network and back, and writes the chunk's sums.
pub fn gradient(
    network: Network<'_>,
    params: &[f32],
    samples: Range<usize>,
    gradient: &mut [f32],
    sums: &mut [f64],
    pass: &(impl Fn(Range<usize>, &mut Chunk<'_>, &mut [f64]) + Sync),
) {
    let Network { layers, level, .. } = network;
    with_buffers(|buffers| {
        let rows = parameter_rows(layers);
        let packed = buffers.packed.get(rows);
        pack(level, layers, params, packed);
        let (turned, sum) = if gradient.is_empty() {
            (&mut [][..], &mut [][..])
        } else {
            (buffers.turned.get(turned_rows(layers)), buffers.sum.get(rows))
        };
        if !gradient.is_empty() {
            pack_turned(level, layers, params, turned);
        }
        let packed = [&*packed, &*turned];
        tree(network, 3 * network.cost(), samples, sum, sums, &|samples, gradient, sums, add| {
            with_buffers(|buffers| {
                pass(samples, &mut Chunk { network, packed, gradient, add, buffers }, sums);
            });
        });
        if !gradient.is_empty() {
            unpack(level, layers, sum, gradient);
        }
    });
}

/// Gradient `[params]` of a loss whose derivative with respect to the outputs `[rows][out]` is
/// given: `J' d`. `hidden` is what [`forward`] wrote.
pub fn backward(
    network: Network<'_>,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    derivative: &[f32],
    gradient: &mut [f32],
) {
    let Network { layers, activation, level } = network;
    let [inputs, width] = network.ends();
    with_buffers(|buffers| {
        let turned = buffers.turned.get(turned_rows(layers));
        pack_turned(level, layers, params, turned);
        let turned = &*turned;
        let sum = buffers.sum.get(parameter_rows(layers));
        let samples = 0..observations.len() / inputs;
        tree(network, 2 * network.cost(), samples, sum, &mut [], &|samples, gradient, _, add| {
            let Range { start, end } = samples;
            with_buffers(|Buffers { observations: room, chunk, .. }| {
                backward_chunk(
                    level,
                    layers,
                    activation,
                    turned,
                    network.observations_of(&samples, observations, room),
                    network.hidden_of(&samples, hidden),
                    &derivative[start * width..end * width],
                    gradient,
                    add,
                    chunk,
                );
            });
        });
        unpack(level, layers, sum, gradient);
    });
}

/// `J' M J v` on samples, where [`forward`] gave `hidden` and `v [params]` is a direction. `metric` multiplies a chunk's
/// changes `[rows][out]` of the outputs by `M`.
pub fn curvature(
    network: Network<'_>,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    direction: &[f32],
    metric: &(impl Fn(Range<usize>, &mut [f32]) + Sync),
    product: &mut [f32],
) {
    let Network { layers, activation, level } = network;
    let [inputs, width] = network.ends();
    with_buffers(|Buffers { packed, turned, moved, sum, .. }| {
        let rows = parameter_rows(layers);
        let (packed, moved) = (packed.get(rows), moved.get(rows));
        let turned = turned.get(turned_rows(layers));
        pack(level, layers, params, packed);
        pack(level, layers, direction, moved);
        pack_turned(level, layers, params, turned);
        let (packed, moved, turned) = (&*packed, &*moved, &*turned);
        let sum = sum.get(rows);
        let samples = 0..observations.len() / inputs;
        tree(network, 4 * network.cost(), samples, sum, &mut [], &|samples, gradient, _, add| {
            let hidden = network.hidden_of(&samples, hidden);
            with_buffers(|Buffers { observations: room, chunk, derivative: change, .. }| {
                let observations = network.observations_of(&samples, observations, room);
                change.resize(samples.len() * width, 0.0);
                jvp_chunk(
                    level,
                    layers,
                    activation,
                    packed,
                    moved,
                    observations,
                    hidden,
                    change,
                    chunk,
                );
                metric(samples, change);
                backward_chunk(
                    level,
                    layers,
                    activation,
                    turned,
                    observations,
                    hidden,
                    change,
                    gradient,
                    add,
                    chunk,
                );
            });
        });
        unpack(level, layers, sum, product);
    });
}

/// Writes a gradient, in panels, and other sums over samples: the tree of [`chunks::sum`]. `chunk` writes those of a
/// chunk, or adds its gradient to what is there.
fn tree(
    network: Network<'_>,
    cost: usize,
    samples: Range<usize>,
    gradient: &mut [Row],
    sums: &mut [f64],
    chunk: &(impl Fn(Range<usize>, &mut [Row], &mut [f64], bool) + Sync),
) {
    let chunks = samples.len().div_ceil(CHUNK);
    if chunks == 0 {
        gradient.fill(ZERO);
        return sums.fill(0.0);
    }
    if chunks == 1 {
        return chunk(samples, gradient, sums, false);
    }
    let is_shared = is_worth_sharing(samples.len(), cost);
    let middle = samples.start + halves_at(chunks) * CHUNK;
    let (first, rest) = (samples.start..middle, middle..samples.end);
    let mut others = zeros(sums.len());
    if chunks == 2 && !is_shared {
        // The sum is made on the way.
        chunk(first, gradient, sums, false);
        chunk(rest, gradient, &mut others, true);
    } else {
        with_buffers(|buffers| {
            let other = buffers.sum.get(gradient.len());
            chunks::both(
                is_shared,
                || tree(network, cost, first, gradient, sums, chunk),
                || tree(network, cost, rest, other, &mut others, chunk),
            );
            add_rows(network.level, other, gradient);
        });
    }
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

/// Change `J v` of the outputs, `[rows][out]`, when the parameters move along `direction`.
/// `hidden` is what [`forward`] wrote.
pub fn jvp(
    network: Network<'_>,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    direction: &[f32],
    change: &mut [f32],
) {
    let Network { layers, activation, level } = network;
    let [inputs, width] = network.ends();
    with_buffers(|buffers| {
        let rows = parameter_rows(layers);
        let (packed, moved) = (buffers.packed.get(rows), buffers.moved.get(rows));
        pack(level, layers, params, packed);
        pack(level, layers, direction, moved);
        let (packed, moved) = (&*packed, &*moved);
        let samples = Samples::new(
            observations.len() / inputs,
            2 * network.cost(),
            [(observations, inputs), (hidden, network.hidden_width())],
            [(change, width)],
        );
        chunks::for_each(samples, &|samples| {
            let ([(observations, _), (hidden, _)], [(change, _)]) = (samples.read, samples.written);
            let hidden = hidden.as_chunks().0;
            with_buffers(|Buffers { observations: room, chunk, .. }| {
                let rows = (observations.len() / inputs).next_multiple_of(ROWS);
                let observations =
                    pack_observations(observations.chunks_exact(inputs), inputs, rows, room);
                jvp_chunk(
                    level,
                    layers,
                    activation,
                    packed,
                    moved,
                    observations,
                    hidden,
                    change,
                    chunk,
                );
            });
        });
    });
}

dispatched! {
    /// `to = from + to`.
    add_rows = add_rows_body(from: &[Row], to: &mut [Row])
}

#[inline(always)]
fn add_rows_body<V: Vector, const R: usize>(from: &[Row], to: &mut [Row]) {
    for (to, from) in to.iter_mut().zip(from) {
        V::load(from).add(V::load(to)).store(to);
    }
}

dispatched! {
    /// [`forward`] for one chunk, with observations and parameters in panels.
    forward_chunk = forward_body(
        layers: &[Layer], activation: Activation, packed: &[Row], observations: &[[f32; NARROW]],
        hidden: &mut [Row], outputs: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`backward`] for one chunk, with observations, weights and gradient in panels; with `add` it is added to what
    /// is there.
    backward_chunk = backward_body(
        layers: &[Layer], activation: Activation, turned: &[Row], observations: &[[f32; NARROW]],
        hidden: &[Row], derivative: &[f32], gradient: &mut [Row], add: bool,
        buffers: &mut ChunkBuffers,
    )
}

dispatched! {
    /// [`jvp`] for one chunk, with observations, parameters and direction in panels.
    jvp_chunk = jvp_body(
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
            product::<V, R, NARROW>(
                observations,
                rows,
                weights,
                depth,
                start,
                results,
                finish,
                None,
            );
        } else {
            product::<V, R, PANEL>(before, rows, weights, depth, start, results, finish, None);
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
        let read = if place.is_first { 0 } else { rows * inputs.div_ceil(PANEL) };
        let (hidden_before, left) = hidden.split_at(hidden.len() - read);
        hidden = hidden_before;
        // The biases of the layer before, whose gradient is found with its slopes.
        let biases_before = gradient.len() - read / rows;
        let of_biases = OfBiases { gradient: &mut gradient[biases_before..], add };
        if let Some(few) = place.few_outputs() {
            let derivative = padded(derivative, outputs, few, rows, &mut buffers.derivative);
            with_outputs!(few, O => narrow_back::<V, O>(
                left, rows, activation, weights, derivative, &mut current[..read],
                weight_gradient, to, of_biases
            ));
            continue;
        }
        let slopes = &mut current[..rows * place.panels()];
        if place.is_last {
            pack_columns::<V>(derivative, outputs, slopes, rows);
            sum_rows::<V>(slopes, rows, OfBiases { gradient: to, add });
        }
        let depth = place.depth();
        if place.is_first {
            outer::<V, NARROW, NARROW>(observations, slopes, rows, weight_gradient, depth, add);
            return;
        }
        outer::<V, R, PANEL>(left, slopes, rows, weight_gradient, depth, add);
        let height = place.panels() * PANEL;
        let finish = Finish::Slope(activation, left);
        let results = &mut next[..read];
        product::<V, R, PANEL>(
            slopes,
            rows,
            weights,
            height,
            Start::Zero,
            results,
            finish,
            Some(of_biases),
        );
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
            (y, Finish::Slope(activation, y))
        };
        if place.is_first {
            product::<V, R, NARROW>(observations, rows, moved, depth, start, results, finish, None);
        } else {
            let carried = &current[..read];
            product::<V, R, PANEL>(left, rows, moved, depth, start, results, Finish::Keep, None);
            product::<V, R, PANEL>(
                carried,
                rows,
                weights,
                depth,
                Start::Results,
                results,
                finish,
                None,
            );
        }
        if place.is_last {
            unpack_columns::<V>(results, rows, change, outputs);
        }
        left = y;
        std::mem::swap(&mut current, &mut next);
    }
}
