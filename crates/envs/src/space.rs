//! Spaces: what an action or an observation can be.

use crate::rng::Rng;
use rand::RngExt;

/// The set that an action or an observation comes from.
///
/// ```
/// use envs::{Action, Space};
///
/// let torques = Space::symmetric_box(2, 1.5);
/// assert_eq!(torques.width(), 2);
/// assert_eq!(torques.action(&[0.5, -1.0]), Action::Continuous(&[0.5, -1.0]));
///
/// let moves = Space::Discrete { n: 4 };
/// assert_eq!(moves.width(), 1);
/// assert_eq!(moves.action(&[3.0]).index(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Space {
    /// One of `n` choices, numbered from 0.
    Discrete {
        /// Number of choices.
        n: usize,
    },
    /// A vector with a lower and an upper bound for each of its numbers (infinite where there is
    /// none). Both have the same length.
    Box {
        /// Lower bounds.
        low: Vec<f32>,
        /// Upper bounds.
        high: Vec<f32>,
    },
}

impl Space {
    /// A box with the same bounds, `-bound` and `bound`, for each of `n` numbers.
    #[must_use]
    pub fn symmetric_box(n: usize, bound: f32) -> Space {
        Space::Box { low: vec![-bound; n], high: vec![bound; n] }
    }

    /// Numbers needed to write down one element: 1 for a choice (its index), the length of a box.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Space::Discrete { .. } => 1,
            Space::Box { low, .. } => low.len(),
        }
    }

    /// Draws one element evenly and writes it into `numbers`; where there is no bound, between -1 and 1.
    pub fn sample(&self, rng: &mut Rng, numbers: &mut [f32]) {
        match self {
            Space::Discrete { n } => numbers[0] = rng.random_range(0..*n) as f32,
            Space::Box { low, high } => {
                for ((number, low), high) in numbers.iter_mut().zip(low).zip(high) {
                    let low = if low.is_finite() { *low } else { high.min(1.0) - 2.0 };
                    let high = if high.is_finite() { *high } else { low.max(-1.0) + 2.0 };
                    *number = rng.random_range(low..=high);
                }
            }
        }
    }

    /// The action that is written down in `numbers`, which has the space's width: for a choice its
    /// index as a whole number.
    #[must_use]
    pub fn action<'a>(&self, numbers: &'a [f32]) -> Action<'a> {
        match self {
            Space::Discrete { .. } => Action::Discrete(numbers[0] as usize),
            Space::Box { .. } => Action::Continuous(numbers),
        }
    }
}

/// One action, as an environment receives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// The index of a choice, for [`Space::Discrete`].
    Discrete(usize),
    /// One number for each dimension, for [`Space::Box`].
    Continuous(&'a [f32]),
}

impl Action<'_> {
    /// The index of a discrete action.
    ///
    /// # Panics
    /// When the action is continuous: the runner never gives an environment another kind of action
    /// than its action space says.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Action::Discrete(index) => *index,
            Action::Continuous(_) => panic!("a discrete action was expected"),
        }
    }

    /// The numbers of a continuous action.
    ///
    /// # Panics
    /// When the action is discrete: the runner never gives an environment another kind of action
    /// than its action space says.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        match self {
            Action::Continuous(values) => values,
            Action::Discrete(_) => panic!("a continuous action was expected"),
        }
    }
}
