//! A trained policy at work, in the terminal or as a GIF.

mod animation;
mod gif;
pub mod picture;

use crate::cli::PlayArgs;
use crate::error::Error;
use crate::files;
use crate::progress;
use crate::run_dir::RunDir;
use crate::screen::Screen;
use crate::session::Trained;
use crate::terminal::{count, say};
use agents::Recording;
use envs::{Drawing, Registry};
use gif::Film;
use indicatif::ProgressBar;
use picture::{pictures, show};
use std::path::Path;

/// An episode that is shown.
pub struct Episode {
    /// Counted from 1.
    number: u32,
    /// How many are shown.
    of: u32,
    recording: Recording,
    /// `[steps + 1]`
    pictures: Vec<Drawing>,
}

impl Episode {
    /// Steps until its end.
    fn steps(&self) -> usize {
        self.recording.rewards.len()
    }

    /// How long a step is shown, s.
    fn seconds(&self) -> f64 {
        self.pictures[0].seconds
    }

    /// What is said of the moment after so many steps, in parts.
    fn caption(&self, step: usize, with_action: bool) -> Vec<String> {
        let Recording { actions, rewards, end, .. } = &self.recording;
        let mut parts = Vec::new();
        if self.of > 1 {
            parts.push(format!("episode {} of {}", self.number, self.of));
        }
        parts.push(format!("step {step} of {}", self.steps()));
        parts.push(format!("return {}", show(rewards[..step].iter().sum())));
        let success = end.and_then(|end| end.success).filter(|_| step == self.steps());
        parts.extend(success.map(|success| if success { "solved" } else { "not solved" }.into()));
        // What is longest comes last: a narrow terminal cuts it off.
        if with_action && step > 0 {
            let action: Vec<String> =
                actions[step - 1].iter().map(|&number| show(number.into())).collect();
            parts.push(format!("reward {}", show(rewards[step - 1])));
            parts.push(format!("action {}", action.join(", ")));
        }
        parts
    }
}

/// Shows the first episodes of an evaluation with this seed, the run's own unless it is given; in the
/// terminal unless a GIF's file is named.
///
/// # Errors
/// When there is no such policy, it or its environment fails, or the GIF can't be written.
pub fn replay(
    PlayArgs { policy, stochastic, seed }: PlayArgs,
    gif: Option<&Path>,
    episodes: u32,
    registry: &Registry,
) -> Result<(), Error> {
    let Trained { experiment, task, agent, .. } =
        Trained::load(&RunDir::at(policy.run), policy.checkpoint, registry)?;
    if let Some(path) = gif {
        files::output(path, &["gif"])?;
    }
    let seed = seed.unwrap_or(experiment.seed);
    let play = |index| {
        let recording = agents::record(agent.actor(), &task, seed, index, !stochastic, usize::MAX)
            .map_err(Error::Agent)?;
        let pictures = pictures(&recording, task.name())?;
        Ok(Episode { number: index + 1, of: episodes, recording, pictures })
    };
    let Some(path) = gif else {
        return animate((0..episodes).map(play));
    };
    let first = play(0)?;
    let mut film = Film::new(&first)?;
    film.add(&first)?;
    // Hidden where stderr is no terminal.
    let bar = ProgressBar::new(episodes.into()).with_position(1);
    bar.set_style(progress::style("{bar:8} {pos}/{len} episodes ETA {eta}"));
    for index in 1..episodes {
        film.add(&play(index)?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bytes = film.finish()?;
    files::write_atomically(path, &[&bytes])?;
    let size = bytes.len().div_ceil(1000);
    let episodes = count(episodes as usize, "episode");
    say(&format!("wrote {}: {episodes}, {size} kB\n", path.display()));
    Ok(())
}

/// Plays episodes in the terminal; prints the end of each where there is none.
fn animate(episodes: impl Iterator<Item = Result<Episode, Error>>) -> Result<(), Error> {
    let Some(mut screen) = Screen::open() else {
        for episode in episodes {
            say(&animation::last_picture(&episode?)?);
        }
        return Ok(());
    };
    for episode in episodes {
        if !animation::play(&mut screen, &episode?)? {
            break;
        }
    }
    Ok(())
}
