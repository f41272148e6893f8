//! The arithmetic of multi-layer perceptrons on plain slices, for the CPU.
//!
//! Everything is written as loops over short fixed arrays that the compiler turns into vector
//! instructions. At run time the widest instruction set of the machine is chosen (AVX2 with FMA on
//! x86-64, NEON on ARM); elsewhere the same code runs without fused multiply-add. Sums run in a
//! fixed order, so results do not depend on the number of threads.

use crate::config::Activation;

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

/// Constants of one step of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Decay of the first and the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Learning rate.
    pub rate: f64,
    /// Where some parameters must stay.
    pub bounds: Option<Bounds>,
}

/// The interval in which the last parameters of a vector are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Index of the first parameter that is kept in the interval.
    pub first: usize,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Buffers of a kernel, kept between calls so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// Rows of the left factor, packed.
    packed: Vec<[f32; ROWS]>,
    /// The last columns of the right factor, padded with zeros.
    tail: Vec<f32>,
    /// Weight matrices, transposed, at the places of the originals.
    transposed: Vec<f32>,
    /// A narrow factor or product, transposed.
    turned: Vec<f32>,
    /// Derivatives with respect to a layer's results.
    front: Vec<f32>,
    back: Vec<f32>,
}

/// Rows of a tile of a product: with its columns it fills 12 of 16 vector registers.
const ROWS: usize = 6;
/// Columns of a tile: two AVX registers. Last columns are padded to it: with a narrower tile of their
/// own the compiler falls back to scalar instructions.
const COLUMNS: usize = 16;
/// A right factor of at most so many columns would leave most of a tile empty.
const NARROW: usize = 3;
/// Samples that go through all layers together, so that they stay in the nearest cache.
const BLOCK: usize = 96;

/// Defines a public function that runs `$body` with the widest instruction set of the machine.
macro_rules! dispatched {
    (
        $(#[$docs:meta])*
        $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $output:ty)?
    ) => {
        $(#[$docs])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name($($argument: $kind),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn wide($($argument: $kind),*) $(-> $output)? {
                    $body::<true>($($argument),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the machine has the instructions, as the line above found.
                    #[allow(unsafe_code)]
                    return unsafe { wide($($argument),*) };
                }
            }
            // Fused multiply-add is part of every 64-bit ARM.
            $body::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    };
}

dispatched! {
    /// Outputs `[rows][out]` of a network for observations `[rows][in]`. `hidden` receives the
    /// results of each hidden layer, one layer `[rows][units]` behind the other; it has `rows` times
    /// the hidden units numbers.
    forward = forward_body(
        layers: &[Layer],
        activation: Activation,
        params: &[f32],
        observations: &[f32],
        hidden: &mut [f32],
        outputs: &mut [f32],
        workspace: &mut Workspace,
    )
}

dispatched! {
    /// Gradient `[params]` of a loss whose derivative with respect to the outputs `[rows][out]` is
    /// given: `J' d`. `hidden` is what [`forward`] wrote.
    backward = backward_body(
        layers: &[Layer],
        activation: Activation,
        params: &[f32],
        observations: &[f32],
        hidden: &[f32],
        derivative: &[f32],
        gradient: &mut [f32],
        workspace: &mut Workspace,
    )
}

dispatched! {
    /// Change `J v` of the outputs, `[rows][out]`, when the parameters move along `direction`.
    /// `hidden` is what [`forward`] wrote.
    jvp = jvp_body(
        layers: &[Layer],
        activation: Activation,
        params: &[f32],
        observations: &[f32],
        hidden: &[f32],
        direction: &[f32],
        change: &mut [f32],
        workspace: &mut Workspace,
    )
}

dispatched! {
    /// One step of Adam against `scale` times the gradient, in place: `params`, the first moment `m`
    /// and the second moment `v`, each `[params]`.
    adam = adam_body(
        params: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
        gradient: &[f32],
        scale: f32,
        step: AdamStep,
    )
}

