//! The cliff walk in gusts of wind: what a fall may cost on average decides how near the edge to walk.

use crate::cliff::Cliff;
use crate::drawing::Drawing;
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::Rng;
use crate::space::{Action, Space};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`Gusty`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GustyParameters {
    /// The reward of a step.
    #[schemars(range(min = -1e6, max = 1e6))]
    pub move_reward: f64,
    /// How likely a gust pushes the walker a row down after a move.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gust_probability: f64,
}

impl Default for GustyParameters {
    fn default() -> Self {
        GustyParameters { move_reward: -1.0, gust_probability: 0.2 }
    }
}

/// The grid of [`Cliff`] in gusts of wind, with a cost beside the reward.
///
/// Cells, actions and observation are those of [`Cliff`]. A step makes the move; then, unless that led to
/// the goal or the cliff, a gust may push one row down (the bottom row has a wall below). Whoever is
/// then on the cliff is put back to where the step began, at a cost of 1, named `fall`. Each step earns
/// -1. An episode terminates at the goal.
///
/// Without a limit it pays to walk along the edge and fall two or three times; with one, to keep away
/// from it, a row or two, here and there by chance. Both optima and the multiplier between them
/// are the solution of a linear program, which `tests/constraints.rs` solves.
#[derive(Clone, Debug, PartialEq)]
#[repr(align(128))] // threads step neighbours side by side, and a shared cache line takes longer than a step
pub struct Gusty {
    parameters: GustyParameters,
    cell: usize,
    /// Whether the last step fell.
    fell: bool,
}

impl Gusty {
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// Where a move from `cell` leads with a gust or without: the next cell, and whether the walker fell
    /// and was put back. The goal, [`Cliff::GOAL`], terminates. With the probability of a gust the whole
    /// model of the task, for dynamic programming.
    #[must_use]
    pub fn transition(cell: usize, action: usize, gust: bool) -> (usize, bool) {
        let reached = Cliff::neighbor(cell, action);
        let reached = if gust && reached != Cliff::GOAL && !Cliff::is_cliff(reached) {
            Cliff::neighbor(reached, Cliff::DOWN)
        } else {
            reached
        };
        let fell = Cliff::is_cliff(reached);
        (if fell { cell } else { reached }, fell)
    }
}

impl Default for Gusty {
    fn default() -> Self {
        Gusty { parameters: GustyParameters::default(), cell: Cliff::START, fell: false }
    }
}

impl Parametric for Gusty {
    type Parameters = GustyParameters;

    fn new(parameters: GustyParameters) -> Result<Self, ParameterError> {
        Ok(Gusty { parameters, ..Gusty::default() })
    }
}

impl Environment for Gusty {
    fn spec(&self) -> Spec {
        let observation_space =
            Space::Box { low: vec![0.0; Cliff::CELLS], high: vec![1.0; Cliff::CELLS] };
        Spec {
            observation_names: Cliff::cell_names(),
            action_names: Cliff::move_names(),
            costs: vec!["fall".into()],
            ..Spec::new(observation_space, Space::Discrete { n: 4 }, Self::MAX_EPISODE_STEPS)
        }
    }

