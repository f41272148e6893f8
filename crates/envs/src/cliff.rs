//! Cliff walking: a grid world small enough to be solved exactly.

use crate::drawing::{Color, Drawing};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::Rng;
use crate::space::{Action, Space};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`Cliff`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CliffParameters {
    /// The reward of a move.
    #[schemars(range(min = -1e6, max = 1e6))]
    pub move_reward: f64,
    /// The reward of a move into the cliff.
    #[schemars(range(min = -1e6, max = 1e6))]
    pub fall_reward: f64,
    /// How likely a move goes to one side instead, to each with half of it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub slip_probability: f64,
}

impl Default for CliffParameters {
    fn default() -> Self {
        CliffParameters { move_reward: -1.0, fall_reward: -100.0, slip_probability: 0.0 }
    }
}

/// The cliff walk of Sutton and Barto, "Reinforcement Learning: An Introduction" (2nd edition,
/// 2018), example 6.6.
///
/// ```text
///  0  1  2  3  4  5  6  7  8  9 10 11
/// 12 13 14 15 16 17 18 19 20 21 22 23
/// 24 25 26 27 28 29 30 31 32 33 34 35
///  S  C  C  C  C  C  C  C  C  C  C  G      start 36, cliff 37 to 46, goal 47
/// ```
///
/// Cells are numbered row by row from the top left. The actions are [`Cliff::UP`],
/// [`Cliff::RIGHT`], [`Cliff::DOWN`] and [`Cliff::LEFT`]; a move off the grid stays. A move earns
/// -1; a move into the cliff earns -100 and leads back to the start, and the episode goes on. It
/// terminates at the goal. The observation is one-hot over the cells, so that a linear function of
/// it is a table. Rewards can be changed, and moves made slippery as in Gymnasium's `CliffWalking`
/// ([`CliffParameters`]).
#[derive(Clone, Debug, PartialEq)]
#[repr(align(128))] // threads step neighbours side by side, and a shared cache line takes longer than a step
pub struct Cliff {
    parameters: CliffParameters,
    cell: usize,
}

impl Cliff {
    /// Rows of the grid.
    pub const ROWS: usize = 4;
    /// Columns of the grid.
    pub const COLUMNS: usize = 12;
    /// Cells of the grid.
    pub const CELLS: usize = Self::ROWS * Self::COLUMNS;
    /// The cell where an episode starts: bottom left.
    pub const START: usize = Self::CELLS - Self::COLUMNS;
    /// The cell where it terminates: bottom right.
    pub const GOAL: usize = Self::CELLS - 1;
    /// The action that moves a row up.
    pub const UP: usize = 0;
    /// The action that moves a column right.
    pub const RIGHT: usize = 1;
    /// The action that moves a row down.
    pub const DOWN: usize = 2;
    /// The action that moves a column left.
    pub const LEFT: usize = 3;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// Where a move that does not slip leads from `cell`: the next cell, the reward, and whether that
    /// terminates the episode. Without slipping the whole model of the task, for dynamic programming.
    #[must_use]
    pub fn transition(&self, cell: usize, action: usize) -> (usize, f64, bool) {
        let next = Self::neighbor(cell, action);
        if Self::is_cliff(next) {
            (Self::START, self.parameters.fall_reward, false)
        } else {
            (next, self.parameters.move_reward, next == Self::GOAL)
        }
    }

    /// What each number of an observation is.
    pub(crate) fn cell_names() -> Vec<String> {
        let name =
            |cell: usize| format!("row {} column {}", cell / Self::COLUMNS, cell % Self::COLUMNS);
        (0..Self::CELLS).map(name).collect()
    }

    /// What each action is.
    pub(crate) fn move_names() -> Vec<String> {
        ["up", "right", "down", "left"].map(String::from).to_vec()
    }

    /// The cell that a move goes to, be it cliff or not; the edges of the grid are walls.
    pub(crate) fn neighbor(cell: usize, action: usize) -> usize {
        let (row, column) = (cell / Self::COLUMNS, cell % Self::COLUMNS);
        let (row, column) = match action {
            Self::UP => (row.saturating_sub(1), column),
            Self::RIGHT => (row, (column + 1).min(Self::COLUMNS - 1)),
            Self::DOWN => ((row + 1).min(Self::ROWS - 1), column),
            _ => (row, column.saturating_sub(1)),
        };
        row * Self::COLUMNS + column
    }

