//! Settings that move while training.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A setting that may move while training: a number, or
/// `{ start = 1e-3, end = 0.0, schedule = "linear" }`.
///
/// ```
/// use agents::Schedule;
///
/// let schedule = Schedule { start: 1e-3, end: 0.0 };
/// assert_eq!(schedule.at(0.25), 7.5e-4);
/// assert_eq!(Schedule::constant(0.2).at(0.9), 0.2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Value in the first iteration.
    pub start: f64,
    /// Value that the schedule would reach after the last iteration.
    pub end: f64,
}

impl Schedule {
    /// A schedule that stays at one value.
    #[must_use]
    pub const fn constant(value: f64) -> Schedule {
        Schedule { start: value, end: value }
    }

    /// The value at `progress`, the share of all iterations that is done: 0 in the first.
    #[must_use]
    pub fn at(&self, progress: f64) -> f64 {
        self.start + (self.end - self.start) * progress
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleTable {
    /// Value in the first iteration.
    start: f64,
    /// Value that would follow the last one.
    end: f64,
    /// The shape.
    #[serde(default)]
    schedule: ScheduleKind,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ScheduleKind {
    #[default]
    Linear,
}

impl JsonSchema for Schedule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    /// What holds for a table does not bother a number, and the other way round.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = ScheduleTable::json_schema(generator);
        schema.insert("type".into(), vec!["number", "object"].into());
        schema
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.start == self.end {
            return serializer.serialize_f64(self.start);
        }
        ScheduleTable { start: self.start, end: self.end, schedule: ScheduleKind::Linear }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrTable;

        impl<'de> Visitor<'de> for NumberOrTable {
            type Value = Schedule;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or a table like { start = 1e-3, end = 0.0 }")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Schedule, E> {
                Ok(Schedule::constant(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Schedule, E> {
                Ok(Schedule::constant(value as f64))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
                let table = ScheduleTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Schedule { start: table.start, end: table.end })
            }
        }

        deserializer.deserialize_any(NumberOrTable)
    }
}
