//! A checker for environments: plays random episodes, and finds what training would suffer from in silence.
//!
//! It finds what Gymnasium's and Stable-Baselines3's `check_env` find as far as it can be wrong here, where
//! types rule out the rest, and what this trainer relies on beside that: states that come back bit for bit,
//! resets that begin anew, time limits that are nobody else's business.

use crate::environment::{Environment, Step};
use crate::rng::{Rng, Stream, stream};
use crate::space::Space;
use crate::task::Task;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Rewards of this size leave a critic's regression nothing to hold on to.
const LARGE_REWARD: f64 = 1e6;
/// An episode that has not ended after so many steps may never do.
const LONG: u32 = 100_000;
/// A step that takes longer is what a run waits for.
const SLOW_STEP: Duration = Duration::from_micros(200);
/// A reset that takes longer, and as long as [`MANY_STEPS`] steps.
const SLOW_RESET: Duration = Duration::from_millis(2);
/// See [`SLOW_RESET`].
const MANY_STEPS: u32 = 100;
/// Steps after which two copies that should do the same are believed.
const ALONG: u32 = 50;

/// What is wrong with an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule is broken, in a word: `state`, `reset`, `bounds`, `finite`, ...
    pub rule: &'static str,
    /// What was seen.
    pub problem: String,
    /// What to do about it.
    pub cure: &'static str,
}

/// How much is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A few hundred steps: some milliseconds for a fast environment.
    Short,
    /// Twenty episodes, with a clock.
    Full,
}

/// Checks a task. `allocations` tells how often memory was allocated so far, where the caller counts that:
/// a program's global allocator is its own affair.
///
/// ```
/// use envs::{Effort, Environments, TaskConfig, check};
///
/// let task = Environments::default().get("pendulum").unwrap().task(&TaskConfig::default())?;
/// assert_eq!(check(&task, Effort::Short, None), []);
/// # Ok::<(), envs::ParameterError>(())
/// ```
#[must_use]
pub fn check(task: &Task, effort: Effort, allocations: Option<&dyn Fn() -> u64>) -> Vec<Finding> {
    let mut checker = Checker::new(task, effort, allocations);
    let checked = catch_unwind(AssertUnwindSafe(|| checker.run()));
    if let Err(panic) = checked {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let problem = format!("it panicked: {text}");
        checker.find(
            "panic",
            problem,
            "return what is possible in every state; a panic ends the run",
        );
    }
    checker.findings
}

struct Checker<'a> {
    task: &'a Task,
    effort: Effort,
    allocations: Option<&'a dyn Fn() -> u64>,
    /// Of the actions.
    actions: Rng,
    action: Vec<f32>,
    findings: Vec<Finding>,
}

/// What a step shows, to the last bit.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    state: Vec<u64>,
    numbers: Vec<u64>,
    flags: (bool, bool, Option<bool>),
}

