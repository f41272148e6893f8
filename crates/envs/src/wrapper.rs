//! What may stand between an agent and its environment: noise, delay, repeated actions.

use crate::{Action, ActionDelay, Drawing, Environment, Rng, Space, Spec, StateError, Step};
use rand::RngExt;
use rand_distr::StandardNormal;
use std::collections::VecDeque;

/// What a [`Wrapper`] does; without any of it none is needed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wrapping {
    /// The deviation of the noise on each observation; empty for none.
    pub(crate) noise: Vec<f64>,
    /// How late actions arrive.
    pub(crate) delay: Option<ActionDelay>,
    /// Steps of the environment in each of the agent's, 1 at least.
    pub(crate) repeat: u32,
}

/// An environment behind noisy sensors and a slow line.
///
/// A step of the agent goes into the queue of the delay, and what comes out of it is done `repeat`
/// times, or until the episode ends; rewards, their terms and costs are summed. Then the noise of the
/// observation is drawn, so that an observation is the same however often it is read. All randomness
/// comes from the environment's own stream: at the reset the environment's draws, the delay, the noise;
/// in a step the environment's, the noise.
pub(crate) struct Wrapper {
    environment: Box<dyn Environment>,
    spec: Spec,
    repeat: u32,
    delay: Option<Delay>,
    deviations: Vec<f64>,
    /// What is added to the current observation.
    noise: Vec<f64>,
    /// Of the agent's last step.
    reward_terms: Vec<f64>,
    costs: Vec<f64>,
    /// The terms or costs of one of its steps.
    scratch: Vec<f64>,
}

/// A queue of actions.
struct Delay {
    config: ActionDelay,
    /// Steps of this episode's delay.
    steps: u32,
    /// Numbers of an action.
    width: usize,
    /// The actions that are on their way, the oldest first.
    queue: VecDeque<f32>,
    /// The action that has arrived.
    arrived: Vec<f32>,
    /// The action that arrives as long as none was sent: 0, or the number of its bounds nearest to it.
    idle: Vec<f32>,
}

impl Delay {
    fn new(config: &ActionDelay, action_space: &Space) -> Delay {
        let idle = match action_space {
            Space::Discrete { .. } => vec![0.0],
            Space::Box { low, high } => {
                low.iter().zip(high).map(|(low, high)| 0.0_f32.max(*low).min(*high)).collect()
            }
        };
        let width = idle.len();
        Delay {
            steps: config.bounds().0,
            queue: VecDeque::with_capacity((config.bounds().1 as usize + 1) * width),
            config: config.clone(),
            width,
            arrived: idle.clone(),
            idle,
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.steps = match &self.config {
            ActionDelay::Steps(steps) => *steps,
            ActionDelay::Uniform { uniform: [low, high] } => rng.random_range(*low..=*high),
            ActionDelay::Choice { choice } => {
                choice[rng.random_range(0..choice.len() as u64) as usize]
            }
        };
        self.queue.clear();
        for _ in 0..self.steps {
            self.queue.extend(&self.idle);
        }
    }

    /// Sends an action; the one that arrives is in `arrived`.
    fn send(&mut self, action: Action<'_>) {
        match action {
            Action::Discrete(index) => self.queue.push_back(index as f32),
            Action::Continuous(numbers) => self.queue.extend(numbers),
        }
        for (arrived, number) in self.arrived.iter_mut().zip(self.queue.drain(..self.width)) {
            *arrived = number;
        }
    }

    /// Numbers of its state: the steps of the delay, and as many actions as there can be on their way.
    fn state_len(&self) -> usize {
        1 + self.config.bounds().1 as usize * self.width
    }

    fn state(&self) -> impl Iterator<Item = f64> + '_ {
        let queue = self.queue.iter().map(|&number| f64::from(number));
        std::iter::once(f64::from(self.steps))
            .chain(queue)
            .chain(std::iter::repeat(0.0))
            .take(self.state_len())
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let (low, high) = self.config.bounds();
        let steps = state[0];
        if steps.fract() != 0.0 || !(f64::from(low)..=f64::from(high)).contains(&steps) {
            let expected = "a number of steps that the action can be delayed by";
            return Err(StateError::Value { index: 0, found: steps, expected });
        }
        self.steps = steps as u32;
        let numbers = self.steps as usize * self.width;
        self.queue.clear();
        self.queue.extend(state[1..=numbers].iter().map(|&number| number as f32));
        Ok(())
    }
}

