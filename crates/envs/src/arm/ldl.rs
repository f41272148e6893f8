//! Symmetric positive definite systems, by `L D L'`.

/// Factors a matrix of `n` rows, of which the lower triangle is read, in place: below the diagonal `L`,
/// whose own diagonal is 1, and on it `1 / D`.
pub(super) fn factor(matrix: &mut [f64], n: usize) {
    // Loops of a length that the compiler knows take half of the time.
    match n {
        6 => factor_of(matrix, 6),
        7 => factor_of(matrix, 7),
        _ => factor_of(matrix, n),
    }
}

#[inline(always)]
fn factor_of(matrix: &mut [f64], n: usize) {
    let matrix = &mut matrix[..n * n];
    for i in 0..n {
        let (above, rest) = matrix.split_at_mut(i * n);
        let row = &mut rest[..=i];
        let mut pivot = row[i];
        for j in 0..i {
            let other = &above[j * n..=j * n + j];
            // Until its end the row holds `L D`.
            let mut sum = row[j];
            for k in 0..j {
                sum -= row[k] * other[k];
            }
            row[j] = sum;
        }
        for j in 0..i {
            let scaled = row[j];
            let entry = scaled * above[j * n + j];
            pivot -= scaled * entry;
            row[j] = entry;
        }
        row[i] = 1.0 / pivot;
    }
}

/// Solves `L D L' x = x` in place.
pub(super) fn solve(factor: &[f64], n: usize, x: &mut [f64]) {
    match n {
        6 => solve_of(factor, 6, x),
        7 => solve_of(factor, 7, x),
        _ => solve_of(factor, n, x),
    }
}

#[inline(always)]
fn solve_of(factor: &[f64], n: usize, x: &mut [f64]) {
    let (factor, x) = (&factor[..n * n], &mut x[..n]);
    for i in 0..n {
        let row = &factor[i * n..i * n + i];
        let (known, rest) = x.split_at_mut(i);
        let mut sum = rest[0];
        for (entry, x) in row.iter().zip(known.iter()) {
            sum -= entry * x;
        }
        rest[0] = sum;
    }
    for (index, x) in x.iter_mut().enumerate() {
        *x *= factor[index * n + index];
    }
    for i in (1..n).rev() {
        let row = &factor[i * n..i * n + i];
        let (before, rest) = x.split_at_mut(i);
        for (entry, x) in row.iter().zip(before.iter_mut()) {
            *x -= entry * rest[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        // Only the lower triangle counts.
        let matrix = [4.0, 9.0, 9.0, 2.0, 5.0, 9.0, -1.0, 0.5, 3.0];
        let expected = [1.0, -2.0, 0.5];
        let mut x = [4.0 - 4.0 - 0.5, 2.0 - 10.0 + 0.25, -1.0 - 1.0 + 1.5];
        let mut factored = matrix;
        factor(&mut factored, 3);
        solve(&factored, 3, &mut x);
        for (found, expected) in x.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{x:?}");
        }
        let (mut one, mut x) = ([4.0], [2.0]);
        factor(&mut one, 1);
        solve(&one, 1, &mut x);
        assert_eq!((one, x), ([0.25], [0.5]));
    }
}