    /// Whether a cell is cliff.
    pub(crate) fn is_cliff(cell: usize) -> bool {
        (Self::START + 1..Self::GOAL).contains(&cell)
    }

    /// The cell that a saved state is.
    pub(crate) fn read(state: &[f64]) -> Result<usize, StateError> {
        let [number] = StateError::read(state)?;
        let cell = number as usize;
        if cell >= Self::CELLS || cell as f64 != number {
            let expected = "a cell from 0 to 47";
            return Err(StateError::Value { index: 0, found: number, expected });
        }
        Ok(cell)
    }

    /// The grid, and who stands on `cell` with the way so far.
    pub(crate) fn drawing(cell: usize) -> Drawing {
        let corner = |cell: usize| {
            [(cell % Self::COLUMNS) as f64, (Self::ROWS - 1 - cell / Self::COLUMNS) as f64]
        };
        let middle = |cell| corner(cell).map(|place| place + 0.5);
        let (width, height) = (Self::COLUMNS as f64, Self::ROWS as f64);
        // A grid has no time: a step is shown long enough to be seen.
        let mut drawing = Drawing::new([-0.2, -0.2], [width + 0.2, height + 0.2], 0.3);
        for cell in 0..Self::CELLS {
            let color = if Self::is_cliff(cell) { Color::Danger } else { Color::Soft };
            let [x, y] = corner(cell);
            drawing.rectangle([x + 0.03, y + 0.03], [x + 0.97, y + 0.97], color);
        }
        drawing.text("start", middle(Self::START), 0.26, Color::Text);
        drawing.text("goal", middle(Self::GOAL), 0.26, Color::Text);
        let steps = Self::MAX_EPISODE_STEPS as usize;
        drawing.trail(middle(cell), steps, 0.06, Color::Second);
        drawing.disc(middle(cell), 0.28, Color::Accent);
        drawing
    }

    /// The action that comes of one on slippery ground.
    #[cold]
    fn slipped(&self, action: usize, rng: &mut Rng) -> usize {
        // One draw: the first half of the probability is a slip to one side, the second to the other.
        let slip = self.parameters.slip_probability;
        match rng.random::<f64>() {
            draw if draw >= slip => action,
            draw if draw < 0.5 * slip => (action + 1) % 4,
            _ => (action + 3) % 4,
        }
    }
}

impl Default for Cliff {
    fn default() -> Self {
        Cliff { parameters: CliffParameters::default(), cell: Self::START }
    }
}

impl Parametric for Cliff {
    type Parameters = CliffParameters;

    fn new(parameters: CliffParameters) -> Result<Self, ParameterError> {
        Ok(Cliff { parameters, cell: Self::START })
    }
}

impl Environment for Cliff {
    fn spec(&self) -> Spec {
        let observation_space =
            Space::Box { low: vec![0.0; Self::CELLS], high: vec![1.0; Self::CELLS] };
        Spec {
            observation_names: Self::cell_names(),
            action_names: Self::move_names(),
            ..Spec::new(observation_space, Space::Discrete { n: 4 }, Self::MAX_EPISODE_STEPS)
        }
    }