impl<'a> Checker<'a> {
    fn new(
        task: &'a Task,
        effort: Effort,
        allocations: Option<&'a dyn Fn() -> u64>,
    ) -> Checker<'a> {
        Checker {
            task,
            effort,
            allocations,
            actions: stream(1, Stream::Evaluation(0)),
            action: vec![0.0; task.spec().action_space.width()],
            findings: Vec::new(),
        }
    }

    /// Notes what is wrong, once for each rule.
    fn find(&mut self, rule: &'static str, problem: String, cure: &'static str) {
        if !self.findings.iter().any(|found| found.rule == rule) {
            self.findings.push(Finding { rule, problem, cure });
        }
    }

    fn run(&mut self) {
        self.spec();
        if self.findings.iter().any(|found| found.rule == "spec") {
            return;
        }
        let (episodes, steps) = match self.effort {
            Effort::Short => (2, 100),
            Effort::Full => (20, LONG),
        };
        for episode in 0..episodes {
            self.episode(episode, steps);
        }
        self.at_the_limit();
        for episode in 0..episodes.min(5) {
            self.state(episode);
            self.reset(episode);
            self.beyond_the_bounds(episode);
        }
        if self.effort == Effort::Full {
            self.time();
        }
    }

    /// What the environment says of itself.
    fn spec(&mut self) {
        const CURE: &str = "give bounds that hold, in the order [low, high], one for each number";
        let spec = self.task.spec();
        let (one, other) = (self.task.make(), self.task.make());
        if one.spec() != one.spec() || one.spec() != other.spec() {
            let problem = "`spec` is not the same whenever it is asked".to_owned();
            self.find("spec", problem, "make it depend on the parameters alone");
        }
        let spaces =
            [("an observation", &spec.observation_space), ("an action", &spec.action_space)];
        for (what, space) in spaces {
            let problem = match space {
                Space::Discrete { n: 0 } => Some(format!("{what} has no choice")),
                Space::Discrete { .. } => None,
                Space::Box { low, high } if low.len() != high.len() || low.is_empty() => Some(
                    format!("{what} has {} lower bounds and {} upper ones", low.len(), high.len()),
                ),
                Space::Box { low, high } => {
                    let wrong = low
                        .iter()
                        .zip(high)
                        .position(|(low, high)| low.partial_cmp(high) != Some(Ordering::Less));
                    wrong.map(|i| format!("number {i} of {what} is from {} to {}", low[i], high[i]))
                }
            };
            if let Some(problem) = problem {
                self.find("spec", problem, CURE);
            }
        }
        if let Space::Box { low, high } = &spec.action_space {
            let is_open = low.iter().chain(high).any(|bound| !bound.is_finite());
            if is_open {
                let problem = "an action has no bounds".to_owned();
                self.find(
                    "action_bounds",
                    problem,
                    "give finite ones: a policy begins with deviation 1",
                );
            }
        }
    }

    fn step(&mut self, environment: &mut dyn Environment, rng: &mut Rng) -> Step {
        let space = &self.task.spec().action_space;
        space.sample(&mut self.actions, &mut self.action);
        environment.step(space.action(&self.action), rng)
    }

    /// Plays an episode, and looks at everything that a step shows.
    fn episode(&mut self, number: u32, most: u32) {
        let spec = self.task.spec();
        let mut environment = self.task.make();
        let mut rng = stream(1, Stream::Environment(number));
        environment.reset(&mut rng);
        let mut observation = vec![f32::NAN; spec.observation_space.width()];
        self.observe(&*environment, &mut observation, 0);
        let limit = spec.max_episode_steps;
        for step in 1..=most.min(limit) {
            // The actions' own draw is not the environment's.
            spec.action_space.sample(&mut self.actions, &mut self.action);
            let action = spec.action_space.action(&self.action);
            let before = self.allocations.map(|count| count());
            let now = environment.step(action, &mut rng);
            environment.observe(&mut observation);
            let allocated = self.allocations.map(|count| count()) != before;
            if allocated {
                let problem = format!("`step` or `observe` allocated memory in step {step}");
                self.find(
                    "allocation",
                    problem,
                    "keep buffers in the environment, and fill them again",
                );
            }
            self.observe(&*environment, &mut observation, step);
            self.numbers(&*environment, now, step);
            if now.terminated && now.truncated {
                let problem = format!("step {step} is terminated and truncated");
                self.find(
                    "end",
                    problem,
                    "terminated is the task's end, truncated a cut: give one of them",
                );
            }
            if now.truncated && step == limit {
                let problem = format!("it truncates itself at its time limit of {limit} steps");
                self.find(
                    "limit",
                    problem,
                    "leave the limit to the runner, which keeps max_episode_steps",
                );
            }
            if now.terminated || now.truncated {
                return;
            }
        }
        if limit > LONG && most >= LONG {
            let problem = format!("no end after {most} steps; the limit is {limit}");
            self.find(
                "end",
                problem,
                "give max_episode_steps that an episode needs: returns are of episodes",
            );
        }
    }

    fn observe(&mut self, environment: &dyn Environment, observation: &mut [f32], step: u32) {
        let Space::Box { low, high } = &self.task.spec().observation_space else { return };
        observation.fill(f32::NAN);
        environment.observe(observation);
        let first = observation.to_vec();
        environment.observe(observation);
        if first.iter().zip(&*observation).any(|(a, b)| a.to_bits() != b.to_bits()) {
            let problem = format!("after step {step} two looks at one state differ");
            self.find(
                "observe",
                problem,
                "draw noise in `step` and keep it, or use env.observation_noise",
            );
        }
        for (index, &number) in first.iter().enumerate() {
            let what = format!("number {index} of the observation is {number} after step {step}");
            if !number.is_finite() {
                self.find(
                    "finite",
                    what,
                    "write every number of the observation, none of them NaN or infinite",
                );
            } else if !(low[index]..=high[index]).contains(&number) {
                let problem = format!("{what}, outside of {} to {}", low[index], high[index]);
                self.find(
                    "bounds",
                    problem,
                    "widen the bounds of observation_space, or clip what is observed",
                );
            }
        }
    }

    fn numbers(&mut self, environment: &dyn Environment, now: Step, step: u32) {
        let spec = self.task.spec();
        let reward = now.reward;
        if !reward.is_finite() {
            let problem = format!("the reward of step {step} is {reward}");
            self.find(
                "finite",
                problem,
                "give a finite reward in every state: this one stops a run",
            );
        } else if reward.abs() > LARGE_REWARD {
            let problem = format!("the reward of step {step} is {reward:e}");
            self.find("reward", problem, "choose a unit in which rewards are of the size of 1");
        }
        if now.success.is_some() != spec.reports_success {
            let problem = format!(
                "`success` is {:?} in step {step}, and reports_success is {}",
                now.success, spec.reports_success
            );
            self.find(
                "success",
                problem,
                "give it in every step, with reports_success, or in none",
            );
        }
        let mut terms = vec![f64::NAN; spec.reward_terms.len()];
        environment.reward_terms(&mut terms);
        let sum: f64 = terms.iter().sum();
        let size = terms.iter().map(|term| term.abs()).fold(reward.abs(), f64::max);
        if !terms.is_empty() && reward.is_finite() && is_apart(sum, reward, size) {
            let problem =
                format!("the terms of the reward of step {step} sum to {sum}, it is {reward}");
            self.find("terms", problem, "write every term of the last step's reward");
        }
        let mut costs = vec![f64::NAN; spec.costs.len()];
        environment.costs(&mut costs);
        if let Some(index) = costs.iter().position(|cost| !(cost.is_finite() && *cost >= 0.0)) {
            let problem =
                format!("cost `{}` of step {step} is {}", spec.costs[index], costs[index]);
            self.find("costs", problem, "give every cost as a finite number, 0 or more");
        }
    }

    /// Whether episodes are terminated by their time limit: the last state then loses its value.
    fn at_the_limit(&mut self) {
        let limit = self.task.spec().max_episode_steps;
        if limit > LONG {
            return;
        }
        let (mut reached, mut terminated) = (0, 0);
        for number in 0..3 {
            let mut environment = self.task.make();
            let mut rng = stream(2, Stream::Environment(number));
            environment.reset(&mut rng);
            for step in 1..=limit {
                let now = self.step(&mut *environment, &mut rng);
                if step == limit {
                    reached += 1;
                    terminated += u32::from(now.terminated);
                }
                if now.terminated || now.truncated {
                    break;
                }
            }
        }
        if reached >= 2 && terminated == reached {
            let problem =
                format!("episodes are terminated in step {limit}, which is the time limit");
            self.find(
                "limit",
                problem,
                "leave the limit to the runner: a terminated state has no value, a cut one has",
            );
        }
    }

    /// Some steps with given actions, as seen.
    fn along(
        &self,
        environment: &mut dyn Environment,
        rng: &mut Rng,
        actions: &[Vec<f32>],
    ) -> Vec<Seen> {
        let spec = self.task.spec();
        let mut observation = vec![0.0; spec.observation_space.width()];
        let mut seen = Vec::new();
        for action in actions {
            let step = environment.step(spec.action_space.action(action), rng);
            environment.observe(&mut observation);
            let state = environment.state().into_iter().map(f64::to_bits);
            let shown = observation.iter().map(|number| u64::from(number.to_bits()));
            let numbers = shown.chain([step.reward.to_bits()]).collect();
            let flags = (step.terminated, step.truncated, step.success);
            seen.push(Seen { state: state.collect(), numbers, flags });
            if step.terminated || step.truncated {
                break;
            }
        }
        seen
    }

    fn random_actions(&mut self, count: u32) -> Vec<Vec<f32>> {
        let space = &self.task.spec().action_space;
        (0..count)
            .map(|_| {
                space.sample(&mut self.actions, &mut self.action);
                self.action.clone()
            })
            .collect()
    }

    /// An environment some steps into an episode that goes on.
    fn under_way(&mut self, number: u32, steps: u32) -> (Box<dyn Environment>, Rng) {
        let mut rng = stream(3, Stream::Environment(number));
        let mut environment = self.task.make();
        environment.reset(&mut rng);
        for _ in 0..steps.min(self.task.spec().max_episode_steps - 1) {
            let now = self.step(&mut *environment, &mut rng);
            if now.terminated || now.truncated {
                environment.reset(&mut rng);
            }
        }
        (environment, rng)
    }

    /// Whether a state comes back bit for bit, in a copy that was somewhere else.
    fn state(&mut self, number: u32) {
        const CURE: &str = "put everything that the next steps depend on into `state`, and take all of it back: \
                            a resumed run goes on with it";
        let (mut environment, mut rng) = self.under_way(number, 3 * number);
        let (mut copy, _) = self.under_way(number + 100, 7);
        let saved = environment.state();
        if let Err(error) = copy.set_state(&saved) {
            self.find(
                "state",
                format!("`set_state` refuses what `state` has given: {error}"),
                CURE,
            );
            return;
        }
        let bits = |state: Vec<f64>| -> Vec<u64> { state.into_iter().map(f64::to_bits).collect() };
        if bits(copy.state()) != bits(saved.clone()) {
            self.find("state", "`state` is another one after `set_state`".into(), CURE);
        }
        let actions = self.random_actions(ALONG);
        let mut same = rng.clone();
        let (one, other) = (
            self.along(&mut *environment, &mut rng, &actions),
            self.along(&mut *copy, &mut same, &actions),
        );
        if let Some(step) = first_difference(&one, &other) {
            let problem = format!("{step} steps after `set_state` a copy is somewhere else");
            self.find("state", problem, CURE);
        }
        let longer = [saved, vec![0.0]].concat();
        if copy.set_state(&longer).is_ok() {
            let problem = "`set_state` takes a state with a number too many".to_owned();
            self.find(
                "state",
                problem,
                "refuse it, as StateError::read does: it is another environment's",
            );
        }
    }

    /// Whether a reset begins anew, whatever was before.
    fn reset(&mut self, number: u32) {
        let (mut used, _) = self.under_way(number, 20);
        let mut fresh = self.task.make();
        let mut rng = stream(4, Stream::Environment(number));
        let mut same = rng.clone();
        used.reset(&mut rng);
        fresh.reset(&mut same);
        let actions = self.random_actions(ALONG);
        let (one, other) = (
            self.along(&mut *used, &mut rng, &actions),
            self.along(&mut *fresh, &mut same, &actions),
        );
        if let Some(step) = first_difference(&one, &other) {
            let problem = format!(
                "two resets with the same random numbers lead apart in step {step}: one copy had played before"
            );
            self.find(
                "reset",
                problem,
                "set every field in `reset`, and draw from the stream that is handed in",
            );
        }
    }

    /// Whether an action beyond its bounds does something else than the bound, in its own step or later. The
    /// state may differ: one that is on its way is kept as it was sent.
    fn beyond_the_bounds(&mut self, number: u32) {
        let Space::Box { low, high } = &self.task.spec().action_space else { return };
        if low.iter().chain(high).any(|bound| !bound.is_finite()) {
            return;
        }
        let beyond: Vec<f32> =
            low.iter().zip(high).map(|(low, high)| high + (high - low)).collect();
        let (mut environment, mut rng) = self.under_way(number, 5);
        let mut copy = self.task.make();
        if copy.set_state(&environment.state()).is_err() {
            return;
        }
        let mut same = rng.clone();
        let high = high.clone();
        let mut actions = self.random_actions(9);
        actions.insert(0, high);
        let mut one = self.along(&mut *environment, &mut rng, &actions);
        actions[0] = beyond;
        let mut other = self.along(&mut *copy, &mut same, &actions);
        for seen in one.iter_mut().chain(&mut other) {
            seen.state.clear();
        }
        if one != other && !self.findings.iter().any(|found| found.rule == "state") {
            let problem =
                "an action beyond the bounds does something else than the bound".to_owned();
            self.find(
                "action_bounds",
                problem,
                "clip actions in `step`: programs that use the policy may not",
            );
        }
    }

    fn time(&mut self) {
        let mut environment = self.task.make();
        let mut rng = stream(5, Stream::Environment(0));
        let (mut resets, mut steps) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        while steps.len() < 1000 && begun.elapsed() < Duration::from_secs(2) {
            let now = Instant::now();
            environment.reset(&mut rng);
            resets.push(now.elapsed());
            for _ in 0..self.task.spec().max_episode_steps.min(100) {
                let now = Instant::now();
                let step = self.step(&mut *environment, &mut rng);
                steps.push(now.elapsed());
                if step.terminated || step.truncated {
                    break;
                }
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let (reset, step) = (median(&mut resets), median(&mut steps));
        if step > SLOW_STEP {
            self.find(
                "slow",
                format!("a step takes {step:?}"),
                "it is what training waits for: profile `step`",
            );
        }
        if reset > SLOW_RESET && reset > step * MANY_STEPS {
            let problem = format!("a reset takes {reset:?}, a step {step:?}");
            self.find("slow_reset", problem, "build what stays once, when the environment is made");
        }
    }
}

/// Whether a sum is not what it should be, beyond what rounding numbers of this size explains; NaN is.
fn is_apart(sum: f64, expected: f64, size: f64) -> bool {
    let distance = (sum - expected).abs();
    distance.is_nan() || distance > 1e-9 * (1.0 + size)
}

/// The first step in which two courses differ, from 1 on.
fn first_difference(one: &[Seen], other: &[Seen]) -> Option<usize> {
    if one.len() != other.len() {
        return Some(one.len().min(other.len()));
    }
    one.iter().zip(other).position(|(one, other)| one != other).map(|at| at + 1)
}
