//! Random matrices with orthonormal rows or columns, for initial weights (Saxe et al. 2014).

use burn::tensor::{DType, Device, Tensor, TensorData};
use envs::Rng;
use rand::RngExt;
use rand_distr::StandardNormal;

/// Vectors that are made orthogonal to all earlier ones together: enough of them that the work is in
/// matrix products, which run at many times the speed of inner products.
const BLOCK: usize = 32;

/// Fills `weights [inputs][outputs]` with a matrix whose shorter side is orthonormal, times `gain`.
///
/// Gram-Schmidt on normal draws, a block of vectors at a time and twice for accuracy (block classical
/// Gram-Schmidt with reorthogonalisation; Barlow and Smoktunowicz 2013): against the earlier blocks in
/// matrix products, inside of a block one by one. All of it in f64.
pub(crate) fn orthogonal(
    weights: &mut [f32],
    inputs: usize,
    outputs: usize,
    gain: f32,
    rng: &mut Rng,
) {
    let (count, length) = (inputs.min(outputs), inputs.max(outputs));
    let mut basis: Vec<f64> = Vec::with_capacity(count * length);
    while basis.len() < count * length {
        let rows = BLOCK.min(count - basis.len() / length);
        let mut block: Vec<f64> = (0..rows * length).map(|_| rng.sample(StandardNormal)).collect();
        // The second time takes away what rounding has left the first time.
        for _ in 0..2 {
            block = apart(block, &basis, length);
            orthonormalize(&mut block, length, rng);
        }
        basis.append(&mut block);
    }
    for (i, row) in weights.chunks_exact_mut(outputs).enumerate() {
        for (j, weight) in row.iter_mut().enumerate() {
            let (vector, index) = if inputs >= outputs { (j, i) } else { (i, j) };
            *weight = gain * basis[vector * length + index] as f32;
        }
    }
}

/// The rows of a block less their parts along the rows of the basis.
fn apart(block: Vec<f64>, basis: &[f64], length: usize) -> Vec<f64> {
    if basis.is_empty() {
        return block;
    }
    let device = Device::flex();
    let matrix = |numbers: Vec<f64>| {
        let rows = numbers.len() / length;
        Tensor::<2>::from_data(TensorData::new(numbers, [rows, length]), (&device, DType::F64))
    };
    let (rows, basis) = (matrix(block.clone()), matrix(basis.to_vec()));
    let overlap = rows.clone().matmul(basis.clone().transpose());
    let rest = (rows - overlap.matmul(basis)).into_data();
    // On the CPU a tensor of f64 can always be read; without that the block would only stay as drawn.
    rest.try_into_vec().unwrap_or(block)
}

/// Makes the rows of a block orthonormal, one after the other.
fn orthonormalize(block: &mut [f64], length: usize, rng: &mut Rng) {
    for row in 0..block.len() / length {
        let (before, rest) = block.split_at_mut(row * length);
        let vector = &mut rest[..length];
        for other in before.chunks_exact(length) {
            let overlap = dot(vector, other);
            vector.iter_mut().zip(other).for_each(|(a, b)| *a -= overlap * b);
        }
        let mut norm = dot(vector, vector).sqrt();
        if norm < 1e-6 {
            // A draw that lies in the span so far (never, in practice) is drawn again; the second pass
            // makes it orthogonal.
            vector.fill_with(|| rng.sample(StandardNormal));
            norm = dot(vector, vector).sqrt();
        }
        vector.iter_mut().for_each(|a| *a /= norm);
    }
}

/// Inner product.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use envs::{Stream, stream};

    #[test]
    fn the_shorter_side_is_orthonormal_at_every_shape() {
        for (inputs, outputs) in [(1, 1), (4, 64), (64, 4), (64, 64), (100, 70), (33, 200)] {
            let mut rng = stream(1, Stream::Initialization);
            let mut weights = vec![0.0; inputs * outputs];
            orthogonal(&mut weights, inputs, outputs, 2.0, &mut rng);
            let (count, length) = (inputs.min(outputs), inputs.max(outputs));
            let vector = |k: usize| -> Vec<f64> {
                let at =
                    |i: usize| if inputs >= outputs { i * outputs + k } else { k * outputs + i };
                (0..length).map(|i| f64::from(weights[at(i)]) / 2.0).collect()
            };
            for i in 0..count {
                for j in 0..=i {
                    let product: f64 = vector(i).iter().zip(vector(j)).map(|(a, b)| a * b).sum();
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!(
                        (product - expected).abs() < 1e-6,
                        "{inputs} x {outputs}: rows {i} and {j} have {product}"
                    );
                }
            }
        }
    }
}
