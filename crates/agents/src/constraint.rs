//! Constraints: limits on what an episode costs, as a TOML file names them.

use crate::algorithm::Rollout;
use crate::config::{Check, ConfigError};
use envs::Spec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// A cost whose mean over episodes is kept within a limit, or is charged at a fixed price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Constraint {
    /// Which of the environment's costs.
    pub cost: String,
    /// Limit on the mean cost of an episode: undiscounted, of the policy that samples its actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9), example = 1.0)]
    pub limit: Option<f64>,
    /// Proportional gain of the multiplier's controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9), extend("default" = Self::KP))]
    pub kp: Option<f64>,
    /// Integral gain of the multiplier's controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9), extend("default" = Self::KI))]
    pub ki: Option<f64>,
    /// Derivative gain of the multiplier's controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9), extend("default" = Self::KD))]
    pub kd: Option<f64>,
    /// Charge the cost at this price, in reward per unit of cost, instead of keeping a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9), example = 0.3)]
    pub multiplier: Option<f64>,
    /// Discount factor of the cost; `agent.gamma` where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), example = 0.99)]
    pub cost_gamma: Option<f64>,
    /// Decay of the cost's generalised advantage estimation; `agent.gae_lambda` where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), example = 0.95)]
    pub cost_gae_lambda: Option<f64>,
}

impl Constraint {
    /// Proportional gain where none is given.
    pub const KP: f64 = 1.0;
    /// Integral gain where none is given.
    pub const KI: f64 = 0.05;
    /// Derivative gain where none is given.
    pub const KD: f64 = 0.0;

    /// A limit on this cost, kept by a controller with the default gains.
    #[must_use]
    pub fn on(cost: &str, limit: f64) -> Constraint {
        Constraint { cost: cost.to_owned(), limit: Some(limit), ..Constraint::default() }
    }

    /// The gains of the controller: proportional, integral, derivative.
    #[must_use]
    pub fn gains(&self) -> [f64; 3] {
        [self.kp.unwrap_or(Self::KP), self.ki.unwrap_or(Self::KI), self.kd.unwrap_or(Self::KD)]
    }

    /// Discount factor and decay of the cost's critic.
    #[must_use]
    pub fn discounts(&self, rollout: Rollout) -> (f64, f64) {
        let Rollout { gamma, gae_lambda, .. } = rollout;
        (self.cost_gamma.unwrap_or(gamma), self.cost_gae_lambda.unwrap_or(gae_lambda))
    }

    /// The keys of a controller that are given, with their values.
    fn controller_keys(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let keys = [("kp", self.kp), ("ki", self.ki), ("kd", self.kd)];
        keys.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }

    /// The keys that are given and that only a Lagrangian method knows.
    pub(crate) fn lagrangian_keys(&self) -> impl Iterator<Item = &'static str> {
        let multiplier = self.multiplier.map(|_| "multiplier");
        self.controller_keys().map(|(key, _)| key).chain(multiplier)
    }

    fn validate(&self, check: &Check) -> Result<(), ConfigError> {
        if self.cost.is_empty() {
            return check.fail("constraint", "has no `cost`; give the name of one");
        }
        match (self.limit, self.multiplier) {
            (None, None) => {
                let message = "has no `limit`; give one, or a fixed `multiplier`";
                return check.fail("constraint", message);
            }
            (Some(_), Some(_)) => {
                let message = "can't stand beside limit, to which the multiplier is steered: remove one \
                               of them";
                return check.fail("constraint.multiplier", message);
            }
            (Some(limit), None) => check.range("constraint.limit", limit, 0.0, 1e9)?,
            (None, Some(multiplier)) => {
                check.range("constraint.multiplier", multiplier, 0.0, 1e9)?;
                if let Some((key, _)) = self.controller_keys().next() {
                    let message = "steers the multiplier, which is fixed: remove one of them";
                    return check.fail(&format!("constraint.{key}"), message);
                }
            }
        }
        for (key, gain) in self.controller_keys() {
            check.range(&format!("constraint.{key}"), gain, 0.0, 1e9)?;
        }
        let discounts =
            [("cost_gamma", self.cost_gamma), ("cost_gae_lambda", self.cost_gae_lambda)];
        discounts.into_iter().try_for_each(|(key, value)| match value {
            Some(value) => check.range(&format!("constraint.{key}"), value, 0.0, 1.0),
            None => Ok(()),
        })
    }
}

/// All constraints of an agent, at least one: `[agent.constraint]`, or several `[[agent.constraint]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraints(Vec<Constraint>);

impl Constraints {
    /// These.
    #[must_use]
    pub fn new(constraints: Vec<Constraint>) -> Constraints {
        Constraints(constraints)
    }

    /// An example for those who write a configuration.
    #[must_use]
    pub fn example() -> Constraints {
        Constraints(vec![Constraint::on("cost", 1.0)])
    }

    /// Fills in discounts, and the gains where a multiplier is `steered`.
    #[must_use]
    pub fn resolved(mut self, rollout: Rollout, steered: bool) -> Constraints {
        for constraint in &mut self.0 {
            let (gamma, gae_lambda) = constraint.discounts(rollout);
            constraint.cost_gamma = Some(gamma);
            constraint.cost_gae_lambda = Some(gae_lambda);
            if steered && constraint.multiplier.is_none() {
                let [kp, ki, kd] = constraint.gains();
                (constraint.kp, constraint.ki, constraint.kd) = (Some(kp), Some(ki), Some(kd));
            }
        }
        self
    }
}