dispatched! {
    /// Sum of the squares, in f64.
    sum_of_squares = sum_of_squares_body(numbers: &[f32]) -> f64
}

#[inline(always)]
fn adam_body<const FMA: bool>(
    params: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    gradient: &[f32],
    scale: f32,
    step: AdamStep,
) {
    let AdamStep { betas, epsilon, rate, bounds } = step;
    let (epsilon, rate) = (epsilon as f32, rate as f32);
    let [keep_m, keep_v] = betas.map(|beta| beta as f32);
    let [add_m, add_v] = betas.map(|beta| (1.0 - beta) as f32);
    for (((param, m), v), slope) in params.iter_mut().zip(m).zip(v).zip(gradient) {
        let slope = scale * slope;
        *m = keep_m * *m + add_m * slope;
        *v = keep_v * *v + add_v * slope * slope;
        *param -= rate * *m / (v.sqrt() + epsilon);
    }
    if let Some(Bounds { first, low, high }) = bounds {
        for param in &mut params[first..] {
            *param = param.clamp(low as f32, high as f32);
        }
    }
}

#[inline(always)]
fn sum_of_squares_body<const FMA: bool>(numbers: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 16];
    let (chunks, rest) = numbers.as_chunks::<16>();
    for chunk in chunks {
        for (sum, &x) in lanes.iter_mut().zip(chunk) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    lanes.iter().sum::<f64>() + rest
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &mut [f32],
    outputs: &mut [f32],
    workspace: &mut Workspace,
) {
    let rows = observations.len() / layers[0].inputs;
    let last = layers.len() - 1;
    for first in (0..rows).step_by(BLOCK) {
        let block = first..rows.min(first + BLOCK);
        let mut start = 0;
        for (index, &layer) in layers.iter().enumerate() {
            // Results of the layer before, `[rows][inputs]`, end where this layer's begin.
            let (before, after) = hidden.split_at_mut(start);
            let input =
                if index == 0 { observations } else { &before[start - rows * layer.inputs..] };
            let input = &input[block.start * layer.inputs..block.end * layer.inputs];
            let output = if index < last { after } else { &mut *outputs };
            let output = &mut output[block.start * layer.outputs..block.end * layer.outputs];
            for row in output.chunks_exact_mut(layer.outputs) {
                row.copy_from_slice(layer.biases(params));
            }
            let left = Left { data: input, stride: layer.inputs, transposed: false };
            multiply::<FMA>(
                left,
                layer.inputs,
                layer.weights(params),
                output,
                layer.outputs,
                workspace,
            );
            if index < last {
                activate::<FMA>(activation, output);
                start += rows * layer.outputs;
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn backward_body<const FMA: bool>(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    derivative: &[f32],
    gradient: &mut [f32],
    workspace: &mut Workspace,
) {
    gradient.fill(0.0);
    let rows = observations.len() / layers[0].inputs;
    let outputs = layers[layers.len() - 1].outputs;
    // Buffers leave the workspace while the products borrow it.
    let mut current = std::mem::take(&mut workspace.front);
    let mut next = std::mem::take(&mut workspace.back);
    let mut transposed = std::mem::take(&mut workspace.transposed);
    transposed.resize(params.len(), 0.0);
    for &layer in &layers[1..] {
        let place = layer.weights..layer.biases;
        transpose(layer.weights(params), layer.outputs, &mut transposed[place]);
    }
    for first in (0..rows).step_by(BLOCK) {
        let block = first..rows.min(first + BLOCK);
        current.clear();
        current.extend_from_slice(&derivative[block.start * outputs..block.end * outputs]);
        let mut end = hidden.len();
        for (index, &layer) in layers.iter().enumerate().rev() {
            let input = if index == 0 {
                observations
            } else {
                end -= rows * layer.inputs;
                &hidden[end..end + rows * layer.inputs]
            };
            let input = &input[block.start * layer.inputs..block.end * layer.inputs];
            let (weights, biases) = gradient[layer.weights..layer.biases + layer.outputs]
                .split_at_mut(layer.biases - layer.weights);
            for row in current.chunks_exact(layer.outputs) {
                biases.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
            }
            let left = Left { data: input, stride: layer.inputs, transposed: true };
            multiply::<FMA>(left, block.len(), &current, weights, layer.outputs, workspace);
            if index > 0 {
                let transposed = layer.weights(&transposed);
                next.clear();
                next.resize(block.len() * layer.inputs, 0.0);
                let left = Left { data: &current, stride: layer.outputs, transposed: false };
                multiply::<FMA>(
                    left,
                    layer.outputs,
                    transposed,
                    &mut next,
                    layer.inputs,
                    workspace,
                );
                multiply_by_slope(activation, &mut next, input);
                std::mem::swap(&mut current, &mut next);
            }
        }
    }
    (workspace.front, workspace.back, workspace.transposed) = (current, next, transposed);
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn jvp_body<const FMA: bool>(
    layers: &[Layer],
    activation: Activation,
    params: &[f32],
    observations: &[f32],
    hidden: &[f32],
    direction: &[f32],
    change: &mut [f32],
    workspace: &mut Workspace,
) {
    let rows = observations.len() / layers[0].inputs;
    let last = layers.len() - 1;
    let mut current = std::mem::take(&mut workspace.front);
    let mut next = std::mem::take(&mut workspace.back);
    for first in (0..rows).step_by(BLOCK) {
        let block = first..rows.min(first + BLOCK);
        let mut start = 0;
        for (index, &layer) in layers.iter().enumerate() {
            let input =
                if index == 0 { observations } else { &hidden[start - rows * layer.inputs..] };
            let input = &input[block.start * layer.inputs..block.end * layer.inputs];
            next.clear();
            for _ in block.clone() {
                next.extend_from_slice(layer.biases(direction));
            }
            let left = Left { data: input, stride: layer.inputs, transposed: false };
            multiply::<FMA>(
                left,
                layer.inputs,
                layer.weights(direction),
                &mut next,
                layer.outputs,
                workspace,
            );
            if index > 0 {
                let left = Left { data: &current, stride: layer.inputs, transposed: false };
                multiply::<FMA>(
                    left,
                    layer.inputs,
                    layer.weights(params),
                    &mut next,
                    layer.outputs,
                    workspace,
                );
            }
            if index < last {
                let results = &hidden[start + block.start * layer.outputs..];
                multiply_by_slope(activation, &mut next, &results[..block.len() * layer.outputs]);
                start += rows * layer.outputs;
            }
            std::mem::swap(&mut current, &mut next);
        }
        let outputs = layers[last].outputs;
        change[block.start * outputs..block.end * outputs].copy_from_slice(&current);
    }
    (workspace.front, workspace.back) = (current, next);
}

/// The left factor of a product: a matrix of rows of `stride` numbers, read as it is or transposed.
#[derive(Clone, Copy)]
struct Left<'a> {
    data: &'a [f32],
    stride: usize,
    transposed: bool,
}

/// `product [m][n] += left [m][depth] right [depth][n]`, where `n = columns`.
#[inline(always)]
fn multiply<const FMA: bool>(
    left: Left<'_>,
    depth: usize,
    right: &[f32],
    product: &mut [f32],
    columns: usize,
    workspace: &mut Workspace,
) {
    if columns > NARROW {
        return multiply_tiles::<FMA>(left, depth, right, product, columns, workspace);
    }
    let mut turned = std::mem::take(&mut workspace.turned);
    turned.clear();
    if left.transposed {
        // The transposed product: then the long side fills the tiles.
        turned.resize(product.len(), 0.0);
        let swapped = Left { data: right, stride: columns, transposed: true };
        multiply_tiles::<FMA>(swapped, depth, left.data, &mut turned, left.stride, workspace);
        for (j, sums) in turned.chunks_exact(left.stride).enumerate() {
            let rows = product.chunks_exact_mut(columns);
            rows.zip(sums).for_each(|(row, sum)| row[j] += sum);
        }
    } else {
        turned.resize(right.len(), 0.0);
        transpose(right, columns, &mut turned);
        for (row, product) in
            left.data.chunks_exact(left.stride).zip(product.chunks_exact_mut(columns))
        {
            for (column, entry) in turned.chunks_exact(depth).zip(product) {
                *entry += dot::<FMA>(row, column);
            }
        }
    }
    workspace.turned = turned;
}

/// Sum of the products of two rows' numbers.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *sum = fused::<FMA>(a, b, *sum);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (&a, &b)| fused::<FMA>(a, b, sum));
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

/// The product, tile by tile.
#[inline(always)]
fn multiply_tiles<const FMA: bool>(
    left: Left<'_>,
    depth: usize,
    right: &[f32],
    product: &mut [f32],
    columns: usize,
    workspace: &mut Workspace,
) {
    let Workspace { packed, tail, .. } = workspace;
    let whole = columns - columns % COLUMNS;
    if whole < columns {
        tail.clear();
        tail.resize(depth * COLUMNS, 0.0);
        for (padded, row) in tail.chunks_exact_mut(COLUMNS).zip(right.chunks_exact(columns)) {
            padded[..columns - whole].copy_from_slice(&row[whole..]);
        }
    }
    packed.resize(depth, [0.0; ROWS]);
    let rows = product.len() / columns;
    for first in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - first);
        pack(left, first, height, packed);
        let product = &mut product[first * columns..(first + height) * columns];
        for column in (0..whole).step_by(COLUMNS) {
            let sums = tile::<FMA>(packed, &right[column..], columns);
            for (row, sums) in product.chunks_exact_mut(columns).zip(&sums) {
                let row = &mut row[column..column + COLUMNS];
                row.iter_mut().zip(sums).for_each(|(entry, sum)| *entry += sum);
            }
        }
        if whole < columns {
            let sums = tile::<FMA>(packed, tail, COLUMNS);
            for (row, sums) in product.chunks_exact_mut(columns).zip(&sums) {
                row[whole..].iter_mut().zip(sums).for_each(|(entry, sum)| *entry += sum);
            }
        }
    }
}

/// Writes `height` rows of the left factor, from `first` on, column by column.
#[inline(always)]
fn pack(left: Left<'_>, first: usize, height: usize, packed: &mut [[f32; ROWS]]) {
    if left.transposed {
        for (packed, row) in packed.iter_mut().zip(left.data.chunks_exact(left.stride)) {
            if height == ROWS {
                packed.copy_from_slice(&row[first..first + ROWS]);
            } else {
                packed[..height].copy_from_slice(&row[first..first + height]);
            }
        }
    } else {
        let rows = left.data[first * left.stride..].chunks_exact(left.stride);
        for (index, row) in rows.take(height).enumerate() {
            for (packed, x) in packed.iter_mut().zip(row) {
                packed[index] = *x;
            }
        }
    }
}

/// One tile of a product: `packed` holds some rows of the left factor, `right` the columns of the
/// right factor from the tile's first on, in rows of `stride`.
#[inline(always)]
fn tile<const FMA: bool>(
    packed: &[[f32; ROWS]],
    right: &[f32],
    stride: usize,
) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0_f32; COLUMNS]; ROWS];
    for (left, right) in packed.iter().zip(right.chunks(stride)) {
        let Some(right) = right.first_chunk::<COLUMNS>() else { break };
        for (sums, &x) in sums.iter_mut().zip(left) {
            for (sum, &y) in sums.iter_mut().zip(right) {
                *sum = fused::<FMA>(x, y, *sum);
            }
        }
    }
    sums
}

