//! Sixteen samples at once: one number of each, side by side, so that the compiler computes them in vector
//! registers. The functions have no branches and no call, which is what lets it: a closure that is given to
//! another function, as to an array's `map`, is compiled without the wide instructions.

/// Samples side by side.
pub(super) const LANES: usize = 16;

/// A number of each sample.
pub(super) type Lanes = [f32; LANES];

/// Number `column` of each of the first `count` rows, 0 in the other lanes.
#[inline(always)]
pub(super) fn load(rows: &[f32], width: usize, column: usize, count: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    if count == LANES {
        // Without a check for each lane, where the width is known too.
        let rows = &rows[..LANES * width];
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane = rows[l * width + column];
        }
    } else {
        let rows = rows.chunks_exact(width).take(count);
        lanes.iter_mut().zip(rows).for_each(|(lane, row)| *lane = row[column]);
    }
    lanes
}

/// Writes number `column` of each of the first `count` rows.
#[inline(always)]
pub(super) fn store(lanes: &Lanes, rows: &mut [f32], width: usize, column: usize, count: usize) {
    if count == LANES {
        let rows = &mut rows[..LANES * width];
        for (l, lane) in lanes.iter().enumerate() {
            rows[l * width + column] = *lane;
        }
    } else {
        let rows = rows.chunks_exact_mut(width).take(count);
        lanes.iter().zip(rows).for_each(|(lane, row)| row[column] = *lane);
    }
}

/// The same function of every lane.
#[inline(always)]
pub(super) fn each(f: impl Fn(usize) -> f32) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (l, lane) in lanes.iter_mut().enumerate() {
        *lane = f(l);
    }
    lanes
}

/// Sums over samples, a part in each lane.
#[derive(Clone, Copy, Default)]
pub(super) struct Total([f64; LANES]);

impl Total {
    /// Adds the first `count` lanes.
    #[inline(always)]
    pub(super) fn add(&mut self, lanes: &Lanes, count: usize) {
        if count == LANES {
            for (sum, lane) in self.0.iter_mut().zip(lanes) {
                *sum += f64::from(*lane);
            }
        } else {
            for (sum, lane) in self.0.iter_mut().zip(&lanes[..count]) {
                *sum += f64::from(*lane);
            }
        }
    }

    pub(super) fn get(self) -> f64 {
        self.0.iter().sum()
    }
}

/// `e^x` within 2 units in the last place, zero and infinity included; not a number stays so. The
/// exponent's integer part goes into the result's bits, a polynomial gives the rest (coefficients of the
/// Cephes library).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    /// Adding it rounds to a whole number, which stands in the last bits then.
    const ROUND: f32 = 12_582_912.0;
    // Farther out the result is zero or infinite.
    let x = x.clamp(-104.0, 89.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, of which the first is short enough for an exact product.
    let rest = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut power = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        power = power * rest + coefficient;
    }
    let power = power * rest * rest + rest + 1.0;
    // In two steps, because the whole of it may be too much for an exponent.
    let whole = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let first = whole >> 1;
    let scale = |exponent: i32| f32::from_bits((exponent.wrapping_add(127) << 23) as u32);
    power * scale(first) * scale(whole.wrapping_sub(first))
}

/// `ln x` for `x` of at least 1 within 2 units in the last place, infinity included; not a number stays so
/// (coefficients of the Cephes library).
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        7.037_683_6e-2,
        -0.115_146_1,
        0.116_769_99,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ];
    // x = mantissa 2^exponent, the mantissa between the root of a half and that of two.
    let bits = x.to_bits();
    let half = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let is_low = half < std::f32::consts::FRAC_1_SQRT_2;
    let mantissa = if is_low { half + half } else { half } - 1.0;
    let exponent = (bits >> 23) as i32 - 126 - i32::from(is_low);
    let exponent = exponent as f32;
    let square = mantissa * mantissa;
    let mut series = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        series = series * mantissa + coefficient;
    }
    let small = series * mantissa * square + exponent * -2.121_944_4e-4 - 0.5 * square;
    let result = mantissa + small + exponent * 0.693_359_4;
    if x < f32::INFINITY { result } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units in the last place between a number and the exact one.
    fn error(found: f32, exact: f64) -> f64 {
        let unit = f64::from((exact as f32).abs().next_up()) - f64::from((exact as f32).abs());
        (f64::from(found) - exact).abs() / unit
    }

    #[test]
    fn exponentials_are_exact_to_two_units() {
        for x in (-1_030_000..887_000).map(|i| i as f32 * 1e-4) {
            let error = error(exp(x), f64::from(x).exp());
            assert!(error <= 2.0, "exp({x}) = {}, {error} units off", exp(x));
        }
        for x in [0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::MIN, f32::MAX, 89.0, -104.5] {
            assert_eq!(exp(x), x.exp(), "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn logarithms_are_exact_to_two_units() {
        for x in (0..1_000_000).map(|i| 1.0 + i as f32 * 1e-5).chain([1e10, 1e30, f32::MAX]) {
            let error = error(ln(x), f64::from(x).ln());
            assert!(error <= 2.0, "ln({x}) = {}, {error} units off", ln(x));
        }
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(ln(f32::NAN).is_nan());
    }
}
