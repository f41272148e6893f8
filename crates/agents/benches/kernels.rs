//! The arithmetic of networks in each set of vector instructions that the machine has: time, products
//! and sums a second, and beside them what a core can do at most.
//!
//! `cargo bench --workspace --bench kernels`

#![allow(missing_docs, clippy::unwrap_used)]

use agents::Activation;
use agents::network::Mlp;
use agents::ops::kernel::{self, Layer, Level, Network};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::fmt;

fn main() {
    divan::main();
}

/// Instructions, a network of two hidden layers, and the samples that go through it.
#[derive(Clone, Copy)]
struct Case {
    level: Level,
    /// Observation, hidden layers, outputs.
    sizes: [usize; 4],
    activation: Activation,
    rows: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { level, sizes, activation, rows } = self;
        write!(f, "{level}, {rows} through {sizes:?} {activation:?}")
    }
}

/// What updates are made of, in all instructions.
fn cases() -> impl Iterator<Item = Case> {
    let shapes = [
        ([4, 64, 64, 2], 64),
        ([4, 64, 64, 2], 128),
        ([4, 64, 64, 2], 256),
        ([10, 128, 128, 2], 512),
        ([100, 1024, 1024, 12], 256),
    ];
    Level::all().flat_map(move |level| {
        shapes.into_iter().flat_map(move |(sizes, rows)| {
            [Activation::Relu, Activation::Tanh].map(|activation| Case {
                level,
                sizes,
                activation,
                rows,
            })
        })
    })
}

/// What a kernel reads.
struct Buffers {
    layers: Vec<Layer>,
    params: Vec<f32>,
    observations: Vec<f32>,
    derivative: Vec<f32>,
    level: Level,
}

impl Case {
    fn buffers(self) -> Buffers {
        let [inputs, .., outputs] = self.sizes;
        let mut weights = 0;
        let mut layers = Vec::new();
        for pair in self.sizes.windows(2) {
            let biases = weights + pair[0] * pair[1];
            layers.push(Layer { inputs: pair[0], outputs: pair[1], weights, biases });
            weights = biases + pair[1];
        }
        // Of both signs, like trained ones; their values do not matter otherwise.
        let numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|i| (i * 7919 % 1009) as f32 / 2500.0 - 0.2).collect()
        };
        Buffers {
            params: numbers(weights),
            observations: numbers(self.rows * inputs),
            derivative: numbers(self.rows * outputs),
            level: self.level,
            layers,
        }
    }

    /// Floating-point operations of a forward pass: a product and a sum for each weight and sample.
    fn forward_flop(self) -> usize {
        let weights: usize = self.sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
        2 * weights * self.rows
    }

    /// Of a backward pass: the same for the gradient, and again for the derivatives of what each layer
    /// but the first read. Of a forward-mode derivative too.
    fn backward_flop(self) -> usize {
        2 * self.forward_flop() - 2 * self.sizes[0] * self.sizes[1] * self.rows
    }
}

impl Buffers {
    fn network(&self, activation: Activation) -> Network<'_> {
        Network { layers: &self.layers, activation, level: self.level }
    }
}

/// The most that a core can do: independent chains of fused products and sums, in as many registers as
/// hide the time that one takes. Items are floating-point operations.
#[divan::bench]
fn peak(bencher: Bencher<'_, '_>) {
    const ROUNDS: usize = 20_000;

    #[inline(always)]
    fn chains<const N: usize>(x: f32) -> f32 {
        let mut sums = [x; N];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(x, x);
            }
        }
        sums.iter().sum()
    }

    /// Sixteen registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512(x: f32) -> f32 {
        chains::<256>(x)
    }

    /// Ten registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(x: f32) -> f32 {
        chains::<80>(x)
    }

    // SAFETY of both: the machine has the instructions, as was just found.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    {
        if is_x86_feature_detected!("avx512f") {
            let flop = 2 * ROUNDS * 256;
            let bencher = bencher.counter(ItemsCount::new(flop));
            return bencher.bench_local(|| unsafe { avx512(black_box(0.5)) });
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let flop = 2 * ROUNDS * 80;
            let bencher = bencher.counter(ItemsCount::new(flop));
            return bencher.bench_local(|| unsafe { avx2(black_box(0.5)) });
        }
    }
    let flop = 2 * ROUNDS * 80;
    bencher.counter(ItemsCount::new(flop)).bench_local(|| chains::<80>(black_box(0.5)));
}

/// A minibatch. Items are floating-point operations.
#[divan::bench(args = cases())]
fn forward_and_backward(bencher: Bencher<'_, '_>, case: Case) {
    let buffers = case.buffers();
    let (network, width) = (buffers.network(case.activation), case.sizes[3]);
    let indices: Vec<i32> = (0..case.rows as i32).collect();
    let mut gradient = vec![0.0; buffers.params.len()];
    let flop = case.forward_flop() + case.backward_flop();
    bencher.counter(ItemsCount::new(flop)).bench_local(|| {
        let Buffers { params, observations, derivative, .. } = &buffers;
        let (observations, gradient) = (black_box(observations), &mut gradient);
        kernel::gradient(
            network,
            params,
            observations,
            &indices,
            gradient,
            &mut [],
            &|some, _, to, _| {
                to.copy_from_slice(&derivative[some.start * width..some.end * width]);
            },
        );
    });
}

/// TRPO's product with the Fisher matrix, without the metric. Items are floating-point operations.
#[divan::bench(args = Level::all())]
fn curvature_of_2048(bencher: Bencher<'_, '_>, level: Level) {
    let (sizes, activation) = ([4, 64, 64, 2], Activation::Tanh);
    let case = Case { level, sizes, activation, rows: 2048 };
    let buffers = case.buffers();
    let Buffers { params, observations, .. } = &buffers;
    let network = buffers.network(activation);
    let mut hidden = vec![0.0; kernel::hidden_len(&buffers.layers, case.rows)];
    let mut outputs = vec![0.0; case.rows * sizes[3]];
    let mut product = vec![0.0; params.len()];
    kernel::forward(network, params, observations, &mut hidden, &mut outputs);
    bencher.counter(ItemsCount::new(2 * case.backward_flop())).bench_local(|| {
        let (observations, product) = (black_box(observations), &mut product);
        kernel::curvature(network, params, observations, &hidden, params, &|_, _| {}, product);
    });
}

/// Acting: outputs for the observations of so many environments. Items are samples.
#[divan::bench(args = [1, 4, 64], consts = [64, 128])]
fn act<const WIDTH: usize>(bencher: Bencher<'_, '_>, rows: usize) {
    let network = Mlp::new(4, 2, &[WIDTH; 2], Activation::Tanh);
    let params: Vec<f32> =
        (0..network.num_params()).map(|i| (i * 7919 % 1009) as f32 / 2500.0 - 0.2).collect();
    let observations = vec![0.1; rows * network.inputs()];
    let mut outputs = vec![0.0; rows * network.outputs()];
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| network.forward_plain(&params, black_box(&observations), &mut outputs));
}
