//! How a network's numbers lie in memory while the kernels work on them.
//!
//! A matrix lies in panels of 16 columns, panel by panel, row by row, so that a row of a panel is one
//! vector and one cache line, and neighbours in a sum are neighbours in memory. The last panel is
//! padded with zeros. Observations, which are often few numbers, lie in panels of 4 columns.
//!
//! Padding stays zero by itself: both activations are zero at zero, and the derivative of a loss with
//! respect to padding is zero.

use super::products::with_outputs;
use super::vector::{NARROW, PANEL, Row, Vector, ZERO, dispatched};

/// Samples are padded to a multiple of it.
pub(super) const ROWS: usize = 8;
/// A last layer of at most so many outputs is computed without tiles, which it would leave empty.
const FEW_OUTPUTS: usize = 8;

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

/// Rows that begin at a cache line, kept between calls so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    numbers: Vec<f32>,
}

impl Rows {
    /// So many rows; what they hold is of an earlier use.
    pub(super) fn get(&mut self, count: usize) -> &mut [Row] {
        let length = (count + 1) * PANEL;
        if self.numbers.len() < length {
            self.numbers.resize(length, 0.0);
        }
        // A vector that crosses two cache lines takes twice as long to load.
        let skipped = self.numbers.as_ptr().align_offset(size_of::<Row>()).min(PANEL);
        &mut self.numbers[skipped..].as_chunks_mut().0[..count]
    }
}

/// Where a layer is in its network, and with it how its parameters lie in panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) layer: Layer,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

impl Place {
    /// All layers in their places.
    #[inline(always)]
    pub(super) fn all(layers: &[Layer]) -> impl DoubleEndedIterator<Item = Place> {
        let last = layers.len() - 1;
        layers.iter().enumerate().map(move |(index, &layer)| Place {
            layer,
            is_first: index == 0,
            is_last: index == last,
        })
    }

    /// For a last layer of few outputs behind a hidden layer their number, padded. Its weights are
    /// turned: panels of inputs, a row for each output.
    pub(super) fn few_outputs(self) -> Option<usize> {
        let outputs = self.layer.outputs;
        let few = self.is_last && !self.is_first && outputs <= FEW_OUTPUTS;
        few.then(|| outputs.next_power_of_two())
    }

    /// Rows of a panel of the weights.
    pub(super) fn depth(self) -> usize {
        match self.few_outputs() {
            Some(outputs) => outputs,
            None if self.is_first => self.layer.inputs.next_multiple_of(NARROW),
            None => self.layer.inputs.next_multiple_of(PANEL),
        }
    }

    /// Rows of all panels of the weights.
    pub(super) fn weight_rows(self) -> usize {
        let Layer { inputs, outputs, .. } = self.layer;
        let columns = if self.few_outputs().is_some() { inputs } else { outputs };
        self.depth() * columns.div_ceil(PANEL)
    }

    /// Rows that the biases take, and a sample's results.
    pub(super) fn panels(self) -> usize {
        self.layer.outputs.div_ceil(PANEL)
    }

    /// Rows that the weights take for the way back, on which they are transposed. The first layer's
    /// are not needed there, and those of a layer of few outputs are transposed anyway.
    pub(super) fn turned_rows(self) -> usize {
        match self.few_outputs() {
            _ if self.is_first => 0,
            Some(_) => self.weight_rows(),
            None => self.panels() * PANEL * self.layer.inputs.div_ceil(PANEL),
        }
    }
}

/// Rows that a network's parameters take, or their gradient.
pub(super) fn parameter_rows(layers: &[Layer]) -> usize {
    Place::all(layers).map(|place| place.weight_rows() + place.panels()).sum()
}

/// Rows that a network's weights take for the way back.
pub(super) fn turned_rows(layers: &[Layer]) -> usize {
    Place::all(layers).map(Place::turned_rows).sum()
}

/// Rows that a sample's results of all hidden layers take.
pub(super) fn hidden_panels(layers: &[Layer]) -> usize {
    Place::all(layers).filter(|place| !place.is_last).map(Place::panels).sum()
}

dispatched! {
    /// Writes parameters `[params]` into panels, [`parameter_rows`] in all: for each layer the
    /// weights, then the biases.
    pub(super) pack = pack_body(layers: &[Layer], params: &[f32], packed: &mut [Row])
}

