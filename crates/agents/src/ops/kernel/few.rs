//! Outputs for a few samples, as when acting in a few environments: there the weights are read once or
//! twice, so they are not written into panels first. The sums have the order of [`super::products`].

#![allow(clippy::needless_range_loop)] // Loops over registers.

use super::activation::activate;
use super::buffers::ChunkBuffers;
use super::panels::{Layer, Place, Rows, padded, turn_narrow, unpack_columns};
use super::products::{narrow, with_outputs};
use super::vector::{NARROW, PANEL, Row, Vector, dispatched};
use crate::config::Activation;

dispatched! {
    /// Outputs of a network for few samples, whose observations are in panels.
    pub(super) forward_few = forward_few_body(
        layers: &[Layer], activation: Activation, params: &[f32],
        observations: &[[f32; NARROW]], outputs: &mut [f32], buffers: &mut ChunkBuffers,
    )
}

#[inline(always)]
fn forward_few_body<V: Vector, const R: usize>(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[[f32; NARROW]],
    outputs: &mut [f32],
    buffers: &mut ChunkBuffers,
) {
    let rows = observations.len() / layers[0].inputs.div_ceil(NARROW);
    let widest = layers.iter().map(|layer| layer.outputs).max().unwrap_or(0);
    let size = rows * widest.div_ceil(PANEL);
    let (mut read, mut results) = (buffers.current.get(size), buffers.next.get(size));
    for place in Place::all(layers) {
        let layer = place.layer;
        let columns = layer.outputs;
        if let Some(few) = place.few_outputs() {
            let weights = buffers.edge.get(place.weight_rows());
            let biases = [padded(layer.biases(params))];
            with_outputs!(few, O => {
                turn_narrow::<O>(layer.weights(params), columns, weights);
                narrow::<V, O>(read, rows, weights, Some(&biases), outputs, columns, false);
            });
            return;
        }
        let activation = (!place.is_last).then_some(activation);
        let results_here = &mut results[..rows * place.panels()];
        let edge = &mut buffers.edge;
        if place.is_first {
            layer_of::<V, R, NARROW>(
                observations,
                rows,
                layer,
                params,
                edge,
                activation,
                results_here,
            );
        } else {
            layer_of::<V, R, PANEL>(read, rows, layer, params, edge, activation, results_here);
        }
        if place.is_last {
            unpack_columns::<V>(results_here, rows, outputs, columns);
        }
        std::mem::swap(&mut read, &mut results);
    }
}

/// Results `[panels][rows]` of a layer.
#[inline(always)]
fn layer_of<V: Vector, const R: usize, const G: usize>(
    left: &[[f32; G]],
    rows: usize,
    layer: Layer,
    params: &[f32],
    edge: &mut Rows,
    activation: Option<Activation>,
    results: &mut [Row],
) {
    let (weights, columns) = (layer.weights(params), layer.outputs);
    let (biases, last_biases) = layer.biases(params).as_chunks::<PANEL>();
    let mut matrix = Matrix { left, rows, weights, columns, activation };
    let mut panel = 0;
    while panel + 4 <= biases.len() {
        matrix.panels::<V, R, 4>(panel, &biases[panel..], &mut results[panel * rows..]);
        panel += 4;
    }
    while panel < biases.len() {
        matrix.panels::<V, R, 1>(panel, &biases[panel..], &mut results[panel * rows..]);
        panel += 1;
    }
    if !last_biases.is_empty() {
        // The last columns, padded.
        let edge = edge.get(layer.inputs);
        let first = panel * PANEL;
        for (to, from) in edge.iter_mut().zip(weights.chunks_exact(columns)) {
            *to = padded(&from[first..]);
        }
        (matrix.weights, matrix.columns) = (edge.as_flattened(), PANEL);
        matrix.panels::<V, R, 1>(0, &[padded(last_biases)], &mut results[panel * rows..]);
    }
}

/// A layer's factors, and what happens to its sums.
struct Matrix<'a, const G: usize> {
    left: &'a [[f32; G]],
    rows: usize,
    weights: &'a [f32],
    columns: usize,
    activation: Option<Activation>,
}

impl<const G: usize> Matrix<'_, G> {
    /// `C` panels of columns, from number `panel` on, for all samples: four at a time, then one.
    #[inline(always)]
    fn panels<V: Vector, const R: usize, const C: usize>(
        &self,
        panel: usize,
        biases: &[Row],
        results: &mut [Row],
    ) {
        let mut row = 0;
        while R >= 4 && row + 4 <= self.rows {
            if R >= 8 && C == 4 {
                for c in [0, 2] {
                    let results = &mut results[c * self.rows..];
                    self.tile::<V, 4, 2>(row, panel + c, &biases[c..], results);
                }
            } else {
                for c in 0..C {
                    let results = &mut results[c * self.rows..];
                    self.tile::<V, 4, 1>(row, panel + c, &biases[c..], results);
                }
            }
            row += 4;
        }
        // Eight sums are under way at once: each product waits for the one before it in its sum.
        while row + 2 <= self.rows {
            self.tile::<V, 2, C>(row, panel, biases, results);
            row += 2;
        }
        if row < self.rows {
            self.tile::<V, 1, C>(row, panel, biases, results);
        }
    }

    #[inline(always)]
    fn tile<V: Vector, const S: usize, const C: usize>(
        &self,
        first: usize,
        panel: usize,
        biases: &[Row],
        results: &mut [Row],
    ) {
        let mut sums = [[V::splat(0.0); C]; S];
        for c in 0..C {
            for s in 0..S {
                sums[s][c] = V::load(&biases[c]);
            }
        }
        let mut weights = self.weights.chunks_exact(self.columns);
        for left in self.left.chunks_exact(self.rows) {
            let Some(left) = left[first..].first_chunk::<S>() else { break };
            for k in 0..G {
                let Some(row) = weights.next() else { break };
                let Some(row) = row.as_chunks::<PANEL>().0[panel..].first_chunk::<C>() else {
                    break;
                };
                for c in 0..C {
                    let right = V::load(&row[c]);
                    for s in 0..S {
                        sums[s][c] = V::splat(left[s][k]).fma(right, sums[s][c]);
                    }
                }
            }
        }
        for c in 0..C {
            for s in 0..S {
                let sum = match self.activation {
                    Some(activation) => activate(activation, sums[s][c]),
                    None => sums[s][c],
                };
                sum.store(&mut results[c * self.rows + first + s]);
            }
        }
    }
}
