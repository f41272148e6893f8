//! Trained policies for other programs: the greedy policy in one file, from observation to action.

mod onnx;
mod safetensors;

use crate::error::Error;
use crate::experiment::run_dir::{POLICIES, RunDir, Which};
use crate::experiment::session::Trained;
use crate::files;
use crate::registry::Registry;
use crate::terminal::{Align, columns, command, hint, say};
use agents::{Decision, GreedyPolicy};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Kinds of files that a policy is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// Named tensors, for a few lines of numpy
    Safetensors,
    /// A graph that ONNX runtimes execute
    Onnx,
}

/// Name of the observations, `float32 [batch, n]`.
const INPUT: &str = "observation";
/// Name of the actions: `int64 [batch]` for discrete ones, otherwise `float32 [batch, m]`.
const OUTPUT: &str = "action";

impl ExportFormat {
    /// What names of such files end in.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            ExportFormat::Safetensors => POLICIES[0],
            ExportFormat::Onnx => POLICIES[1],
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
    ) -> std::io::Result<Vec<u8>> {
        match self {
            ExportFormat::Safetensors => safetensors::encode(policy, known),
            ExportFormat::Onnx => Ok(onnx::encode(policy, known)),
        }
    }
}

/// Writes a run's greedy policy to `output`, or to the run directory.
///
/// # Errors
/// When the run has no such checkpoint, the name does not fit the format, or the file can't be written.
pub fn export(
    run: &RunDir,
    which: Which,
    format: ExportFormat,
    output: Option<PathBuf>,
    registry: &Registry,
) -> Result<(), Error> {
    let trained = Trained::load(run, which, registry)?;
    let output = output.unwrap_or_else(|| run.policy(format.extension()));
    files::output(&output, &[format.extension()])?;
    let action_space = &trained.task.spec().action_space;
    let policy = trained.agent.actor().greedy(action_space);
    let content =
        format.encode(&policy, &known(&trained)).map_err(Error::io("can't be written", &output))?;
    files::write_atomically(&output, &[&content])?;
    say(&summary(format, &output, content.len(), &trained.checkpoint, &policy));
    if !trained.experiment.evaluates_greedily() {
        let eval = command("eval", run.path());
        hint(&format!(
            "the run's constraint is on sampled actions; `{eval} --greedy` says what the greedy policy costs"
        ));
    }
    Ok(())
}

/// Where a policy comes from.
fn known(trained: &Trained) -> Vec<(&'static str, String)> {
    let Trained { experiment, checkpoint, task, .. } = trained;
    let checkpoint = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let mut known = vec![
        ("environment", experiment.env.name.clone()),
        ("algorithm", experiment.agent.name().into()),
        ("experiment", experiment.name.clone()),
        ("seed", experiment.seed.to_string()),
        ("checkpoint", checkpoint.into_owned()),
        ("backburn", env!("CARGO_PKG_VERSION").into()),
    ];
    let spec = task.spec();
    for (key, names) in
        [("observation_names", &spec.observation_names), ("action_names", &spec.action_names)]
    {
        if !names.is_empty() {
            known.push((key, json!(names).to_string()));
        }
    }
    if let Some(seconds) = spec.step_seconds {
        known.push((
            "step_seconds",
            (seconds * f64::from(experiment.env.action_repeat)).to_string(),
        ));
    }
    known
}

fn summary(
    format: ExportFormat,
    output: &Path,
    size: usize,
    checkpoint: &Path,
    policy: &GreedyPolicy<'_>,
) -> String {
    let action = match policy.decision {
        Decision::Discrete => "int64 [batch]".to_owned(),
        Decision::Continuous { low, .. } => format!("float32 [batch, {}]", low.len()),
    };
    let observation = format!("float32 [batch, {}]", policy.observation_width());
    // The tensors of the other format have names of their own.
    let lines = match format {
        ExportFormat::Onnx => [["input", INPUT, &observation], ["output", OUTPUT, &action]],
        ExportFormat::Safetensors => [["observation", &observation, ""], ["action", &action, ""]],
    };
    format!(
        "wrote {}, {} kB: greedy policy of {}\n{}",
        output.display(),
        size.div_ceil(1000),
        checkpoint.display(),
        columns(&lines.map(|line| line.map(str::to_owned).to_vec()), Align::Left)
    )
}