/// Checks every value of an agent's constraints.
///
/// # Errors
/// The first value out of its range, and two constraints on one cost.
pub(crate) fn validate(constraints: &[Constraint], check: &Check) -> Result<(), ConfigError> {
    for (index, constraint) in constraints.iter().enumerate() {
        // Of several, a key does not say which is meant.
        constraint.validate(check).map_err(|error| match constraints.len() {
            1 => error,
            _ => {
                let key = "agent.constraint".to_owned();
                let within = error.key.strip_prefix("agent.constraint").unwrap_or_default();
                let within = within.trim_start_matches('.');
                let colon = if within.is_empty() { "" } else { ": " };
                let message = format!("number {}: {within}{colon}{}", index + 1, error.message);
                ConfigError { key, message }
            }
        })?;
        if constraints[..index].iter().any(|other| other.cost == constraint.cost) {
            let message = format!("there are two on `{}`: remove one of them", constraint.cost);
            return check.fail("constraint", message);
        }
    }
    Ok(())
}

/// The place of each constraint's cost in [`Spec::costs`].
///
/// # Errors
/// When the environment has no cost of that name; the message lists those it has.
pub fn cost_indices(constraints: &[Constraint], spec: &Spec) -> Result<Vec<usize>, ConfigError> {
    let index = |constraint: &Constraint| {
        let Constraint { cost, .. } = constraint;
        let found = spec.costs.iter().position(|name| name == cost);
        found.ok_or_else(|| ConfigError {
            // Of several, a key does not say which is meant.
            key: match constraints.len() {
                1 => "agent.constraint.cost".to_owned(),
                _ => "agent.constraint".to_owned(),
            },
            message: match &spec.costs[..] {
                [] => format!("the environment has no cost `{cost}`; it has no cost at all"),
                costs => {
                    format!("the environment has no cost `{cost}`; there is: {}", costs.join(", "))
                }
            },
        })
    };
    constraints.iter().map(index).collect()
}

/// What a metric of one cost is called: that of the only one has no more to say, that of one of several
/// ends in the cost's name.
#[must_use]
pub fn cost_metric(metric: &'static str, cost: &str, costs: usize) -> Cow<'static, str> {
    if costs == 1 { metric.into() } else { format!("{metric}/{cost}").into() }
}

impl Deref for Constraints {
    type Target = [Constraint];

    fn deref(&self) -> &[Constraint] {
        &self.0
    }
}

impl Serialize for Constraints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Constraints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Constraints, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Constraints;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a table like { cost = \"NAME\", limit = 1.0 }, or several")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Constraints, A::Error> {
                let one = Constraint::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Constraints(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Constraints, A::Error> {
                let several = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                if several.is_empty() {
                    return Err(serde::de::Error::custom(
                        "is empty; give one constraint or several",
                    ));
                }
                Ok(Constraints(several))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

impl JsonSchema for Constraints {
    fn schema_name() -> Cow<'static, str> {
        "Constraints".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Constraint>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Agent {
        constraint: Constraints,
    }

    #[test]
    fn one_is_a_table_and_several_are_an_array_of_tables() {
        let one = Constraint::on("fall", 0.5);
        let other =
            Constraint { multiplier: Some(0.3), limit: None, ..Constraint::on("heat", 0.0) };
        for constraints in [vec![one.clone()], vec![one, other]] {
            let several = constraints.len() > 1;
            let agent = Agent { constraint: Constraints(constraints) };
            let text = toml::to_string(&agent).expect("TOML");
            assert_eq!(text.contains("[[constraint]]"), several, "{text}");
            assert_eq!(toml::from_str::<Agent>(&text).expect("the same"), agent);
        }
    }

    #[test]
    fn what_is_not_given_is_the_rewards() {
        let rollout = Rollout { steps: 1, gamma: 0.9, gae_lambda: 0.8 };
        let given = Constraint { cost_gamma: Some(1.0), ..Constraint::on("fall", 0.5) };
        let resolved = Constraints(vec![given]).resolved(rollout, true);
        assert_eq!(resolved[0].discounts(rollout), (1.0, 0.8));
        assert_eq!(resolved[0].kp, Some(1.0));
        let fixed = Constraint { multiplier: Some(0.3), ..Constraint::default() };
        let resolved = Constraints(vec![fixed]).resolved(rollout, true);
        assert_eq!((resolved[0].kp, resolved[0].cost_gamma), (None, Some(0.9)));
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let check = Check::table("agent");
        let fails = |constraints: &[Constraint], key: &str, text: &str| {
            let error = validate(constraints, &check).expect_err(text);
            assert_eq!(error.key, key);
            assert!(error.message.contains(text), "{error}");
        };
        let good = Constraint::on("fall", 0.5);
        validate(std::slice::from_ref(&good), &check).expect("a good one");
        fails(
            &[Constraint::on("fall", -0.5)],
            "agent.constraint.limit",
            "is -0.5; must be a number",
        );
        fails(&[Constraint::default()], "agent.constraint", "no `cost`");
        let bare = Constraint { limit: None, ..good.clone() };
        fails(std::slice::from_ref(&bare), "agent.constraint", "no `limit`");
        let both = Constraint { multiplier: Some(1.0), ..good.clone() };
        fails(&[both], "agent.constraint.multiplier", "remove one of them");
        let steered = Constraint { multiplier: Some(1.0), ki: Some(1.0), ..bare };
        fails(&[steered], "agent.constraint.ki", "which is fixed");
        let gain = Constraint { kp: Some(-1.0), ..good.clone() };
        fails(std::slice::from_ref(&gain), "agent.constraint.kp", "is -1");
        fails(&[Constraint::on("heat", 1.0), gain], "agent.constraint", "number 2: kp: is -1");
        fails(&[good.clone(), good.clone()], "agent.constraint", "two on `fall`");
        let discount = Constraint { cost_gamma: Some(1.5), ..good };
        fails(&[discount], "agent.constraint.cost_gamma", "is 1.5");
    }
}
