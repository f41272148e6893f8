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
mod passes;
mod products;
#[cfg(test)]
mod tests;
mod vector;

use super::chunks::{self, CHUNK, Samples, halves_at, is_worth_sharing, zeros};
use crate::config::Activation;
use buffers::{Buffers, with_buffers};
use few::forward_few;
pub(crate) use flat::vectorized;
pub use flat::{AdamStep, Bounds, adam, moments, shift_and_scale, sum_of_squares};
pub use panels::Layer;
use panels::{
    ROWS, hidden_panels, pack, pack_observations, pack_turned, parameter_rows, turned_rows, unpack,
};
use passes::{backward_chunk, forward_chunk, jvp_chunk};
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

    /// Observations in panels of so many rows.
    fn packed<'r>(
        self,
        observations: &[f32],
        rows: usize,
        room: &'r mut Vec<[f32; NARROW]>,
    ) -> &'r [[f32; NARROW]] {
        let [inputs, _] = self.ends();
        pack_observations(observations.chunks_exact(inputs), inputs, rows, room)
    }

    /// A chunk's observations, of all, in panels.
    fn observations_of<'r>(
        self,
        samples: &Range<usize>,
        observations: &[f32],
        room: &'r mut Vec<[f32; NARROW]>,
    ) -> &'r [[f32; NARROW]] {
        let [inputs, _] = self.ends();
        let observations = &observations[samples.start * inputs..samples.end * inputs];
        self.packed(observations, samples.len().next_multiple_of(ROWS), room)
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
/// receives the results of the hidden layers for [`backward`], [`jvp`] and [`curvature`]: chunk by chunk, layer by
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
                let observations = network.packed(observations, rows, room);
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
            let observations = network.packed(observations, rows, room);
            forward_few(level, layers, activation, params, observations, outputs, chunk);
        }),
        _ => forward(network, params, observations, &mut [], outputs),
    }
}

/// Writes the gradient `[params]` of a loss on these rows of the observations `[..][in]`, unless there is no room for
/// it, and what else is summed over them. For some of them `loss` writes its derivative with respect to the outputs
/// `[samples][out]`, and the sums.
pub fn gradient(
    network: Network<'_>,
    params: &[f32],
    observations: &[f32],
    rows: &[i32],
    gradient: &mut [f32],
    sums: &mut [f64],
    loss: &(impl Fn(Range<usize>, &[f32], &mut [f32], &mut [f64]) + Sync),
) {
    let Network { layers, activation, level } = network;
    let [inputs, width] = network.ends();
    with_buffers(|Buffers { packed, turned, sum, .. }| {
        let packed = packed.get(parameter_rows(layers));
        pack(level, layers, params, packed);
        let packed = &*packed;
        let (turned, sum, passes) = if gradient.is_empty() {
            (&[][..], &mut [][..], 1)
        } else {
            let turned = turned.get(turned_rows(layers));
            pack_turned(level, layers, params, turned);
            (&*turned, sum.get(parameter_rows(layers)), 3)
        };
        let (all, cost) = (0..rows.len(), passes * network.cost());
        tree(network, cost, all, sum, sums, &|samples, sum, sums, add| {
            with_buffers(|buffers| {
                let Buffers { observations: room, hidden, outputs, derivative, chunk, .. } =
                    buffers;
                outputs.resize(samples.len() * width, 0.0);
                derivative.resize(samples.len() * width, 0.0);
                let padded = samples.len().next_multiple_of(ROWS);
                let hidden = hidden.get(padded * hidden_panels(layers));
                let of_row = |&row: &i32| &observations[row as usize * inputs..][..inputs];
                let observations = rows[samples.clone()].iter().map(of_row);
                let observations = pack_observations(observations, inputs, padded, room);
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
                loss(samples, outputs, derivative, sums);
                if !sum.is_empty() {
                    backward_chunk(
                        level,
                        layers,
                        activation,
                        turned,
                        observations,
                        hidden,
                        derivative,
                        sum,
                        add,
                        chunk,
                    );
                }
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
                let observations = network.packed(observations, rows, room);
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
