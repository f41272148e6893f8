//! `trainer check-env` and `envs::check`: every rule finds the environment that breaks it, and no other.

mod support;

use backburn_tests::allocations::{Counting, allocations};
use envs::{
    Action, ActionDelay, Effort, Entry, Environment, Environments, Rng, Space, Spec, StateError,
    Step, TaskConfig, check,
};
use rand::RngExt;
use support::Place;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is wrong with a walk on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A number that the next steps depend on is not in the state.
    HiddenState,
    /// A state of any length is taken.
    AnyLength,
    /// A reset leaves the clock as it was.
    ResetKeeps,
    OutOfBounds,
    NotWritten,
    Noisy,
    Success,
    Huge,
    NotFinite,
    NoEnd,
    Allocates,
    Slow,
    SlowReset,
    OwnLimit,
    Truncates,
    Unclipped,
    Terms,
    Panics,
    Spec,
}

#[derive(Clone)]
struct Walk<const FAULT: usize> {
    place: f64,
    time: f64,
    last: f64,
}

impl<const FAULT: usize> Default for Walk<FAULT> {
    fn default() -> Self {
        Walk { place: 0.0, time: 0.0, last: 0.0 }
    }
}

const FAULTS: [(Fault, &str); 20] = [
    (Fault::None, ""),
    (Fault::HiddenState, "state"),
    (Fault::AnyLength, "state"),
    (Fault::ResetKeeps, "reset"),
    (Fault::OutOfBounds, "bounds"),
    (Fault::NotWritten, "finite"),
    (Fault::Noisy, "spec"),
    (Fault::Success, "success"),
    (Fault::Huge, "reward"),
    (Fault::NotFinite, "finite"),
    (Fault::NoEnd, "end"),
    (Fault::Allocates, "allocation"),
    (Fault::Slow, "slow"),
    (Fault::SlowReset, "slow_reset"),
    (Fault::OwnLimit, "limit"),
    (Fault::Truncates, "limit"),
    (Fault::Unclipped, "action_bounds"),
    (Fault::Terms, "terms"),
    (Fault::Panics, "panic"),
    (Fault::Spec, "spec"),
];

impl<const FAULT: usize> Walk<FAULT> {
    fn has(&self, fault: Fault) -> bool {
        FAULTS[FAULT].0 == fault
    }
}

