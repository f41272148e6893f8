//! Trained policies for other programs: the greedy policy in one file, from observation to action.

mod onnx;
mod safetensors;

use crate::greedy::GreedyPolicy;
use envs::Task;
use serde_json::json;
use std::io;
use std::str::FromStr;

/// Kinds of files that a policy is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Named tensors, for a few lines of numpy.
    Safetensors,
    /// A graph that ONNX runtimes execute.
    Onnx,
}

impl ExportFormat {
    /// All formats.
    pub const ALL: [ExportFormat; 2] = [ExportFormat::Safetensors, ExportFormat::Onnx];

    /// Name of the observations in ONNX, `float32 [batch, n]`.
    pub const INPUT: &str = "observation";
    /// Name of the actions in ONNX: `int64 [batch]` for discrete ones, otherwise `float32 [batch, m]`.
    pub const OUTPUT: &str = "action";

    /// Name of the format, which is what names of such files end in.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            ExportFormat::Safetensors => "safetensors",
            ExportFormat::Onnx => "onnx",
        }
    }

    /// The content of a file of this format. What is known of the policy goes in as metadata; the same
    /// arguments give the same bytes.
    ///
    /// # Errors
    /// When the format has no room for a policy of this size.
    pub fn encode(
        self,
        policy: &GreedyPolicy<'_>,
        known: &[(&str, String)],
    ) -> io::Result<Vec<u8>> {
        match self {
            ExportFormat::Safetensors => safetensors::encode(policy, known),
            ExportFormat::Onnx => Ok(onnx::encode(policy, known)),
        }
    }
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<ExportFormat, String> {
        let found = ExportFormat::ALL.into_iter().find(|format| format.extension() == name);
        found.ok_or_else(|| format!("there is no format `{name}`; there is: safetensors, onnx"))
    }
}

/// What both formats say of the task that a policy was trained on: the environment, and where its
/// [`Spec`](envs::Spec) says them the names of observations and actions with their units, as JSON arrays, and the
/// seconds between two actions.
#[must_use]
pub fn known_of_task(task: &Task) -> Vec<(&'static str, String)> {
    let spec = task.spec();
    let mut known = vec![
        ("environment", spec.title.clone().unwrap_or_else(|| task.name().to_owned())),
        ("backburn", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    for (key, names) in
        [("observation_names", &spec.observation_names), ("action_names", &spec.action_names)]
    {
        if !names.is_empty() {
            known.push((key, json!(names).to_string()));
        }
    }
    if let Some(seconds) = spec.step_seconds {
        known.push(("step_seconds", seconds.to_string()));
    }
    known
}
