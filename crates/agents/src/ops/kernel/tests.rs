//! The kernels in each set of instructions, against plain loops in f64.

use super::activation::tanh;
use super::vector::{Instructions, Level, Vector, dispatched};
use super::*;
use crate::ops::chunks::CHUNK;
use crate::threads::Threads;
use std::num::NonZeroUsize;

/// Numbers in `[-1, 1)`, the same ones for the same seed.
fn numbers(count: usize, mut state: u64) -> Vec<f32> {
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn layers_of(sizes: &[usize]) -> Vec<Layer> {
    let mut weights = 0;
    let layer = |pair: &[usize]| {
        let (inputs, outputs) = (pair[0], pair[1]);
        let layer = Layer { inputs, outputs, weights, biases: weights + inputs * outputs };
        weights = layer.biases + outputs;
        layer
    };
    sizes.windows(2).map(layer).collect()
}

/// A network and what goes through it, in f64.
struct Plain<'a> {
    layers: &'a [Layer],
    activation: Activation,
    params: &'a [f64],
    direction: &'a [f64],
}

/// What a sample gives.
struct Expected {
    outputs: Vec<f64>,
    change: Vec<f64>,
}

impl Plain<'_> {
    /// Outputs and their change for one sample; its gradient is added.
    fn sample(&self, x: &[f64], derivative: &[f64], gradient: &mut [f64]) -> Expected {
        let slope = |y: f64| match self.activation {
            Activation::Tanh => 1.0 - y * y,
            Activation::Relu => f64::from(y > 0.0),
        };
        let (mut values, mut changes) = (vec![x.to_vec()], vec![vec![0.0; x.len()]]);
        for (index, layer) in self.layers.iter().enumerate() {
            let is_last = index + 1 == self.layers.len();
            let (x, dx) = (&values[index], &changes[index]);
            let (mut results, mut moved) = (vec![], vec![]);
            for o in 0..layer.outputs {
                let mut sum = self.params[layer.biases + o];
                let mut change = self.direction[layer.biases + o];
                for i in 0..layer.inputs {
                    let at = layer.weights + i * layer.outputs + o;
                    sum += x[i] * self.params[at];
                    change += x[i] * self.direction[at] + dx[i] * self.params[at];
                }
                let y = match self.activation {
                    _ if is_last => sum,
                    Activation::Tanh => sum.tanh(),
                    Activation::Relu => sum.max(0.0),
                };
                results.push(y);
                moved.push(if is_last { change } else { change * slope(y) });
            }
            values.push(results);
            changes.push(moved);
        }
        let mut d = derivative.to_vec();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let mut before = vec![0.0; layer.inputs];
            for o in 0..layer.outputs {
                gradient[layer.biases + o] += d[o];
                for i in 0..layer.inputs {
                    let at = layer.weights + i * layer.outputs + o;
                    gradient[at] += values[index][i] * d[o];
                    before[i] += self.params[at] * d[o];
                }
            }
            d = before.iter().zip(&values[index]).map(|(d, y)| d * slope(*y)).collect();
        }
        Expected { outputs: values.pop().unwrap(), change: changes.pop().unwrap() }
    }
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}

/// What the kernels gave for one case.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    outputs: Vec<f32>,
    gradient: Vec<f32>,
    change: Vec<f32>,
}

struct Case {
    layers: Vec<Layer>,
    activation: Activation,
    params: Vec<f32>,
    direction: Vec<f32>,
    observations: Vec<f32>,
    derivative: Vec<f32>,
    rows: usize,
}

impl Case {
    fn new(sizes: &[usize], activation: Activation, rows: usize) -> Case {
        let layers = layers_of(sizes);
        let last = layers[layers.len() - 1];
        let count = last.biases + last.outputs;
        let mut params = numbers(count, 1);
        for layer in &layers {
            // As large as keeps the results of order 1.
            let scale = (layer.inputs as f32).sqrt().recip();
            params[layer.weights..layer.biases].iter_mut().for_each(|x| *x *= scale);
        }
        let direction = params.iter().zip(numbers(count, 2)).map(|(x, y)| x.abs() * y).collect();
        let observations = numbers(rows * sizes[0], 3);
        let derivative = numbers(rows * last.outputs, 4);
        Case { layers, activation, params, direction, observations, derivative, rows }
    }