    fn reset(&mut self, _rng: &mut Rng) {
        self.cell = Self::START;
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let mut action = action.index();
        if self.parameters.slip_probability > 0.0 {
            action = self.slipped(action, rng);
        }
        let (cell, reward, terminated) = self.transition(self.cell, action);
        self.cell = cell;
        Step { reward, terminated, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.fill(0.0);
        observation[self.cell] = 1.0;
    }

    fn state(&self) -> Vec<f64> {
        vec![self.cell as f64]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        self.cell = Self::read(state)?;
        Ok(())
    }

    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        Some(Self::drawing(self.cell))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    #[test]
    fn moves_one_cell_and_stays_on_the_grid() {
        let to = |cell, action| Cliff::default().transition(cell, action);
        assert_eq!(to(36, Cliff::UP), (24, -1.0, false));
        assert_eq!(to(24, Cliff::RIGHT), (25, -1.0, false));
        assert_eq!(to(24, Cliff::DOWN), (36, -1.0, false));
        assert_eq!(to(25, Cliff::LEFT), (24, -1.0, false));
        assert_eq!(to(0, Cliff::UP), (0, -1.0, false));
        assert_eq!(to(0, Cliff::LEFT), (0, -1.0, false));
        assert_eq!(to(11, Cliff::RIGHT), (11, -1.0, false));
        assert_eq!(to(12, Cliff::LEFT), (12, -1.0, false));
        assert_eq!(to(36, Cliff::DOWN), (36, -1.0, false));
    }

    #[test]
    fn the_cliff_leads_back_to_the_start_and_the_goal_ends() {
        assert_eq!(Cliff::default().transition(36, Cliff::RIGHT), (36, -100.0, false));
        assert_eq!(Cliff::default().transition(34, Cliff::DOWN), (36, -100.0, false));
        assert_eq!(Cliff::default().transition(25, Cliff::DOWN), (36, -100.0, false));
        assert_eq!(Cliff::default().transition(35, Cliff::DOWN), (47, -1.0, true));
    }

    #[test]
    fn the_shortest_way_takes_thirteen_steps() {
        let mut rng = stream(0, Stream::Environment(0));
        let mut env = Cliff::default();
        env.reset(&mut rng);
        let way = [&[Cliff::UP] as &[usize], &[Cliff::RIGHT; 11], &[Cliff::DOWN]].concat();
        let steps: Vec<Step> =
            way.iter().map(|&action| env.step(Action::Discrete(action), &mut rng)).collect();
        assert_eq!(steps.iter().map(|step| step.reward).sum::<f64>(), -13.0);
        assert!(steps[12].terminated && steps[..12].iter().all(|step| !step.terminated));
    }

    #[test]
    fn rewards_are_those_of_the_parameters() {
        let parameters =
            CliffParameters { move_reward: 0.5, fall_reward: -7.0, ..CliffParameters::default() };
        let cliff = Cliff::new(parameters).unwrap();
        assert_eq!(cliff.transition(0, Cliff::RIGHT), (1, 0.5, false));
        assert_eq!(cliff.transition(36, Cliff::RIGHT), (36, -7.0, false));
        assert_eq!(cliff.transition(35, Cliff::DOWN), (47, 0.5, true));
    }

    #[test]
    fn slips_go_to_both_sides_and_never_back() {
        let parameters = CliffParameters { slip_probability: 0.4, ..CliffParameters::default() };
        let mut env = Cliff::new(parameters).unwrap();
        let mut rng = stream(1, Stream::Environment(0));
        let mut ends = [0_u32; Cliff::CELLS];
        for _ in 0..10_000 {
            env.set_state(&[17.0]).unwrap();
            env.step(Action::Discrete(Cliff::UP), &mut rng);
            ends[env.cell] += 1;
        }
        // 60 % up, 20 % to each side, within 4 standard deviations of 40 and 49.
        let [up, right, left] = [5, 18, 16].map(|cell| ends[cell]);
        assert_eq!(up + right + left, 10_000);
        assert!(up.abs_diff(6000) < 200 && right.abs_diff(2000) < 160, "{up} {right} {left}");
    }

    #[test]
    fn without_slipping_nothing_is_drawn() {
        let mut rng = stream(1, Stream::Environment(0));
        Cliff::default().step(Action::Discrete(Cliff::UP), &mut rng);
        assert_eq!(rng, stream(1, Stream::Environment(0)));
    }

    #[test]
    fn observes_one_hot() {
        let mut env = Cliff::default();
        let mut observation = [0.5; Cliff::CELLS];
        env.set_state(&[25.0]).unwrap();
        env.observe(&mut observation);
        assert_eq!(observation[25], 1.0);
        assert_eq!(observation.iter().sum::<f32>(), 1.0);
    }

    #[test]
    fn cells_that_do_not_exist_are_refused() {
        let mut env = Cliff::default();
        for number in [48.0, -1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(matches!(env.set_state(&[number]), Err(StateError::Value { index: 0, .. })));
        }
        assert_eq!(env.state(), [36.0]);
    }
}