impl Wrapper {
    /// Wraps an environment of the task whose spec this is.
    pub(crate) fn new(environment: Box<dyn Environment>, wrapping: &Wrapping, spec: &Spec) -> Self {
        Wrapper {
            environment,
            repeat: wrapping.repeat,
            delay: wrapping.delay.as_ref().map(|delay| Delay::new(delay, &spec.action_space)),
            noise: vec![0.0; wrapping.noise.len()],
            deviations: wrapping.noise.clone(),
            reward_terms: vec![0.0; spec.reward_terms.len()],
            costs: vec![0.0; spec.costs.len()],
            scratch: vec![0.0; spec.reward_terms.len().max(spec.costs.len())],
            spec: spec.clone(),
        }
    }

    fn draw_noise(&mut self, rng: &mut Rng) {
        for (noise, deviation) in self.noise.iter_mut().zip(&self.deviations) {
            *noise = deviation * rng.sample::<f64, _>(StandardNormal);
        }
    }
}

impl Environment for Wrapper {
    fn spec(&self) -> Spec {
        self.spec.clone()
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.environment.reset(rng);
        if let Some(delay) = &mut self.delay {
            delay.reset(rng);
        }
        self.draw_noise(rng);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let action = match &mut self.delay {
            Some(delay) => {
                delay.send(action);
                self.spec.action_space.action(&delay.arrived)
            }
            None => action,
        };
        let mut all = Step::default();
        self.reward_terms.fill(0.0);
        self.costs.fill(0.0);
        for _ in 0..self.repeat {
            let step = self.environment.step(action, rng);
            all = Step { reward: all.reward + step.reward, ..step };
            if !self.reward_terms.is_empty() {
                self.environment.reward_terms(&mut self.scratch[..self.reward_terms.len()]);
                add(&mut self.reward_terms, &self.scratch);
            }
            if !self.costs.is_empty() {
                self.environment.costs(&mut self.scratch[..self.costs.len()]);
                add(&mut self.costs, &self.scratch);
            }
            if step.terminated || step.truncated {
                break;
            }
        }
        self.draw_noise(rng);
        all
    }

    fn observe(&self, observation: &mut [f32]) {
        self.environment.observe(observation);
        for (number, noise) in observation.iter_mut().zip(&self.noise) {
            *number = (f64::from(*number) + noise) as f32;
        }
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        terms.copy_from_slice(&self.reward_terms);
    }

    fn costs(&self, costs: &mut [f64]) {
        costs.copy_from_slice(&self.costs);
    }

    fn state(&self) -> Vec<f64> {
        let mut state: Vec<f64> = self.delay.iter().flat_map(Delay::state).collect();
        state.extend(&self.noise);
        state.extend(self.environment.state());
        state
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let delayed = self.delay.as_ref().map_or(0, Delay::state_len);
        let own = delayed + self.noise.len();
        let Some((ours, rest)) = state.split_at_checked(own) else {
            let expected = own + self.environment.state().len();
            return Err(StateError::Length { expected, found: state.len() });
        };
        let (queue, noise) = ours.split_at(delayed);
        if let Some(delay) = &mut self.delay {
            delay.set_state(queue)?;
        }
        self.noise.copy_from_slice(noise);
        self.environment.set_state(rest).map_err(|error| error.moved(own))
    }

    /// Shows the action that arrives, for as long as it is repeated.
    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let arriving: Vec<f32> = match (&self.delay, action) {
            (Some(delay), Some(_)) => delay.queue.iter().take(delay.width).copied().collect(),
            _ => Vec::new(),
        };
        let action = action.map(|sent| {
            if arriving.is_empty() { sent } else { self.spec.action_space.action(&arriving) }
        });
        let mut drawing = self.environment.draw(action)?;
        drawing.seconds *= f64::from(self.repeat);
        Some(drawing)
    }
}

fn add(sums: &mut [f64], numbers: &[f64]) {
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum += number;
    }
}