    fn reset(&mut self, _rng: &mut Rng) {
        self.cell = Cliff::START;
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let gust = rng.random::<f64>() < self.parameters.gust_probability;
        (self.cell, self.fell) = Self::transition(self.cell, action.index(), gust);
        let reward = self.parameters.move_reward;
        Step { reward, terminated: self.cell == Cliff::GOAL, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.fill(0.0);
        observation[self.cell] = 1.0;
    }

    fn costs(&self, costs: &mut [f64]) {
        costs[0] = f64::from(u8::from(self.fell));
    }

    fn state(&self) -> Vec<f64> {
        vec![self.cell as f64]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        self.cell = Cliff::read(state)?;
        Ok(())
    }

    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        Some(Cliff::drawing(self.cell))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    #[test]
    fn a_gust_pushes_down_after_the_move() {
        let calm = |cell, action| Gusty::transition(cell, action, false);
        let gust = |cell, action| Gusty::transition(cell, action, true);
        assert_eq!(calm(36, Cliff::UP), (24, false));
        assert_eq!(gust(36, Cliff::UP), (36, false));
        assert_eq!(gust(0, Cliff::RIGHT), (13, false));
        assert_eq!(gust(12, Cliff::LEFT), (24, false), "the walls hold, the gust pushes on");
        assert_eq!(gust(36, Cliff::LEFT), (36, false), "so does the wall below");
        assert_eq!(gust(24, Cliff::LEFT), (36, false));
    }

    #[test]
    fn a_fall_costs_and_leads_back_to_where_the_step_began() {
        assert_eq!(Gusty::transition(36, Cliff::RIGHT, false), (36, true));
        assert_eq!(Gusty::transition(36, Cliff::RIGHT, true), (36, true), "no gust on the cliff");
        assert_eq!(Gusty::transition(28, Cliff::DOWN, false), (28, true));
        assert_eq!(Gusty::transition(28, Cliff::RIGHT, true), (28, true));
        assert_eq!(Gusty::transition(28, Cliff::RIGHT, false), (29, false));
        assert_eq!(Gusty::transition(16, Cliff::DOWN, true), (16, true));
        assert_eq!(Gusty::transition(4, Cliff::DOWN, true), (28, false));
    }

    #[test]
    fn the_goal_is_reached_by_a_move_or_by_a_gust() {
        assert_eq!(Gusty::transition(35, Cliff::DOWN, false), (47, false));
        assert_eq!(Gusty::transition(35, Cliff::DOWN, true), (47, false), "no gust at the goal");
        assert_eq!(Gusty::transition(35, Cliff::RIGHT, true), (47, false));
        assert_eq!(Gusty::transition(34, Cliff::RIGHT, true), (47, false));
    }

    #[test]
    fn one_step_in_five_has_a_gust() {
        let mut rng = stream(1, Stream::Environment(0));
        let mut env = Gusty::default();
        let (mut falls, mut cost) = (0, [0.5]);
        for _ in 0..10_000 {
            env.set_state(&[28.0]).unwrap();
            let step = env.step(Action::Discrete(Cliff::RIGHT), &mut rng);
            assert_eq!(step, Step { reward: -1.0, ..Step::default() });
            env.costs(&mut cost);
            assert_eq!((env.cell, cost), if env.fell { (28, [1.0]) } else { (29, [0.0]) });
            falls += u32::from(env.fell);
        }
        // 2000 within 4 standard deviations of 40.
        assert!(falls.abs_diff(2000) < 160, "{falls}");
    }

    #[test]
    fn parameters_are_where_they_say() {
        let mut rng = stream(1, Stream::Environment(0));
        for (gust_probability, cell) in [(0.0, 24), (1.0, 36)] {
            let parameters = GustyParameters { move_reward: -0.5, gust_probability };
            let mut env = Gusty::new(parameters).unwrap();
            assert_eq!(env.step(Action::Discrete(Cliff::UP), &mut rng).reward, -0.5);
            assert_eq!(env.cell, cell);
        }
        let mut env = Gusty::default();
        env.set_state(&[35.0]).unwrap();
        assert!(env.step(Action::Discrete(Cliff::DOWN), &mut rng).terminated);
    }

    #[test]
    fn a_restored_walk_goes_on_the_same() {
        let mut rng = stream(5, Stream::Environment(0));
        let mut env = Gusty::default();
        env.reset(&mut rng);
        for step in 0..50 {
            env.step(Action::Discrete([Cliff::UP, Cliff::RIGHT][step % 2]), &mut rng);
        }
        let (mut other, mut other_rng) = (Gusty::default(), rng.clone());
        other.set_state(&env.state()).unwrap();
        for step in 0..50 {
            let action = Action::Discrete(step % 4);
            assert_eq!(env.step(action, &mut rng), other.step(action, &mut other_rng));
            assert_eq!(env, other);
        }
        let error = env.set_state(&[48.0]).unwrap_err();
        assert!(matches!(error, StateError::Value { index: 0, .. }));
    }
}