dispatched! {
    /// Writes the weights for the way back into panels, [`turned_rows`] in all.
    pub(super) pack_turned = pack_turned_body(layers: &[Layer], params: &[f32], packed: &mut [Row])
}

dispatched! {
    /// Reads a gradient `[params]` out of its panels.
    pub(super) unpack = unpack_body(layers: &[Layer], packed: &[Row], gradient: &mut [f32])
}

#[inline(always)]
fn pack_body<V: Vector, const R: usize>(layers: &[Layer], params: &[f32], packed: &mut [Row]) {
    let mut rest = packed;
    for place in Place::all(layers) {
        let layer = place.layer;
        let (weights, after) = rest.split_at_mut(place.weight_rows());
        let (biases, after) = after.split_at_mut(place.panels());
        rest = after;
        if let Some(few) = place.few_outputs() {
            let matrix = layer.weights(params);
            with_outputs!(few, O => turn_narrow::<O>(matrix, layer.outputs, weights));
        } else {
            pack_columns::<V>(layer.weights(params), layer.outputs, weights, place.depth());
        }
        pack_columns::<V>(layer.biases(params), layer.outputs, biases, 1);
    }
}

/// Writes `matrix [..][columns]` into panels of `depth` rows.
#[inline(always)]
pub(super) fn pack_columns<V: Vector>(
    matrix: &[f32],
    columns: usize,
    packed: &mut [Row],
    depth: usize,
) {
    for (panel, packed) in packed.chunks_exact_mut(depth).enumerate() {
        let first = panel * PANEL;
        let rows = matrix.chunks_exact(columns);
        let (used, padding) = packed.split_at_mut(rows.len().min(depth));
        if first + PANEL <= columns {
            for (to, from) in used.iter_mut().zip(rows) {
                if let Some(from) = from[first..].first_chunk() {
                    V::load(from).store(to);
                }
            }
        } else {
            for (to, from) in used.iter_mut().zip(rows) {
                *to = padded(&from[first..]);
            }
        }
        padding.fill(ZERO);
    }
}

/// Fewer than 16 numbers as a row.
#[inline(always)]
pub(super) fn padded(numbers: &[f32]) -> Row {
    let mut row = ZERO;
    row.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
    row
}

