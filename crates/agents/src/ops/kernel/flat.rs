//! Loops over flat vectors of parameters: an optimiser's step, and the norm that comes before it.

/// Constants of one step of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Decay of the first and the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Learning rate.
    pub rate: f64,
    /// Where some parameters must stay.
    pub bounds: Option<Bounds>,
}

/// The interval in which the last parameters of a vector are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Index of the first parameter that is kept in the interval.
    pub first: usize,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Defines a function that the compiler may write with the vector instructions of the machine.
macro_rules! vectorized {
    (
        $(#[$docs:meta])*
        $visible:vis $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $output:ty)?
    ) => {
        $(#[$docs])*
        $visible fn $name($($argument: $kind),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($argument: $kind),*) $(-> $output)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
                fn widest($($argument: $kind),*) $(-> $output)? {
                    $body($($argument),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the machine has the instructions, as the lines above found.
                    #[allow(unsafe_code)]
                    return unsafe { widest($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the machine has the instructions, as the line above found.
                    #[allow(unsafe_code)]
                    return unsafe { wide($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}

pub(crate) use vectorized;

vectorized! {
    /// One step of Adam against `scale` times the gradient, in place: `params`, the first moment `m`
    /// and the second moment `v`, each `[params]`.
    pub adam = adam_body(
        params: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
        gradient: &[f32],
        scale: f32,
        step: AdamStep,
    )
}

vectorized! {
    /// Sum of the squares, in f64.
    pub sum_of_squares = sum_of_squares_body(numbers: &[f32]) -> f64
}

vectorized! {
    /// Writes the distances from `mean` times `scale`, computed in f64.
    pub shift_and_scale = shift_and_scale_body(
        numbers: &[f32], mean: f64, scale: f64, results: &mut [f32],
    )
}

vectorized! {
    /// Sums of the distances from `mean`, and of their squares.
    pub moments = moments_body(numbers: &[f32], mean: f64) -> [f64; 2]
}

#[inline(always)]
fn adam_body(
    params: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    gradient: &[f32],
    scale: f32,
    step: AdamStep,
) {
    let AdamStep { betas, epsilon, rate, bounds } = step;
    let (epsilon, rate) = (epsilon as f32, rate as f32);
    let [keep_m, keep_v] = betas.map(|beta| beta as f32);
    let [add_m, add_v] = betas.map(|beta| (1.0 - beta) as f32);
    for (((param, m), v), slope) in params.iter_mut().zip(m).zip(v).zip(gradient) {
        let slope = scale * slope;
        // All is read before anything is written: vectors of this size each begin on a page of their own, and a processor
        // takes the same place on another page for the one that was just written, and waits.
        let (old_param, old_m, old_v) = (*param, *m, *v);
        *m = without_subnormals(keep_m * old_m + add_m * slope);
        *v = without_subnormals(keep_v * old_v + add_v * slope * slope);
        *param = old_param - rate * *m / (v.sqrt() + epsilon);
    }
    if let Some(Bounds { first, low, high }) = bounds {
        for param in &mut params[first..] {
            *param = param.clamp(low as f32, high as f32);
        }
    }
}

/// The number, or 0 where it is subnormal. The moments of a unit that no sample reaches any more fall to the smallest number
/// that there is and stay there, and processors take several times as long for it.
#[inline(always)]
fn without_subnormals(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

#[inline(always)]
fn sum_of_squares_body(numbers: &[f32]) -> f64 {
    moments_body(numbers, 0.0)[1]
}

#[inline(always)]
fn shift_and_scale_body(numbers: &[f32], mean: f64, scale: f64, results: &mut [f32]) {
    for (result, x) in results.iter_mut().zip(numbers) {
        *result = ((f64::from(*x) - mean) * scale) as f32;
    }
}

#[inline(always)]
fn moments_body(numbers: &[f32], mean: f64) -> [f64; 2] {
    let (mut sums, mut squares) = ([0.0_f64; 16], [0.0_f64; 16]);
    let (chunks, rest) = numbers.as_chunks::<16>();
    for chunk in chunks {
        for (l, &x) in chunk.iter().enumerate() {
            let distance = f64::from(x) - mean;
            sums[l] += distance;
            squares[l] += distance * distance;
        }
    }
    for (l, &x) in rest.iter().enumerate() {
        let distance = f64::from(x) - mean;
        sums[l] += distance;
        squares[l] += distance * distance;
    }
    [sums.iter().sum(), squares.iter().sum()]
}