/// `x y + z`, rounded once where the machine can do that as fast as twice.
#[inline(always)]
fn fused<const FMA: bool>(x: f32, y: f32, z: f32) -> f32 {
    if FMA { x.mul_add(y, z) } else { x * y + z }
}

/// Writes the transpose of `matrix [..][columns]`, eight of its rows at a time.
#[inline(always)]
fn transpose(matrix: &[f32], columns: usize, transposed: &mut [f32]) {
    let rows = matrix.len() / columns;
    for (group, eight) in matrix.chunks(8 * columns).enumerate() {
        let first = 8 * group;
        if eight.len() == 8 * columns {
            let [a, b, c, d, e, f, g, h]: [&[f32]; 8] =
                std::array::from_fn(|row| &eight[row * columns..(row + 1) * columns]);
            for (j, line) in transposed.chunks_exact_mut(rows).enumerate() {
                let eight = [a[j], b[j], c[j], d[j], e[j], f[j], g[j], h[j]];
                line[first..first + 8].copy_from_slice(&eight);
            }
        } else {
            for (i, row) in eight.chunks_exact(columns).enumerate() {
                let lines = transposed.chunks_exact_mut(rows);
                lines.zip(row).for_each(|(line, x)| line[first + i] = *x);
            }
        }
    }
}

