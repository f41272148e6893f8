//! Sixteen numbers that are computed together: one register of AVX-512, two of AVX2, an array
//! elsewhere. Every kernel is written once over the trait [`Vector`]. All three add and multiply in
//! the same order, so they give the same bits where the machine fuses a product with a sum.
//!
//! A function that is not inlined into its caller loses the wide instructions. That is why everything
//! here is `inline(always)`, and why the kernels have generic functions instead of closures.

use std::fmt;
use std::sync::LazyLock;

/// Numbers of a vector, and columns of a panel.
pub(super) const PANEL: usize = 16;
/// Columns of a panel of observations.
pub(super) const NARROW: usize = 4;

/// A vector in memory, a row of a panel.
pub(super) type Row = [f32; PANEL];
pub(super) const ZERO: Row = [0.0; PANEL];

/// Sixteen numbers.
pub(super) trait Vector: Copy {
    /// As many panels share what a tile loads, where there are so many.
    const PANELS: usize;

    fn splat(x: f32) -> Self;
    fn load(row: &Row) -> Self;
    fn store(self, row: &mut Row);
    /// `self * y + z`.
    fn fma(self, y: Self, z: Self) -> Self;
    fn add(self, y: Self) -> Self;
    fn mul(self, y: Self) -> Self;
    fn div(self, y: Self) -> Self;
    /// The greater one; `self` where that is not a number.
    fn max(self, y: Self) -> Self;
    /// The smaller one; `self` where that is not a number.
    fn min(self, y: Self) -> Self;
    /// `self` where `gate` is positive, zero elsewhere.
    fn where_positive(self, gate: Self) -> Self;
    /// Sum of the sixteen: halves on halves.
    fn sum(self) -> f32;
    /// Writes sixteen rows as columns.
    fn transpose(from: &[&Row; PANEL], to: &mut [Row; PANEL]);
}

/// The instructions that the kernels use. There is a value of this type only where the machine has
/// them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level(pub(super) Instructions);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same, of a processor that does half a vector at a time. It loads as fast as it multiplies, so
    /// that tiles of one panel lose nothing, and are the faster ones.
    #[cfg(target_arch = "x86_64")]
    Avx512InHalves,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of arrays: NEON on 64-bit ARM.
    Portable,
}

impl Level {
    /// All that this machine has, the fastest first.
    pub fn all() -> impl Iterator<Item = Level> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.extend([Instructions::Avx512, Instructions::Avx512InHalves]);
                if works_in_halves() {
                    all.reverse();
                }
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Instructions::Avx2);
            }
        }
        all.push(Instructions::Portable);
        all.into_iter().map(Level)
    }

    /// Whether a product and a sum are fused: what does so gives the same bits.
    #[must_use]
    pub fn fuses(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512InHalves | Instructions::Avx2 => true,
            Instructions::Portable => cfg!(any(target_arch = "aarch64", target_feature = "fma")),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512InHalves => "AVX-512 in halves",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "AVX2",
            Instructions::Portable => "portable",
        })
    }
}

/// The fastest of this machine.
impl Default for Level {
    fn default() -> Level {
        static FASTEST: LazyLock<Level> =
            LazyLock::new(|| Level::all().next().unwrap_or(Level(Instructions::Portable)));
        *FASTEST
    }
}

/// Whether it takes this processor two cycles to multiply two vectors of AVX-512, as AMD's Zen 4 does (family 25).
#[cfg(target_arch = "x86_64")]
fn works_in_halves() -> bool {
    let processor = raw_cpuid::CpuId::new();
    let is_amd =
        processor.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "AuthenticAMD");
    is_amd && processor.get_feature_info().is_some_and(|features| features.family_id() == 25)
}

