//! Conjugate gradient: solves `A x = b` with products `A v` alone (Hestenes and Stiefel 1952).

/// What [`conjugate_gradient`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The approximate solution.
    pub x: Vec<f64>,
    /// Squared Euclidean norm of the residual `b - A x`.
    pub residual: f64,
    /// Products `A v` that were needed, without that of the first guess.
    pub iterations: usize,
}

/// Solves `A x = b` for a symmetric positive definite `A` that is given as a product `v -> A v`, from a first
/// guess `x` on, which takes a product more unless it is 0.
///
/// Stops after `max_iterations`, or once the squared residual is at most `tolerance`, or when the
/// curvature `v'Av` along a direction is not positive (`A` is then not positive definite to the
/// precision at hand, and the solution so far is the best there is).
///
/// # Errors
/// What `product` returns.
///
/// ```
/// use agents::conjugate_gradient::conjugate_gradient;
///
/// // 2 x = 6, 4 y = 4
/// let product = |v: &[f64]| Ok::<_, std::convert::Infallible>(vec![2.0 * v[0], 4.0 * v[1]]);
/// let Ok(solution) = conjugate_gradient(product, &[6.0, 4.0], vec![0.0; 2], 10, 1e-20);
/// assert!((solution.x[0] - 3.0).abs() < 1e-9 && (solution.x[1] - 1.0).abs() < 1e-9);
/// assert_eq!(solution.iterations, 2);
/// ```
pub fn conjugate_gradient<E>(
    mut product: impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
    b: &[f64],
    mut x: Vec<f64>,
    max_iterations: usize,
    tolerance: f64,
) -> Result<Solution, E> {
    let mut r = b.to_vec();
    if x.iter().any(|&x| x != 0.0) {
        r.iter_mut().zip(product(&x)?).for_each(|(r, a)| *r -= a);
    }
    let mut direction = r.clone();
    let mut residual = dot(&r, &r);
    let mut iterations = 0;
    while iterations < max_iterations && residual > tolerance {
        let image = product(&direction)?;
        iterations += 1;
        let curvature = dot(&direction, &image);
        if curvature.is_nan() || curvature <= 0.0 {
            break;
        }
        let step = residual / curvature;
        for (((x, r), d), a) in x.iter_mut().zip(&mut r).zip(&direction).zip(&image) {
            *x += step * d;
            *r -= step * a;
        }
        let next = dot(&r, &r);
        let beta = next / residual;
        direction.iter_mut().zip(&r).for_each(|(d, r)| *d = r + beta * *d);
        residual = next;
    }
    Ok(Solution { x, residual, iterations })
}

/// Inner product.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn dense(a: &[[f64; 2]; 2]) -> impl FnMut(&[f64]) -> Result<Vec<f64>, Infallible> + '_ {
        |v| Ok(a.iter().map(|row| dot(row, v)).collect())
    }

    #[test]
    fn solves_two_equations_in_two_steps() {
        let a = [[4.0, 1.0], [1.0, 3.0]];
        let solution = conjugate_gradient(dense(&a), &[1.0, 2.0], vec![0.0; 2], 10, 1e-20).unwrap();
        assert!((solution.x[0] - 1.0 / 11.0).abs() < 1e-12);
        assert!((solution.x[1] - 7.0 / 11.0).abs() < 1e-12);
        assert_eq!(solution.iterations, 2);
    }

    #[test]
    fn a_first_guess_is_improved_and_costs_one_product_more() {
        let a = [[4.0, 1.0], [1.0, 3.0]];
        let mut products = 0;
        let product = |v: &[f64]| {
            products += 1;
            dense(&a)(v)
        };
        // The exact solution and a step along an eigenvector, which one iteration undoes.
        let along = 0.5 * (5.0_f64.sqrt() - 1.0);
        let guess = vec![1.0 / 11.0 + 1.0, 7.0 / 11.0 + along];
        let solution = conjugate_gradient(product, &[1.0, 2.0], guess, 10, 1e-20).unwrap();
        assert!((solution.x[0] - 1.0 / 11.0).abs() < 1e-12);
        assert!((solution.x[1] - 7.0 / 11.0).abs() < 1e-12);
        assert_eq!((solution.iterations, products), (1, 2));
        let solved = conjugate_gradient(dense(&a), &[1.0, 2.0], solution.x, 10, 1e-20).unwrap();
        assert_eq!(solved.iterations, 0);
    }

    #[test]
    fn stops_at_the_tolerance_and_reports_the_residual() {
        let a = [[4.0, 1.0], [1.0, 3.0]];
        let solution = conjugate_gradient(dense(&a), &[1.0, 2.0], vec![0.0; 2], 10, 1.0).unwrap();
        assert_eq!(solution.iterations, 1);
        // x = b b'b / b'Ab = (0.25, 0.5), r = b - A x = (-0.5, 0.25).
        assert!((solution.residual - 0.3125).abs() < 1e-12);
    }

    #[test]
    fn a_direction_without_curvature_ends_the_search() {
        let a = [[0.0, 0.0], [0.0, 0.0]];
        let solution = conjugate_gradient(dense(&a), &[1.0, 2.0], vec![0.0; 2], 10, 0.0).unwrap();
        assert_eq!(solution.x, vec![0.0, 0.0]);
    }

    #[test]
    fn a_zero_right_side_needs_no_product() {
        let a = [[4.0, 1.0], [1.0, 3.0]];
        assert_eq!(
            conjugate_gradient(dense(&a), &[0.0, 0.0], vec![0.0; 2], 10, 0.0).unwrap().iterations,
            0
        );
    }
}
