//! Trained policies for other programs: the greedy policy in one file, from observation to action.

use crate::error::Error;
use crate::experiment::run_dir::{RunDir, Which};
use crate::experiment::session::Trained;
use crate::files;
use crate::registry::Registry;
use crate::terminal::{Align, columns, command, hint, say};
use agents::export::known_of_task;
use agents::{Decision, ExportFormat, GreedyPolicy};
use std::path::{Path, PathBuf};

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
    if !trained.experiment.agent.evaluates_greedily() {
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
    let mut known = known_of_task(task);
    known.extend([
        ("algorithm", experiment.agent.name().into()),
        ("experiment", experiment.name.clone()),
        ("seed", experiment.seed.to_string()),
        ("checkpoint", checkpoint.into_owned()),
    ]);
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
        ExportFormat::Onnx => [
            ["input", ExportFormat::INPUT, &observation],
            ["output", ExportFormat::OUTPUT, &action],
        ],
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