/// Defines a function that runs `$body` with the instructions of a [`Level`]. `$body` has two
/// parameters: the vector, and how many rows a tile has so that its sums fill the registers.
macro_rules! dispatched {
    ($(#[$docs:meta])* $visible:vis $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $(#[$docs])*
        #[allow(clippy::too_many_arguments)]
        $visible fn $name(level: $crate::ops::kernel::vector::Level, $($argument: $kind),*) {
            use $crate::ops::kernel::vector::{Instructions, PORTABLE_ROWS, Portable};
            #[cfg(target_arch = "x86_64")]
            use $crate::ops::kernel::vector::{Avx2, Avx512};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<const PANELS: usize>($($argument: $kind),*) {
                $body::<Avx512<PANELS>, 8>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($argument: $kind),*) {
                $body::<Avx2, 4>($($argument),*)
            }
            match level.0 {
                // SAFETY: a level is only made where the machine has its instructions.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                Instructions::Avx512 => unsafe { avx512::<4>($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                Instructions::Avx512InHalves => unsafe { avx512::<1>($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                Instructions::Avx2 => unsafe { avx2($($argument),*) },
                Instructions::Portable => $body::<Portable, PORTABLE_ROWS>($($argument),*),
            }
        }
    };
}
pub(super) use dispatched;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

// SAFETY of everything in it: only bodies of `dispatched` functions reach these methods, and those run
// with the instructions enabled; pointers come from references to sixteen numbers, and no load or
// store asks for alignment.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::needless_range_loop)]
mod x86 {
    use super::{PANEL, Row, Vector};
    use core::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub struct Avx512<const PANELS: usize>(__m512);

    #[derive(Clone, Copy)]
    pub struct Avx2(__m256, __m256);

    /// Methods of one expression each.
    macro_rules! methods {
        ($($method:ident($x:ident $(, $y:ident)*) = $value:expr;)*) => {
            $(#[inline(always)]
            fn $method(self $(, $y: Self)*) -> Self {
                let $x = self;
                unsafe { $value }
            })*
        };
    }

    // `max` and `min` of the machine give their second operand where one is not a number.
    impl<const PANELS: usize> Vector for Avx512<PANELS> {
        const PANELS: usize = PANELS;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            Avx512(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        fn load(row: &Row) -> Self {
            Avx512(unsafe { _mm512_loadu_ps(row.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, row: &mut Row) {
            unsafe { _mm512_storeu_ps(row.as_mut_ptr(), self.0) }
        }

        methods! {
            fma(x, y, z) = Avx512(_mm512_fmadd_ps(x.0, y.0, z.0));
            add(x, y) = Avx512(_mm512_add_ps(x.0, y.0));
            mul(x, y) = Avx512(_mm512_mul_ps(x.0, y.0));
            div(x, y) = Avx512(_mm512_div_ps(x.0, y.0));
            max(x, y) = Avx512(_mm512_max_ps(y.0, x.0));
            min(x, y) = Avx512(_mm512_min_ps(y.0, x.0));
            where_positive(x, gate) = {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps());
                Avx512(_mm512_maskz_mov_ps(mask, x.0))
            };
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
                sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
            }
        }

        #[inline(always)]
        fn transpose(from: &[&Row; PANEL], to: &mut [Row; PANEL]) {
            for j in [0, 4, 8, 12] {
                unsafe { transpose_sixteen_by_four(from, j, to) }
            }
        }
    }

    /// Columns `j..j + 4`.
    #[inline(always)]
    unsafe fn transpose_sixteen_by_four(from: &[&Row; PANEL], j: usize, to: &mut [Row; PANEL]) {
        unsafe {
            // Lane `l` has rows from `4 l` on.
            let mut rows = [_mm512_setzero_ps(); 4];
            for r in 0..4 {
                let row = _mm512_castps128_ps512(four(from[r], j));
                let row = _mm512_insertf32x4::<1>(row, four(from[r + 4], j));
                let row = _mm512_insertf32x4::<2>(row, four(from[r + 8], j));
                rows[r] = _mm512_insertf32x4::<3>(row, four(from[r + 12], j));
            }
            let [a, b, c, d] = rows;
            let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let columns = [
                _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
                _mm512_shuffle_ps::<0xEE>(ab_low, cd_low),
                _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm512_shuffle_ps::<0xEE>(ab_high, cd_high),
            ];
            for c in 0..4 {
                _mm512_storeu_ps(to[j + c].as_mut_ptr(), columns[c]);
            }
        }
    }

    impl Vector for Avx2 {
        const PANELS: usize = 1;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            let half = unsafe { _mm256_set1_ps(x) };
            Avx2(half, half)
        }

        #[inline(always)]
        fn load(row: &Row) -> Self {
            unsafe { Avx2(_mm256_loadu_ps(row.as_ptr()), _mm256_loadu_ps(row.as_ptr().add(8))) }
        }

        #[inline(always)]
        fn store(self, row: &mut Row) {
            unsafe {
                _mm256_storeu_ps(row.as_mut_ptr(), self.0);
                _mm256_storeu_ps(row.as_mut_ptr().add(8), self.1);
            }
        }

        methods! {
            fma(x, y, z) = Avx2(_mm256_fmadd_ps(x.0, y.0, z.0), _mm256_fmadd_ps(x.1, y.1, z.1));
            add(x, y) = Avx2(_mm256_add_ps(x.0, y.0), _mm256_add_ps(x.1, y.1));
            mul(x, y) = Avx2(_mm256_mul_ps(x.0, y.0), _mm256_mul_ps(x.1, y.1));
            div(x, y) = Avx2(_mm256_div_ps(x.0, y.0), _mm256_div_ps(x.1, y.1));
            max(x, y) = Avx2(_mm256_max_ps(y.0, x.0), _mm256_max_ps(y.1, x.1));
            min(x, y) = Avx2(_mm256_min_ps(y.0, x.0), _mm256_min_ps(y.1, x.1));
            where_positive(x, gate) = Avx2(
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(gate.0, _mm256_setzero_ps()), x.0),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(gate.1, _mm256_setzero_ps()), x.1),
            );
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe { sum_of_eight(_mm256_add_ps(self.0, self.1)) }
        }

        #[inline(always)]
        fn transpose(from: &[&Row; PANEL], to: &mut [Row; PANEL]) {
            for i in [0, 8] {
                for j in [0, 4, 8, 12] {
                    unsafe { transpose_eight_by_four(from, i, j, to) }
                }
            }
        }
    }

    /// Numbers `j..j + 4`.
    #[inline(always)]
    unsafe fn four(row: &Row, j: usize) -> __m128 {
        unsafe { _mm_loadu_ps(row[j..j + 4].as_ptr()) }
    }

    /// Columns `j..j + 4` of rows `i..i + 8`.
    #[inline(always)]
    unsafe fn transpose_eight_by_four(
        from: &[&Row; PANEL],
        i: usize,
        j: usize,
        to: &mut [Row; PANEL],
    ) {
        unsafe {
            // The first lane has rows from `i` on, the second from `i + 4` on.
            let mut rows = [_mm256_setzero_ps(); 4];
            for r in 0..4 {
                let (low, high) = (four(from[i + r], j), four(from[i + r + 4], j));
                rows[r] = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high);
            }
            let [a, b, c, d] = rows;
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
                _mm256_shuffle_ps::<0xEE>(ab_low, cd_low),
                _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
            ];
            for c in 0..4 {
                _mm256_storeu_ps(to[j + c][i..i + 8].as_mut_ptr(), columns[c]);
            }
        }
    }

    #[inline(always)]
    unsafe fn sum_of_eight(x: __m256) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// Rows of a tile that arrays have registers for: 64-bit ARM has 32 registers of four numbers, others at
