//! What a process says of its environment before anything else.

use crate::environment::Spec;
use crate::space::Space;
use serde::Deserialize;
use serde_json::Value;

/// The version of the protocol that is spoken here.
const VERSION: u64 = 1;
/// Numbers of an observation or an action, and choices, at most.
const MAX_WIDTH: usize = 1 << 20;

/// The first message of a process.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    #[serde(rename = "version")]
    _version: u64,
    /// What the environment calls itself.
    name: String,
    observation: Bounds,
    action: Actions,
    #[serde(default)]
    max_episode_steps: Option<u32>,
    #[serde(default)]
    reward_terms: Vec<String>,
    #[serde(default)]
    costs: Vec<String>,
    #[serde(default)]
    success: bool,
    /// Whether a copy's state can be had and put back.
    #[serde(default)]
    state: bool,
    /// How long a frame is shown, s, where frames can be had.
    #[serde(default)]
    pub(super) frame_seconds: Option<f64>,
    /// How long a step lasts, s, where time is a notion.
    #[serde(default)]
    step_seconds: Option<f64>,
    /// One for each number of an observation, or none.
    #[serde(default)]
    observation_names: Vec<String>,
    /// One for each number of an action or each choice, or none.
    #[serde(default)]
    action_names: Vec<String>,
}

/// Bounds, one for each number; null is none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    low: Vec<Option<f32>>,
    high: Vec<Option<f32>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "must be {\"n\": CHOICES} or {\"low\": [...], \"high\": [...]}")]
enum Actions {
    Choices { n: usize },
    Box(Bounds),
}

impl Hello {
    /// Reads the message.
    ///
    /// # Errors
    /// What is wrong with it, to be read after "the process".
    pub(super) fn read(payload: &[u8]) -> Result<Hello, String> {
        let wrong = |what: String| format!("says hello in a way that is not understood: {what}");
        let value: Value =
            serde_json::from_slice(payload).map_err(|error| wrong(error.to_string()))?;
        match &value["version"] {
            version if version.as_u64() == Some(VERSION) => {}
            version => {
                return Err(format!(
                    "speaks version {version} of the protocol, and this trainer version {VERSION}; \
                     take a trainer and a backburn-env of the same release"
                ));
            }
        }
        let hello = Hello::deserialize(value).map_err(|error| wrong(error.to_string()))?;
        hello.check().map_err(wrong)?;
        Ok(hello)
    }

    fn check(&self) -> Result<(), String> {
        let is_width = |width: usize| (1..=MAX_WIDTH).contains(&width);
        let bounds = |what: &str, Bounds { low, high }: &Bounds| {
            let are_pairs = low.len() == high.len() && is_width(low.len());
            let is_wrong = |(l, h): (&Option<f32>, &Option<f32>)| matches!((l, h), (Some(l), Some(h)) if l > h);
            match are_pairs && !low.iter().zip(high).any(is_wrong) {
                true => Ok(()),
                false => Err(format!(
                    "`{what}` needs a `low` and a `high` for each of 1 to {MAX_WIDTH} numbers, and no \
                     `low` above its `high`"
                )),
            }
        };
        bounds("observation", &self.observation)?;
        match &self.action {
            Actions::Box(action) => bounds("action", action)?,
            Actions::Choices { n } if !is_width(*n) => {
                return Err(format!("`action` has {n} choices; 1 to {MAX_WIDTH} are possible"));
            }
            Actions::Choices { .. } => {}
        }
        if self.max_episode_steps == Some(0) {
            return Err("`max_episode_steps` is 0; leave it out where there is no limit".into());
        }
        if self.frame_seconds.is_some_and(|seconds| !(1e-4..=10.0).contains(&seconds)) {
            return Err("`frame_seconds` must be from 0.0001 to 10".into());
        }
        if self.step_seconds.is_some_and(|seconds| !(1e-9..=1e9).contains(&seconds)) {
            return Err("`step_seconds` must be from 1e-9 to 1e9".into());
        }
        let of_action = match &self.action {
            Actions::Box(action) => (action.low.len(), "numbers"),
            Actions::Choices { n } => (*n, "choices"),
        };
        let of_observation = (self.observation.low.len(), "numbers");
        for (what, names, (count, of)) in [
            ("observation", &self.observation_names, of_observation),
            ("action", &self.action_names, of_action),
        ] {
            if !names.is_empty() && names.len() != count {
                let found = names.len();
                return Err(format!("`{what}_names` are {found}; `{what}` has {count} {of}"));
            }
        }
        Ok(())
    }