    fn run(&self, level: Level) -> Found {
        let Case { layers, activation, params, observations, rows, .. } = self;
        let network = Network { layers, activation: *activation, level };
        let outputs = self.derivative.len();
        let mut found = Found {
            outputs: vec![f32::NAN; outputs],
            gradient: vec![f32::NAN; params.len()],
            change: vec![f32::NAN; outputs],
        };
        let mut hidden = vec![f32::NAN; hidden_len(layers, *rows)];
        let (o, h) = (&mut found.outputs, &mut hidden);
        forward(network, params, observations, h, o);
        let mut alone = vec![f32::NAN; outputs];
        super::outputs(network, params, observations, &mut alone);
        // Compared by their bits, since what is not a number is not equal to itself.
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(&found.outputs));
        let (d, g) = (&self.derivative, &mut found.gradient);
        backward(network, params, observations, &hidden, d, g);
        let (v, c) = (&self.direction, &mut found.change);
        jvp(network, params, observations, &hidden, v, c);

        // The same, a chunk at a time.
        let (indices, width) = ((0..*rows as i32).collect::<Vec<_>>(), outputs / rows);
        let mut again = vec![f32::NAN; params.len()];
        let (g, o) = (&mut again, &found.outputs);
        gradient(network, params, observations, &indices, g, &mut [], &|some, outputs, to, _| {
            let some = some.start * width..some.end * width;
            assert_eq!(bits(outputs), bits(&o[some.clone()]));
            to.copy_from_slice(&self.derivative[some]);
        });
        assert_eq!(bits(&again), bits(&found.gradient));
        let mut product = vec![f32::NAN; params.len()];
        let (v, c) = (&self.direction, &found.change);
        backward(network, params, observations, &hidden, c, &mut product);
        let twice = |_: Range<usize>, change: &mut [f32]| change.iter_mut().for_each(|x| *x *= 2.0);
        curvature(network, params, observations, &hidden, v, &twice, &mut again);
        assert_eq!(bits(&again), bits(&product.iter().map(|x| 2.0 * x).collect::<Vec<_>>()));
        found
    }
}

#[test]
fn as_plain_loops() {
    let shapes: [(&[usize], usize); 21] = [
        (&[4, 64, 64, 2], 64),
        (&[4, 64, 64, 1], 256),
        (&[10, 128, 128, 2], 100),
        (&[7, 40, 72, 3], 27),
        (&[3, 64, 64, 1], 70),
        (&[5, 20, 6], 1),
        (&[5, 20, 8], 4),
        (&[1, 1], 1),
        (&[48, 4], 100),
        (&[300, 20], 129),
        (&[2, 1, 1, 1, 1, 1], 5),
        (&[2, 16, 17, 15, 9, 33], 130),
        (&[10, 17, 33, 16, 18], 193),
        (&[6, 32, 1, 3], 6),
        (&[2, 128, 16], 700),
        (&[3, 520, 9, 270, 2], 33),
        (&[3, 3000, 2], 9),
        (&[600, 2, 1030], 40),
        (&[3, 65_536, 2], 3),
        (&[65_536, 5, 9], 2),
        (&[2, 3, 65_536], 9),
    ];
    for ((sizes, rows), activation) in
        shapes.into_iter().flat_map(|shape| [(shape, Activation::Relu), (shape, Activation::Tanh)])
    {
        let case = Case::new(sizes, activation, rows);
        let (params, direction) = (wide(&case.params), wide(&case.direction));
        let plain =
            Plain { layers: &case.layers, activation, params: &params, direction: &direction };
        let mut gradient = vec![0.0; params.len()];
        let (mut outputs, mut change) = (vec![], vec![]);
        let width = case.derivative.len() / rows;
        for row in 0..rows {
            let x = wide(&case.observations[row * sizes[0]..][..sizes[0]]);
            let d = wide(&case.derivative[row * width..][..width]);
            let expected = plain.sample(&x, &d, &mut gradient);
            outputs.extend(expected.outputs);
            change.extend(expected.change);
        }
        // What is summed may cancel: errors are measured against the size of the whole.
        let is_close = |found: &[f32], expected: &[f64], what: &str, level: Level| {
            let scale = expected.iter().fold(1.0_f64, |scale, x| scale.max(x.abs()));
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (f64::from(*found) - expected).abs() / scale;
                assert!(
                    error < 1e-5,
                    "{sizes:?}, {rows} rows, {activation:?}, {level:?}: {what} {index} is {found}, \
                     not {expected}"
                );
            }
        };
        for level in Level::all() {
            let found = case.run(level);
            is_close(&found.outputs, &outputs, "output", level);
            is_close(&found.gradient, &gradient, "gradient", level);
            is_close(&found.change, &change, "change", level);
            // Nothing of an earlier use of the buffers counts, not even what is not a number.
            let mut other = Case::new(&[33, 70, 50, 5], activation, 300);
            other.observations.fill(f32::NAN);
            other.run(level);
            assert_eq!(case.run(level), found, "{sizes:?}, {level:?}");
        }
    }
}

