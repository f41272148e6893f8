//! The nonlinearities and their slopes.

use super::vector::Vector;
use crate::config::Activation;

#[inline(always)]
pub(super) fn activate<V: Vector>(activation: Activation, x: V) -> V {
    match activation {
        Activation::Tanh => tanh(x),
        Activation::Relu => x.max(V::splat(0.0)),
    }
}

/// A derivative with respect to the nonlinearity's result `y`, times its slope there.
#[inline(always)]
pub(super) fn multiply_by_slope<V: Vector>(activation: Activation, derivative: V, y: V) -> V {
    match activation {
        Activation::Tanh => {
            let slope = y.mul(V::splat(-1.0)).fma(y, V::splat(1.0));
            derivative.mul(slope)
        }
        Activation::Relu => derivative.where_positive(y),
    }
}

/// Hyperbolic tangent within 4e-7, odd and bounded by 1 (tried with every `f32`): a minimax ratio of
/// two polynomials of degree 4 in `x^2`, on the interval outside of which `tanh` is 1 to that
/// precision. Not a number stays so.
#[inline(always)]
pub(super) fn tanh<V: Vector>(x: V) -> V {
    const NUMERATOR: [f32; 5] = [0.017_959_895, 25.597_372, 4_158.112_3, 156_262.44, 1_161_744.6];
    // The first one is 1.
    const DENOMINATOR: [f32; 4] = [397.812_23, 30_429.148, 543_510.56, 1_161_744.8];
    const LIMIT: f32 = 7.8;
    let x = x.max(V::splat(-LIMIT)).min(V::splat(LIMIT));
    let square = x.mul(x);
    let mut numerator = V::splat(NUMERATOR[0]);
    for coefficient in &NUMERATOR[1..] {
        numerator = numerator.fma(square, V::splat(*coefficient));
    }
    let mut denominator = square.add(V::splat(DENOMINATOR[0]));
    for coefficient in &DENOMINATOR[1..] {
        denominator = denominator.fma(square, V::splat(*coefficient));
    }
    x.mul(numerator).div(denominator)
}