    /// What the environment is.
    pub(super) fn spec(&self) -> Spec {
        let space = |Bounds { low, high }: &Bounds| Space::Box {
            low: low.iter().map(|bound| bound.unwrap_or(f32::NEG_INFINITY)).collect(),
            high: high.iter().map(|bound| bound.unwrap_or(f32::INFINITY)).collect(),
        };
        let action_space = match &self.action {
            Actions::Choices { n } => Space::Discrete { n: *n },
            Actions::Box(bounds) => space(bounds),
        };
        let limit = self.max_episode_steps.unwrap_or(Spec::NO_LIMIT).min(Spec::NO_LIMIT);
        Spec {
            reports_success: self.success,
            reward_terms: self.reward_terms.clone(),
            costs: self.costs.clone(),
            saves_state: self.state,
            is_elsewhere: true,
            title: Some(self.name.clone()),
            observation_names: self.observation_names.clone(),
            action_names: self.action_names.clone(),
            step_seconds: self.step_seconds,
            ..Spec::new(space(&self.observation), action_space, limit)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HELLO: &str = r#"{"version": 1, "name": "x", "observation": {"low": [null], "high": [2]},
        "action": {"n": 3}}"#;

    #[test]
    fn what_is_left_out_is_not_there() {
        let spec = Hello::read(HELLO.as_bytes()).unwrap().spec();
        let bounds = Space::Box { low: vec![f32::NEG_INFINITY], high: vec![2.0] };
        let expected = Spec::new(bounds, Space::Discrete { n: 3 }, Spec::NO_LIMIT);
        let title = Some("x".to_owned());
        assert_eq!(spec, Spec { saves_state: false, is_elsewhere: true, title, ..expected });
    }

    #[test]
    fn what_numbers_are_and_how_long_a_step_lasts_is_taken_over() {
        let names = r#"{"step_seconds": 0.05, "observation_names": ["level [m]"],
            "action_names": ["in", "out", "none"], "#;
        let spec = Hello::read(HELLO.replacen('{', names, 1).as_bytes()).unwrap().spec();
        assert_eq!(spec.step_seconds, Some(0.05));
        assert_eq!(spec.observation_names, ["level [m]"]);
        assert_eq!(spec.action_names, ["in", "out", "none"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, expected) in [
            ("1,", "2,", "speaks version 2 of the protocol, and this trainer version 1"),
            ("\"version\": 1,", "", "speaks version null"),
            ("\"n\": 3", "\"n\": 0", "`action` has 0 choices"),
            ("\"n\": 3", "\"low\": [1], \"high\": [0]", "`action` needs a `low`"),
            ("[null]", "[null, 1]", "`observation` needs a `low`"),
            ("\"n\": 3", "\"m\": 3", "must be {\"n\": CHOICES}"),
            ("\"name\"", "\"cost\": [], \"name\"", "unknown field `cost`"),
            ("\"name\"", "\"step_seconds\": 0, \"name\"", "`step_seconds` must be"),
            (
                "\"name\"",
                "\"observation_names\": [\"a\", \"b\"], \"name\"",
                "`observation_names` are 2; `observation` has 1 numbers",
            ),
            (
                "\"name\"",
                "\"action_names\": [\"a\"], \"name\"",
                "`action_names` are 1; `action` has 3 choices",
            ),
            ("}}", "}", "EOF"),
        ] {
            let error = Hello::read(HELLO.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
        }
    }
}