#[test]
fn all_instructions_that_fuse_give_the_same_bits() {
    let case = Case::new(&[10, 70, 50, 3], Activation::Tanh, 300);
    let mut fused = Level::all()
        .filter(|level| level.0 != Instructions::Portable || cfg!(target_arch = "aarch64"))
        .map(|level| case.run(level));
    if let Some(first) = fused.next() {
        fused.for_each(|other| assert_eq!(first, other));
    }
}

#[test]
fn outputs_of_a_sample_do_not_depend_on_its_company() {
    for sizes in [&[10, 70, 50, 3][..], &[10, 70, 50, 20], &[10, 70, 50, 1], &[5, 3]] {
        let case = Case::new(sizes, Activation::Tanh, 300);
        let Case { layers, activation, params, observations, .. } = &case;
        let width = case.derivative.len() / case.rows;
        for level in Level::all() {
            let network = Network { layers, activation: *activation, level };
            let together = case.run(level).outputs;
            for rows in [1, 2, 3, 4, 5, 7, 8, 9, 31, 127, 129, 200] {
                for (observations, together) in
                    observations.chunks(rows * sizes[0]).zip(together.chunks(rows * width))
                {
                    let mut apart = vec![0.0; together.len()];
                    let to = &mut apart;
                    super::outputs(network, params, observations, to);
                    assert_eq!(apart, together, "{sizes:?}, {rows} rows, {level:?}");
                }
            }
        }
    }
}

#[test]
fn a_gradient_is_the_tree_of_its_chunks() {
    for chunks in 1..20 {
        // The last chunk is not a whole one.
        let rows = chunks * CHUNK - 37;
        let case = Case::new(&[4, 20, 17, 2], Activation::Tanh, rows);
        for level in Level::all() {
            let mut parts: Vec<Vec<f32>> = (0..chunks)
                .map(|chunk| {
                    let samples = chunk * CHUNK..rows.min((chunk + 1) * CHUNK);
                    let part = Case {
                        layers: case.layers.clone(),
                        activation: case.activation,
                        params: case.params.clone(),
                        direction: case.direction.clone(),
                        observations: case.observations[4 * samples.start..4 * samples.end].into(),
                        derivative: case.derivative[2 * samples.start..2 * samples.end].into(),
                        rows: samples.len(),
                    };
                    part.run(level).gradient
                })
                .collect();
            // Neighbours are added until one is left.
            while parts.len() > 1 {
                parts = parts
                    .chunks(2)
                    .map(|pair| match pair {
                        [a, b] => a.iter().zip(b).map(|(a, b)| a + b).collect(),
                        _ => pair[0].clone(),
                    })
                    .collect();
            }
            for count in [1, 2, 3, 7] {
                let threads = Threads::new(NonZeroUsize::new(count).unwrap());
                let found = threads.keep_awake(|| case.run(level).gradient);
                assert_eq!(found, parts[0], "{chunks} chunks, {level:?}, {count} threads");
            }
        }
    }
}

