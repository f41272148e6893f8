//! The network's arithmetic.

use alloc::vec;
use alloc::vec::Vec;

/// Columns of a layer that are summed up side by side: enough independent sums for vector registers.
const COLUMNS: usize = 16;

/// A multi-layer perceptron, and room for what its layers give.
#[derive(Clone, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    activation: Activation,
    /// What each layer gives.
    results: Vec<Vec<f32>>,
}

/// A layer: `x W + b`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Numbers that it reads.
    pub inputs: usize,
    /// `[inputs][outputs]`
    pub weights: Vec<f32>,
    /// `[outputs]`
    pub biases: Vec<f32>,
}

/// Nonlinearity after every layer but the last.
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    Relu,
}

impl Network {
    /// At least one layer, each of which reads what the one before gives.
    pub fn new(layers: Vec<Layer>, activation: Activation) -> Network {
        let results = layers.iter().map(|layer| vec![0.0; layer.biases.len()]).collect();
        Network { layers, activation, results }
    }

    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].biases.len()
    }

    /// The outputs for an input of [`Network::inputs`] numbers.
    pub fn forward(&mut self, input: &[f32]) -> &[f32] {
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, rest) = self.results.split_at_mut(index);
            let (x, y) = (before.last().map_or(input, |result| result), &mut rest[0]);
            layer.forward(x, y);
            match self.activation {
                _ if index == last => {}
                Activation::Tanh => tanh(y),
                Activation::Relu => y.iter_mut().for_each(|x| *x = x.max(0.0)),
            }
        }
        &self.results[last]
    }
}

impl Layer {
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        let width = y.len();
        y.copy_from_slice(&self.biases);
        let (blocks, rest) = y.as_chunks_mut::<COLUMNS>();
        let whole = blocks.len() * COLUMNS;
        for (block, sums) in blocks.iter_mut().enumerate() {
            let mut own = *sums;
            for (x, row) in x.iter().zip(self.weights.chunks_exact(width)) {
                let row = &row[block * COLUMNS..(block + 1) * COLUMNS];
                for (sum, weight) in own.iter_mut().zip(row) {
                    *sum += x * weight;
                }
            }
            *sums = own;
        }
        for (x, row) in x.iter().zip(self.weights.chunks_exact(width)) {
            for (sum, weight) in rest.iter_mut().zip(&row[whole..]) {
                *sum += x * weight;
            }
        }
    }
}

/// Hyperbolic tangent of each number within 5e-7: the trainer's own ratio of polynomials in `x^2`, which is that
/// close on the interval outside of which `tanh` is 1 to that precision.
#[expect(
    clippy::manual_clamp,
    reason = "`clamp` keeps what is not a number, and is compiled to branches"
)]
pub fn tanh(numbers: &mut [f32]) {
    const NUMERATOR: [f32; 5] = [0.017_959_895, 25.597_372, 4_158.112_3, 156_262.44, 1_161_744.6];
    // The first one is 1.
    const DENOMINATOR: [f32; 4] = [397.812_23, 30_429.148, 543_510.56, 1_161_744.8];
    const LIMIT: f32 = 7.8;
    for number in numbers {
        let x = number.max(-LIMIT).min(LIMIT);
        let square = x * x;
        let mut numerator = NUMERATOR[0];
        for coefficient in &NUMERATOR[1..] {
            numerator = numerator * square + coefficient;
        }
        let mut denominator = square + DENOMINATOR[0];
        for coefficient in &DENOMINATOR[1..] {
            denominator = denominator * square + coefficient;
        }
        *number = x * numerator / denominator;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_sums_whatever_their_widths() {
        for (inputs, outputs) in [(1, 1), (3, 16), (5, 17), (2, 40), (0, 3)] {
            let number = |i: usize| (i % 7) as f32 - 3.0;
            let weights: Vec<f32> = (0..inputs * outputs).map(number).collect();
            let biases: Vec<f32> = (0..outputs).map(|i| number(i + 2)).collect();
            let x: Vec<f32> = (0..inputs).map(|i| number(3 * i + 1)).collect();
            let expected: Vec<f32> = (0..outputs)
                .map(|j| {
                    biases[j] + (0..inputs).map(|i| x[i] * weights[i * outputs + j]).sum::<f32>()
                })
                .collect();
            let mut y = vec![f32::NAN; outputs];
            Layer { inputs, weights, biases }.forward(&x, &mut y);
            assert_eq!(y, expected, "{inputs} to {outputs}");
        }
    }

    #[test]
    fn tanh_is_close_odd_and_bounded() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 1e-4;
            let mut both = [x, -x];
            tanh(&mut both);
            assert!((f64::from(both[0]) - f64::from(x).tanh()).abs() <= 5e-7, "{x}");
            assert!(both[0] == -both[1] && both[0].abs() <= 1.0, "{x}");
        }
    }
}