/// Writes `matrix [inputs][columns]` of at most `O` columns into panels of inputs, with a row for each
/// column.
#[inline(always)]
pub(super) fn turn_narrow<const O: usize>(matrix: &[f32], columns: usize, packed: &mut [Row]) {
    let panels = packed.as_chunks_mut::<O>().0;
    for (inputs, packed) in matrix.chunks(PANEL * columns).zip(panels) {
        let mut block = [[0.0; O]; PANEL];
        match inputs.as_chunks().0.first_chunk() {
            Some(whole) if columns == O => block = *whole,
            _ => {
                for (to, from) in block.iter_mut().zip(inputs.chunks_exact(columns)) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
        for (o, row) in packed.iter_mut().enumerate() {
            for i in 0..PANEL {
                row[i] = block[i][o];
            }
        }
    }
}

/// The way back: reads `matrix [inputs][columns]` out of panels that [`turn_narrow`] wrote.
#[inline(always)]
fn turn_narrow_back<const O: usize>(packed: &[Row], matrix: &mut [f32], columns: usize) {
    let panels = packed.as_chunks::<O>().0;
    for (inputs, packed) in matrix.chunks_mut(PANEL * columns).zip(panels) {
        let mut block = [[0.0; O]; PANEL];
        for (o, row) in packed.iter().enumerate() {
            for i in 0..PANEL {
                block[i][o] = row[i];
            }
        }
        match inputs.as_chunks_mut().0.first_chunk_mut() {
            Some(whole) if columns == O => *whole = block,
            _ => {
                for (to, from) in inputs.chunks_exact_mut(columns).zip(&block) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

#[inline(always)]
fn pack_turned_body<V: Vector, const R: usize>(
    layers: &[Layer],
    params: &[f32],
    packed: &mut [Row],
) {
    let mut rest = packed;
    for place in Place::all(layers).filter(|place| !place.is_first) {
        let layer = place.layer;
        let (turned, after) = rest.split_at_mut(place.turned_rows());
        rest = after;
        let weights = layer.weights(params);
        if let Some(few) = place.few_outputs() {
            with_outputs!(few, O => turn_narrow::<O>(weights, layer.outputs, turned));
            continue;
        }
        let columns = layer.outputs;
        let height = place.panels() * PANEL;
        for (inputs, turned) in weights.chunks(PANEL * columns).zip(turned.chunks_exact_mut(height))
        {
            for (panel, turned) in turned.as_chunks_mut().0.iter_mut().enumerate() {
                let first = panel * PANEL;
                let mut edge = [ZERO; PANEL];
                let rows = inputs.chunks_exact(columns).map(|input| &input[first..]);
                if first + PANEL <= columns && rows.len() == PANEL {
                    let mut block = [&ZERO; PANEL];
                    for (to, from) in block.iter_mut().zip(rows) {
                        if let Some(from) = from.first_chunk() {
                            *to = from;
                        }
                    }
                    V::transpose(&block, turned);
                } else {
                    edge.iter_mut().zip(rows).for_each(|(to, from)| *to = padded(from));
                    V::transpose(&edge.each_ref(), turned);
                }
            }
        }
    }
}

#[inline(always)]
fn unpack_body<V: Vector, const R: usize>(layers: &[Layer], packed: &[Row], gradient: &mut [f32]) {
    let mut rest = packed;
    for place in Place::all(layers) {
        let layer = place.layer;
        let (from, after) = rest.split_at(place.weight_rows());
        let (biases, after) = after.split_at(place.panels());
        rest = after;
        let to = &mut gradient[layer.weights..layer.biases + layer.outputs];
        let (weights, to) = to.split_at_mut(layer.biases - layer.weights);
        if let Some(few) = place.few_outputs() {
            with_outputs!(few, O => turn_narrow_back::<O>(from, weights, layer.outputs));
        } else {
            unpack_columns::<V>(from, place.depth(), weights, layer.outputs);
        }
        unpack_columns::<V>(biases, 1, to, layer.outputs);
    }
}

/// Reads `matrix [..][columns]` out of panels of `depth` rows.
#[inline(always)]
pub(super) fn unpack_columns<V: Vector>(
    packed: &[Row],
    depth: usize,
    matrix: &mut [f32],
    columns: usize,
) {
    for (panel, packed) in packed.chunks_exact(depth).enumerate() {
        let first = panel * PANEL;
        for (to, from) in matrix.chunks_exact_mut(columns).zip(packed) {
            match to[first..].first_chunk_mut() {
                Some(to) => V::load(from).store(to),
                None => to[first..].iter_mut().zip(from).for_each(|(to, from)| *to = *from),
            }
        }
    }
}

/// Writes observations, `width` numbers of each sample, into panels of 4 columns and `rows` rows.
pub(super) fn pack_observations<'a, 'p>(
    samples: impl ExactSizeIterator<Item = &'a [f32]> + Clone,
    width: usize,
    rows: usize,
    packed: &'p mut Vec<[f32; NARROW]>,
) -> &'p [[f32; NARROW]] {
    let length = rows * width.div_ceil(NARROW);
    if packed.len() < length {
        packed.resize(length, [0.0; NARROW]);
    }
    let packed = &mut packed[..length];
    for (panel, packed) in packed.chunks_exact_mut(rows).enumerate() {
        let first = panel * NARROW;
        let (used, padding) = packed.split_at_mut(samples.len());
        let samples = samples.clone().map(|sample| &sample[first..]);
        match width - first {
            1 => pack_columns_of::<1>(samples, used),
            2 => pack_columns_of::<2>(samples, used),
            3 => pack_columns_of::<3>(samples, used),
            _ => pack_columns_of::<4>(samples, used),
        }
        padding.fill([0.0; NARROW]);
    }
    packed
}

/// Writes the first `W` numbers of each row, 4 or what is left for the last panel, and zeros behind them. A copy of a
/// length that is not known here would be a call for each row.
fn pack_columns_of<'a, const W: usize>(
    rows: impl Iterator<Item = &'a [f32]>,
    packed: &mut [[f32; NARROW]],
) {
    for (to, from) in packed.iter_mut().zip(rows) {
        if let Some(from) = from.first_chunk::<W>() {
            *to = [0.0; NARROW];
            to[..W].copy_from_slice(from);
        }
    }
}
