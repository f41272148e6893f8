//! What may stand between an agent and its environment: noise, delay, repeated actions.

use crate::drawing::Drawing;
use crate::environment::{Environment, Spec, StateError, Step};
use crate::rng::Rng;
use crate::space::{Action, Space};
use crate::task::ActionDelay;
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
    /// Whether the action of the next step is on its way already.
    has_begun: bool,
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
            has_begun: false,
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

    fn begin_reset(&mut self, rng: &mut Rng) {
        self.environment.begin_reset(rng);
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.environment.reset(rng);
        if let Some(delay) = &mut self.delay {
            delay.reset(rng);
        }
        self.draw_noise(rng);
    }

    fn begin_step(&mut self, action: Action<'_>) {
        let action = match &mut self.delay {
            Some(delay) => {
                delay.send(action);
                self.spec.action_space.action(&delay.arrived)
            }
            None => action,
        };
        self.environment.begin_step(action);
        self.has_begun = true;
    }

    fn failure(&self) -> Option<String> {
        self.environment.failure()
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        if !std::mem::take(&mut self.has_begun) {
            self.begin_step(action);
            self.has_begun = false;
        }
        let action = match &self.delay {
            Some(delay) => self.spec.action_space.action(&delay.arrived),
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
        let expected = own + self.environment.state().len();
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        let (ours, rest) = state.split_at(own);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Entry, Environments, ObservationNoise, Stream, TaskConfig, VectorEnv, stream};

    /// Shows the last action and how many steps there were; terminates with success after 5, and is
    /// truncated before by an action of 9. The reward of a step is its number; it costs 1.
    #[derive(Default)]
    struct Echo {
        action: f32,
        steps: f64,
    }

    impl Environment for Echo {
        fn spec(&self) -> Spec {
            let action_space = Space::Box { low: vec![0.25], high: vec![9.0] };
            Spec {
                reports_success: true,
                reward_terms: vec!["half".into(), "other_half".into()],
                costs: vec!["time".into()],
                ..Spec::new(Space::symmetric_box(2, 10.0), action_space, 100)
            }
        }

        fn reset(&mut self, _rng: &mut Rng) {
            *self = Echo::default();
        }

        fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
            self.action = action.values()[0];
            self.steps += 1.0;
            let terminated = self.steps >= 5.0;
            let truncated = self.action == 9.0;
            Step { reward: self.steps, terminated, truncated, success: Some(terminated) }
        }

        fn observe(&self, observation: &mut [f32]) {
            observation.copy_from_slice(&[self.action, self.steps as f32]);
        }

        fn reward_terms(&self, terms: &mut [f64]) {
            terms.fill(0.5 * self.steps);
        }

        fn costs(&self, costs: &mut [f64]) {
            costs.fill(1.0);
        }

        fn state(&self) -> Vec<f64> {
            vec![self.action.into(), self.steps]
        }

        fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
            let [action, steps] = StateError::read(state)?;
            *self = Echo { action: action as f32, steps };
            Ok(())
        }

        fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
            let mut drawing = Drawing::new([0.0; 2], [1.0; 2], 0.1);
            let text = action.map_or(String::new(), |action| format!("{}", action.values()[0]));
            drawing.text(text, [0.5; 2], 0.1, crate::Color::Text);
            Some(drawing)
        }
    }

    fn vector(config: TaskConfig) -> VectorEnv {
        VectorEnv::new(&Entry::of::<Echo>("echo", "").task(&config).unwrap(), 1, 0, 1)
    }

    fn delayed(delay: ActionDelay) -> TaskConfig {
        TaskConfig { action_delay: Some(delay), ..TaskConfig::default() }
    }

    #[test]
    fn actions_arrive_so_many_steps_later() {
        let mut vector = vector(delayed(ActionDelay::Steps(2)));
        let mut seen = Vec::new();
        for step in 1..=9 {
            vector.step(&[step as f32]);
            let is_end = vector.observations()[1] == 0.0;
            let row = if is_end { vector.final_observations() } else { vector.observations() };
            seen.push(row[0]);
        }
        // 0.25 is the action nearest to none; a new episode begins without what was on its way.
        assert_eq!(seen, [0.25, 0.25, 1.0, 2.0, 3.0, 0.25, 0.25, 6.0, 7.0]);
    }

    #[test]
    fn choices_arrive_later_too() {
        let entry = Environments::default().get("cliff").unwrap();
        let mut vector =
            VectorEnv::new(&entry.task(&delayed(ActionDelay::Steps(1))).unwrap(), 1, 0, 1);
        let cell = |vector: &VectorEnv| vector.observations().iter().position(|&x| x == 1.0);
        // Up, which is choice 0, comes first although right was sent.
        vector.step(&[1.0]);
        assert_eq!(cell(&vector), Some(24));
        vector.step(&[0.0]);
        assert_eq!(cell(&vector), Some(25));
        vector.step(&[0.0]);
        assert_eq!(cell(&vector), Some(13));
    }

    #[test]
    fn each_episode_draws_its_delay() {
        for (delay, expected) in [
            (ActionDelay::Uniform { uniform: [1, 3] }, vec![1.0, 2.0, 3.0]),
            (ActionDelay::Choice { choice: vec![4, 0] }, vec![0.0, 4.0]),
        ] {
            let task = Entry::of::<Echo>("echo", "").task(&delayed(delay)).unwrap();
            let mut environment = task.make();
            let mut rng = stream(1, Stream::Environment(0));
            let mut seen = Vec::new();
            for _ in 0..50 {
                environment.reset(&mut rng);
                let state = environment.state();
                let steps = state[0];
                seen.push(steps);
                environment.step(Action::Continuous(&[7.0]), &mut rng);
                let mut observation = [0.0; 2];
                environment.observe(&mut observation);
                assert_eq!(observation[0] == 7.0, steps == 0.0);
            }
            seen.sort_by(f64::total_cmp);
            seen.dedup();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_repeated_action_sums_what_its_steps_give_and_stops_at_the_end() {
        let config = TaskConfig { action_repeat: 3, ..TaskConfig::default() };
        let mut vector = vector(config);
        let first = vector.step(&[1.0])[0];
        assert_eq!((first.reward, first.ended()), (1.0 + 2.0 + 3.0, false));
        assert_eq!((vector.reward_terms(), vector.costs()), (&[3.0, 3.0][..], &[3.0][..]));
        let last = vector.step(&[1.0])[0];
        assert_eq!((last.reward, last.terminated), (4.0 + 5.0, true));
        assert_eq!((vector.reward_terms(), vector.costs()), (&[4.5, 4.5][..], &[2.0][..]));
        let episode = last.episode.unwrap();
        assert_eq!((episode.length, episode.episode_return), (2, 15.0));
        assert_eq!(episode.success, Some(true));
        assert_eq!(vector.final_observations()[1], 5.0);

        let cut = vector.step(&[9.0])[0];
        assert_eq!((cut.reward, cut.truncated, cut.terminated), (1.0, true, false));
    }

    #[test]
    fn the_time_limit_counts_the_steps_of_the_agent() {
        let config =
            TaskConfig { action_repeat: 2, max_episode_steps: Some(2), ..TaskConfig::default() };
        let mut vector = vector(config);
        assert!(!vector.step(&[1.0])[0].ended());
        let last = vector.step(&[1.0])[0];
        assert!(last.truncated && !last.terminated);
        assert_eq!(vector.final_observations()[1], 4.0);
    }

    #[test]
    fn noise_has_its_deviation_and_is_that_of_the_moment() {
        let noise = ObservationNoise::Each(vec![0.5, 0.0]);
        let config = TaskConfig { observation_noise: Some(noise), ..TaskConfig::default() };
        let task = Entry::of::<Echo>("echo", "").task(&config).unwrap();
        let Space::Box { low, high } = &task.spec().observation_space else { panic!("a box") };
        assert_eq!(
            (low[0], high[0], low[1], high[1]),
            (-f32::INFINITY, f32::INFINITY, -10.0, 10.0)
        );

        let mut environment = task.make();
        let mut rng = stream(1, Stream::Environment(0));
        let (mut sum, mut squares) = (0.0, 0.0);
        let count = 20_000;
        for step in 0..count {
            if step % 4 == 0 {
                environment.reset(&mut rng);
            } else {
                environment.step(Action::Continuous(&[0.0]), &mut rng);
            }
            let mut rows = [[0.0; 2]; 2];
            rows.iter_mut().for_each(|row| environment.observe(row));
            assert_eq!(rows[0], rows[1]);
            assert_eq!(rows[0][1], (step % 4) as f32);
            sum += f64::from(rows[0][0]);
            squares += f64::from(rows[0][0]).powi(2);
        }
        // Within 4 standard deviations of the mean and of the variance of a Gaussian.
        let count = f64::from(count);
        assert!((sum / count).abs() < 4.0 * 0.5 / count.sqrt());
        assert!((squares / count / 0.25 - 1.0).abs() < 4.0 * (2.0 / count).sqrt());
    }

    #[test]
    fn the_final_observation_is_noisy_and_so_is_the_first() {
        let noise = Some(ObservationNoise::All(0.1));
        let mut vector = vector(TaskConfig { observation_noise: noise, ..TaskConfig::default() });
        let off = |number: f32, exact: f32| number != exact && (number - exact).abs() < 0.6;
        assert!(off(vector.observations()[1], 0.0));
        let last = (0..5).map(|_| vector.step(&[1.0])[0]).last().unwrap();
        assert!(last.terminated);
        assert!(off(vector.final_observations()[1], 5.0));
        assert!(off(vector.observations()[1], 0.0));
    }

    #[test]
    fn without_noise_and_with_a_fixed_delay_nothing_is_drawn() {
        let config = TaskConfig { action_repeat: 2, ..delayed(ActionDelay::Steps(3)) };
        let task = Entry::of::<Echo>("echo", "").task(&config).unwrap();
        let mut rng = stream(1, Stream::Environment(0));
        let mut environment = task.make();
        environment.reset(&mut rng);
        environment.step(Action::Continuous(&[1.0]), &mut rng);
        assert_eq!(rng, stream(1, Stream::Environment(0)));
    }

    #[test]
    fn the_state_holds_what_is_on_its_way_and_goes_on_the_same() {
        let config = TaskConfig {
            observation_noise: Some(ObservationNoise::All(0.1)),
            ..delayed(ActionDelay::Uniform { uniform: [0, 2] })
        };
        let task = Entry::of::<Echo>("echo", "").task(&config).unwrap();
        for seed in 0..10 {
            let mut rng = stream(seed, Stream::Environment(0));
            let mut environment = task.make();
            environment.reset(&mut rng);
            environment.step(Action::Continuous(&[5.0]), &mut rng);
            environment.step(Action::Continuous(&[6.0]), &mut rng);
            let state = environment.state();
            // The delay, two actions, two numbers of noise, and the environment's own two.
            assert_eq!(state.len(), 1 + 2 + 2 + 2);
            let mut other = task.make();
            other.set_state(&state).unwrap();
            let mut other_rng = rng.clone();
            for action in [7.0, 8.0, 9.0] {
                let mut rows = [[0.0; 2]; 2];
                environment.observe(&mut rows[0]);
                other.observe(&mut rows[1]);
                assert_eq!(rows[0], rows[1]);
                let action = [action];
                let action = Action::Continuous(&action);
                assert_eq!(environment.step(action, &mut rng), other.step(action, &mut other_rng));
                assert_eq!(environment.state(), other.state());
            }
        }
    }

    #[test]
    fn a_state_that_can_not_have_been_is_refused() {
        let config = delayed(ActionDelay::Uniform { uniform: [1, 2] });
        let mut environment = Entry::of::<Echo>("echo", "").task(&config).unwrap().make();
        let mut rng = stream(1, Stream::Environment(0));
        environment.reset(&mut rng);
        let good = environment.state();
        for steps in [0.0, 3.0, 1.5, f64::NAN] {
            let mut state = good.clone();
            state[0] = steps;
            let error = environment.set_state(&state).unwrap_err();
            assert!(matches!(error, StateError::Value { index: 0, .. }), "{error}");
        }
        let length = |expected, found| Err(StateError::Length { expected, found });
        assert_eq!(environment.set_state(&good[1..]), length(5, 4));
        assert_eq!(environment.set_state(&good[..2]), length(5, 2));
        assert_eq!(environment.set_state(&good), Ok(()));
    }

    #[test]
    fn the_picture_shows_the_action_that_arrives_for_as_long_as_it_is_repeated() {
        let config = TaskConfig { action_repeat: 4, ..delayed(ActionDelay::Steps(1)) };
        let mut environment = Entry::of::<Echo>("echo", "").task(&config).unwrap().make();
        let mut rng = stream(1, Stream::Environment(0));
        environment.reset(&mut rng);
        environment.step(Action::Continuous(&[3.0]), &mut rng);
        let drawing = environment.draw(Some(Action::Continuous(&[5.0]))).unwrap();
        assert!((drawing.seconds - 0.4).abs() < 1e-15);
        let says = |drawing: &Drawing, expected: &str| matches!(&drawing.shapes[0], crate::Shape::Text { text, .. } if text == expected);
        assert!(says(&drawing, "3"));
        assert!(says(&environment.draw(None).unwrap(), ""));
    }
}