impl<const FAULT: usize> Environment for Walk<FAULT> {
    fn spec(&self) -> Spec {
        let bound = if self.has(Fault::Spec) { 0.0 } else { 1.0 };
        let low = if self.has(Fault::Noisy) { -1.0 - allocations() as f32 } else { -1.0 };
        Spec {
            reports_success: true,
            reward_terms: vec!["near".into(), "late".into()],
            ..Spec::new(
                Space::Box { low: vec![low; 2], high: vec![1.0; 2] },
                Space::symmetric_box(1, bound),
                if self.has(Fault::NoEnd) { 1_000_000_000 } else { 40 },
            )
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.place = rng.random_range(-0.1..0.1);
        if !self.has(Fault::ResetKeeps) {
            self.time = 0.0;
        }
        if self.has(Fault::SlowReset) {
            std::thread::sleep(std::time::Duration::from_millis(4));
        }
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let given = f64::from(action.values()[0]);
        let force = if self.has(Fault::Unclipped) { given } else { given.clamp(-1.0, 1.0) };
        self.time += 1.0;
        let drift = if self.time % 2.0 == 0.0 { 0.01 } else { 0.0 };
        self.place =
            (self.place + 0.02 * force + drift + rng.random_range(-0.01..0.01)).clamp(-0.9, 0.9);
        if self.has(Fault::OutOfBounds) && self.time > 5.0 {
            self.place = 3.0;
        }
        if self.has(Fault::Slow) {
            std::thread::sleep(std::time::Duration::from_micros(400));
        }
        if self.has(Fault::Allocates) {
            std::hint::black_box(vec![self.place]);
        }
        assert!(!(self.has(Fault::Panics) && self.time > 5.0), "a wheel came off");
        self.last = -self.place.abs();
        let reward = match () {
            () if self.has(Fault::Huge) => 1e12,
            () if self.has(Fault::NotFinite) => f64::NAN,
            () => self.last + 0.5,
        };
        let success = if self.has(Fault::Success) && self.time > 3.0 { None } else { Some(false) };
        let ends = self.time >= 40.0;
        Step {
            reward,
            terminated: self.has(Fault::OwnLimit) && ends,
            truncated: self.has(Fault::Truncates) && ends,
            success,
        }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation[0] = self.place as f32;
        if !self.has(Fault::NotWritten) {
            observation[1] = 0.5;
        }
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        let offset = if self.has(Fault::Huge) { 1e12 - self.last } else { 0.5 };
        terms.copy_from_slice(&[self.last, if self.has(Fault::Terms) { 0.6 } else { offset }]);
    }

    fn state(&self) -> Vec<f64> {
        if self.has(Fault::HiddenState) {
            vec![self.place, self.last]
        } else {
            vec![self.place, self.last, self.time]
        }
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        match state {
            [place, last] if self.has(Fault::HiddenState) => {
                (self.place, self.last) = (*place, *last)
            }
            [place, last, time] => (self.place, self.last, self.time) = (*place, *last, *time),
            [place, last, time, ..] if self.has(Fault::AnyLength) => {
                (self.place, self.last, self.time) = (*place, *last, *time);
            }
            _ => return StateError::read::<3>(state).map(drop),
        }
        Ok(())
    }
}

/// What is found of the walk with this fault.
fn rules<const FAULT: usize>(effort: Effort) -> Vec<&'static str> {
    let entry = Entry::of::<Walk<FAULT>>("walk", "walk on a line");
    let task = entry.task(&TaskConfig::default()).expect("a task");
    let found = check(&task, effort, Some(&allocations));
    assert!(found.iter().all(|one| !one.problem.is_empty() && !one.cure.is_empty()));
    found.into_iter().map(|one| one.rule).collect()
}

#[test]
fn every_fault_is_found_and_nothing_else() {
    macro_rules! all {
        ($($fault:literal)*) => {
            $(
                let (fault, rule) = FAULTS[$fault];
                let found = rules::<$fault>(Effort::Full);
                let expected: Vec<&str> = [rule].into_iter().filter(|rule| !rule.is_empty()).collect();
                assert_eq!(found, expected, "{fault:?}");
            )*
        };
    }
    all!(0 1 2 3 4 5 7 8 9 10 11 12 13 14 15 16 17 18 19);
    // Its bounds are never the same twice, so that the rest says nothing.
    assert_eq!(rules::<6>(Effort::Full)[..1], ["spec"]);
    assert_eq!(rules::<0>(Effort::Short), [] as [&str; 0]);
    assert_eq!(rules::<4>(Effort::Short), ["bounds"]);
}

#[test]
fn nothing_is_wrong_with_the_built_in_environments() {
    let delayed = TaskConfig { action_delay: Some(ActionDelay::Steps(2)), ..TaskConfig::default() };
    let environments = Environments::default();
    let entries = environments.entries().iter();
    for (entry, config) in
        entries.flat_map(|entry| [(entry, TaskConfig::default()), (entry, delayed.clone())])
    {
        // Some need a file or a program, which is somebody's own.
        let Ok(task) = entry.task(&config) else { continue };
        let found = check(&task, Effort::Full, None);
        let found: Vec<_> = found.into_iter().filter(|one| !one.rule.starts_with("slow")).collect();
        assert_eq!(found, [], "{} {config:?}", entry.name);
    }
}

#[test]
fn the_command_says_what_it_has_found() {
    let place = Place::new();
    let ended = place.trainer(&["check-env", "pendulum"]);
    assert!(ended.stdout.contains("pendulum: "), "{ended:?}");
    place.write("c.toml", "[env]\nname = \"cliff\"\n[agent]\nalgorithm = \"ppo\"\n");
    let ended = place.trainer(&["check-env", "c.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(json["environment"], "cliff");
    let unknown = place.trainer(&["check-env", "pendulam"]);
    unknown.expect(2, &["did you mean `pendulum`?", "cartpole, "]);
}
