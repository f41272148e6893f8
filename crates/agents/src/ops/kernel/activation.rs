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

/// A derivative with respect to the nonlinearity's result `y`, carried to before it.
#[inline(always)]
pub(super) fn descend<V: Vector>(activation: Activation, derivative: V, y: V) -> V {
    match activation {
        Activation::Tanh => {
            let slope = y.mul(V::splat(-1.0)).fma(y, V::splat(1.0));
            derivative.mul(slope)
        }
        Activation::Relu => derivative.where_positive(y),
    }
}

/// Hyperbolic tangent within 5e-7, odd and bounded by 1: the ratio of two polynomials in `x^2` (the
/// minimax fit of degree 13 over 6 on `[-9, 9]` that linear-algebra libraries use, Eigen among
/// them). Not a number stays so.
#[inline(always)]
pub(super) fn tanh<V: Vector>(x: V) -> V {
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
    let x = x.max(V::splat(-LIMIT)).min(V::splat(LIMIT));
    let square = x.mul(x);
    let (mut numerator, mut denominator) = (V::splat(NUMERATOR[0]), V::splat(DENOMINATOR[0]));
    for coefficient in &NUMERATOR[1..] {
        numerator = numerator.fma(square, V::splat(*coefficient));
    }
    for coefficient in &DENOMINATOR[1..] {
        denominator = denominator.fma(square, V::splat(*coefficient));
    }
    x.mul(numerator).div(denominator).max(V::splat(-1.0)).min(V::splat(1.0))
}