/// Applies the nonlinearity in place.
#[inline(always)]
fn activate<const FMA: bool>(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Tanh => values.iter_mut().for_each(|x| *x = tanh::<FMA>(*x)),
        Activation::Relu => values.iter_mut().for_each(|x| *x = x.max(0.0)),
    }
}

/// Multiplies derivatives with respect to the nonlinearity's results by its slope at `results`.
#[inline(always)]
fn multiply_by_slope(activation: Activation, derivatives: &mut [f32], results: &[f32]) {
    match activation {
        Activation::Tanh => {
            derivatives.iter_mut().zip(results).for_each(|(d, y)| *d *= 1.0 - y * y);
        }
        Activation::Relu => {
            derivatives
                .iter_mut()
                .zip(results)
                .for_each(|(d, y)| *d = if *y > 0.0 { *d } else { 0.0 });
        }
    }
}

/// Hyperbolic tangent within 5e-7, odd and bounded by 1: the ratio of two polynomials in `x^2` (the
/// minimax fit of degree 13 over 6 on `[-9, 9]` that linear-algebra libraries use, Eigen among
/// them). Not a number stays so.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    const NUMERATOR: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_1e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    const DENOMINATOR: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    const LIMIT: f32 = 7.905_311_5;
    // `clamp` keeps a NaN.
    let x = x.clamp(-LIMIT, LIMIT);
    let square = x * x;
    let numerator = NUMERATOR[1..]
        .iter()
        .fold(NUMERATOR[0], |sum, &coefficient| fused::<FMA>(sum, square, coefficient));
    let denominator = DENOMINATOR[1..]
        .iter()
        .fold(DENOMINATOR[0], |sum, &coefficient| fused::<FMA>(sum, square, coefficient));
    (x * numerator / denominator).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_a_millionth_everywhere() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).tanh();
            for found in [tanh::<true>(x), tanh::<false>(x)] {
                assert!(
                    (f64::from(found) - exact).abs() <= 5e-7,
                    "tanh({x}) = {found}, not {exact}"
                );
                assert!(found.abs() <= 1.0, "tanh({x}) = {found}");
            }
        }
        assert!((tanh::<true>(f32::INFINITY) - 1.0).abs() <= 5e-7);
        assert!(tanh::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn a_product_worked_by_hand() {
        // [1 2; 3 4; 5 6] [1 0 2; 0 1 3] = [1 2 8; 3 4 18; 5 6 28]
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let left = Left { data: &data, stride: 2, transposed: false };
        let mut product = [0.5; 9];
        let right = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0];
        multiply::<true>(left, 2, &right, &mut product, 3, &mut Workspace::default());
        assert_eq!(product, [1.5, 2.5, 8.5, 3.5, 4.5, 18.5, 5.5, 6.5, 28.5]);
        // The transposed left factor [1 3 5; 2 4 6] times [1; 1; 1] = [9; 12].
        let left = Left { data: &data, stride: 2, transposed: true };
        let mut product = [0.0; 2];
        multiply::<false>(left, 3, &[1.0; 3], &mut product, 1, &mut Workspace::default());
        assert_eq!(product, [9.0, 12.0]);
    }
}