#[test]
fn a_loss_on_some_rows_is_summed_as_its_gradient() {
    let (rows, width) = (5 * CHUNK - 37, 2);
    let case = Case::new(&[4, 20, 17, width], Activation::Tanh, rows);
    let Case { layers, activation, params, observations, derivative, .. } = &case;
    // In no order, and some of them twice.
    let indices: Vec<i32> = (0..rows).map(|i| (i * i * 7919 % rows) as i32).collect();
    let chosen = indices.iter().flat_map(|&i| &observations[4 * i as usize..][..4]);
    let chosen = Case {
        observations: chosen.copied().collect(),
        ..Case::new(&[4, 20, 17, width], Activation::Tanh, rows)
    };
    // One after the other they would be 0, and as the tree of chunks they are 4.
    let of_chunks = [2.0_f64.powi(54), 1.0, 1.0, 2.0, -2.0_f64.powi(54)];
    for level in Level::all() {
        let network = Network { layers, activation: *activation, level };
        let expected = chosen.run(level).gradient;
        for threads in [1, 3] {
            let threads = Threads::new(NonZeroUsize::new(threads).unwrap());
            let at = |gradient: &mut [f32]| {
                let mut sums = [f64::NAN];
                let loss = |some: Range<usize>, _: &[f32], to: &mut [f32], sums: &mut [f64]| {
                    to.copy_from_slice(&derivative[some.start * width..some.end * width]);
                    sums[0] = of_chunks[some.start / CHUNK];
                };
                threads.keep_awake(|| {
                    super::gradient(
                        network,
                        params,
                        observations,
                        &indices,
                        gradient,
                        &mut sums,
                        &loss,
                    );
                });
                assert_eq!(sums, [4.0], "{level:?}");
            };
            let mut found = vec![f32::NAN; params.len()];
            at(&mut found);
            assert_eq!(found, expected, "{level:?}");
            // The sums alone.
            at(&mut []);
        }
    }
}

dispatched! {
    tanh_of = tanh_body(row: &mut Row)
}

#[inline(always)]
fn tanh_body<V: Vector, const R: usize>(row: &mut Row) {
    tanh(V::load(row)).store(row);
}

#[test]
fn tanh_is_within_a_millionth_everywhere() {
    let xs: Vec<f32> = (-200_000..200_000)
        .map(|i| i as f32 * 1e-4)
        .chain([f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE])
        .chain([-0.0; 11])
        .collect();
    for level in Level::all() {
        for xs in xs.as_chunks().0 {
            let mut row: Row = *xs;
            tanh_of(level, &mut row);
            for (x, found) in xs.iter().zip(row) {
                let exact = f64::from(*x).tanh();
                assert!(
                    (f64::from(found) - exact).abs() <= 5e-7,
                    "{level}: tanh({x}) = {found}, not {exact}"
                );
                assert!(found.abs() <= 1.0, "{level}: tanh({x}) = {found}");
            }
        }
        let mut row = [f32::NAN; PANEL];
        tanh_of(level, &mut row);
        assert!(row.iter().all(|x| x.is_nan()), "{level}");
    }
}

#[test]
fn what_is_not_a_number_is_not_lost() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for (sizes, level) in [&[4, 20, 17, 2][..], &[4, 20, 17, 20]]
            .into_iter()
            .flat_map(|sizes| Level::all().map(move |level| (sizes, level)))
        {
            let clean = Case::new(sizes, activation, 10);
            // A weight and a bias of the first layer, in both halves of a row, and one of the next.
            for spoilt in [5, 15, 20 * 4 + 3, 20 * 4 + 12, 20 * 5 + 7] {
                let mut case = Case::new(sizes, activation, 10);
                case.params[spoilt] = f32::NAN;
                let found = case.run(level);
                assert!(found.outputs.iter().all(|x| x.is_nan()), "{sizes:?}, {level:?}");
            }
            let mut case = Case::new(sizes, activation, 10);
            case.observations[4 * 3 + 1] = f32::NAN;
            let found = case.run(level);
            let expected = clean.run(level).outputs;
            let width = expected.len() / 10;
            for (index, (found, expected)) in found.outputs.iter().zip(expected).enumerate() {
                // That sample's outputs, and no other's.
                assert_eq!(found.is_nan(), index / width == 3, "{sizes:?}, {level:?}");
                assert!(index / width == 3 || *found == expected);
            }
        }
    }
}

/// Left to itself a moment would end at the smallest number that there is.
#[test]
fn moments_without_a_gradient_end_at_zero() {
    let [mut params, mut m, mut v, gradient] = [1.0, 2e-38, 2e-38, 0.0].map(|x| vec![x; 37]);
    m[36] = f32::NAN;
    let step = AdamStep { betas: [0.9, 0.999], epsilon: 1e-5, rate: 0.1, bounds: None };
    for _ in 0..1000 {
        adam(&mut params, &mut m, &mut v, &gradient, 1.0, step);
    }
    assert_eq!((&m[..36], &v[..]), ([0.0; 36].as_slice(), [0.0; 37].as_slice()));
    assert_eq!(params[..36], [1.0; 36]);
    assert!(m[36].is_nan() && params[36].is_nan());
}
