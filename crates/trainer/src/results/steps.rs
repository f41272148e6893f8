//! What a policy did, step by step, as a table: for plots and programs of one's own.

use crate::error::Error;
use crate::files;
use agents::Recording;
use envs::Spec;
use std::path::Path;

/// Writes a row a step of some episodes: which episode and step; what was seen and done, one column for each
/// number; the reward and its terms; the costs; whether the episode ended with it, and its success.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, spec: &Spec, episodes: &[Recording]) -> Result<(), Error> {
    let widths = [spec.observation_space.width(), spec.action_space.width()];
    let [observations, actions] = [("observation", widths[0]), ("action", widths[1])]
        .map(|(name, width)| (0..width).map(move |index| format!("{name}_{index}")));
    let mut header = ["episode", "step"].map(str::to_owned).to_vec();
    header.extend(observations);
    header.extend(actions);
    header.push("reward".into());
    header.extend(spec.reward_terms.iter().map(|name| format!("reward_{name}")));
    header.extend(spec.costs.iter().map(|name| format!("cost_{name}")));
    header.extend(["ended", "success"].map(str::to_owned));
    let mut lines = vec![header];
    for (episode, recording) in episodes.iter().enumerate() {
        for step in 0..recording.rewards.len() {
            let ends = step + 1 == recording.rewards.len();
            let end = recording.end.filter(|_| ends);
            let success = end.and_then(|end| end.success).map(u8::from);
            let mut line = vec![(episode + 1).to_string(), step.to_string()];
            line.extend(recording.observations[step].iter().map(f32::to_string));
            line.extend(recording.actions[step].iter().map(f32::to_string));
            line.push(recording.rewards[step].to_string());
            line.extend(recording.reward_terms[step].iter().map(f64::to_string));
            line.extend(recording.costs[step].iter().map(f64::to_string));
            line.push(u8::from(end.is_some()).to_string());
            line.push(success.map_or_else(String::new, |success| success.to_string()));
            lines.push(line);
        }
    }
    files::write_csv(path, &lines)
}