/// least 16.
pub(super) const PORTABLE_ROWS: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };

/// Sixteen numbers as an array.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; PANEL]);

impl Portable {
    #[inline(always)]
    fn zip(mut self, y: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        for i in 0..PANEL {
            self.0[i] = operation(self.0[i], y.0[i]);
        }
        self
    }
}

impl Vector for Portable {
    const PANELS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Portable([x; PANEL])
    }

    #[inline(always)]
    fn load(row: &Row) -> Self {
        Portable(*row)
    }

    #[inline(always)]
    fn store(self, row: &mut Row) {
        *row = self.0;
    }

    #[inline(always)]
    fn fma(mut self, y: Self, z: Self) -> Self {
        for i in 0..PANEL {
            // A product and a sum are fused where that is an instruction, as on every 64-bit ARM;
            // elsewhere it would be a call of a slow function.
            self.0[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[i].mul_add(y.0[i], z.0[i])
            } else {
                self.0[i] * y.0[i] + z.0[i]
            };
        }
        self
    }

    #[inline(always)]
    fn add(self, y: Self) -> Self {
        self.zip(y, |x, y| x + y)
    }

    #[inline(always)]
    fn mul(self, y: Self) -> Self {
        self.zip(y, |x, y| x * y)
    }

    #[inline(always)]
    fn div(self, y: Self) -> Self {
        self.zip(y, |x, y| x / y)
    }

    #[inline(always)]
    fn max(self, y: Self) -> Self {
        self.zip(y, |x, y| if y > x { y } else { x })
    }

    #[inline(always)]
    fn min(self, y: Self) -> Self {
        self.zip(y, |x, y| if y < x { y } else { x })
    }

    #[inline(always)]
    fn where_positive(self, gate: Self) -> Self {
        self.zip(gate, |x, gate| if gate > 0.0 { x } else { 0.0 })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }

    #[inline(always)]
    fn transpose(from: &[&Row; PANEL], to: &mut [Row; PANEL]) {
        // Four by four, which compilers do in registers.
        for (i, j) in (0..PANEL).map(|part| (part / 4 * 4, part % 4 * 4)) {
            let four = |row: usize| -> [f32; 4] { from[i + row].as_chunks().0[j / 4] };
            let (a, b, c, d) = (four(0), four(1), four(2), four(3));
            for k in 0..4 {
                to[j + k].as_chunks_mut().0[i / 4] = [a[k], b[k], c[k], d[k]];
            }
        }
    }
}
