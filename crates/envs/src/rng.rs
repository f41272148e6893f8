//! Random streams: one seed, one independent stream for each use.

use rand::{RngExt, SeedableRng};

/// The generator behind every random draw: ChaCha with 8 rounds, which has 2^64 independent streams
/// a seed, gives the same numbers on every machine, and can be saved.
pub type Rng = rand_chacha::ChaCha8Rng;

/// What a stream is used for. Each has its own numbers, whatever the others draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Initial network weights.
    Initialization,
    /// Sampling actions while training, in the environment of this global index.
    Sampling(u32),
    /// Shuffling minibatches.
    Shuffling,
    /// The training environment of this global index.
    Environment(u32),
    /// The evaluation episode of this index.
    Evaluation(u32),
}

/// The stream of `seed` for one use.
///
/// ```
/// use envs::{Stream, stream};
/// use rand::RngExt;
///
/// let draw = |seed, use_of| stream(seed, use_of).random_range(0.0..1.0);
/// assert_eq!(draw(1, Stream::Environment(3)), draw(1, Stream::Environment(3)));
/// assert_ne!(draw(1, Stream::Environment(3)), draw(1, Stream::Environment(4)));
/// assert_ne!(draw(1, Stream::Environment(3)), draw(2, Stream::Environment(3)));
/// ```
#[must_use]
pub fn stream(seed: u64, stream: Stream) -> Rng {
    let mut rng = Rng::seed_from_u64(seed);
    rng.set_stream(match stream {
        Stream::Initialization => 0,
        Stream::Shuffling => 1,
        Stream::Environment(index) => (1 << 32) | u64::from(index),
        Stream::Evaluation(index) => (2 << 32) | u64::from(index),
        Stream::Sampling(index) => (3 << 32) | u64::from(index),
    });
    rng
}

/// Draws uniformly from plus or minus `bound`; without a bound there is nothing to draw.
pub(crate) fn symmetric(rng: &mut Rng, bound: f64) -> f64 {
    if bound > 0.0 { rng.random_range(-bound..bound) } else { 0.0 }
}
