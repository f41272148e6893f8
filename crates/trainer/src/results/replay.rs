//! A trained policy at work, in the terminal or as a GIF.

mod animation;
mod episode;
mod gif;
pub mod picture;

use crate::error::Error;
use crate::experiment::run_dir::{RunDir, Which};
use crate::experiment::session::Trained;
use crate::files;
use crate::registry::Registry;
use crate::results::screen::Screen;
use crate::results::steps;
use crate::terminal::{bar_style, count, say};
use episode::ReplayedEpisode;
use gif::Film;
use indicatif::ProgressBar;
use picture::pictures;
use std::path::PathBuf;

/// Which episodes of a policy are shown.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// How many.
    pub episodes: u32,
    /// Their seed; the run's own where not given.
    pub seed: Option<u64>,
    /// With the policy's most probable actions, or with sampled ones; as the run evaluates where not given.
    pub greedy: Option<bool>,
}

/// Where they are shown.
#[derive(Clone, Debug)]
pub enum Show {
    /// In the terminal.
    Terminal,
    /// As a GIF in this file.
    Gif(PathBuf),
    /// As a table with a row a step in this file.
    Csv(PathBuf),
}

/// Shows the first episodes of an evaluation.
///
/// # Errors
/// When there is no such policy, it or its environment fails, or the GIF can't be written.
pub fn replay(
    run: &RunDir,
    which: Which,
    Chosen { episodes, seed, greedy }: Chosen,
    show: Show,
    registry: &Registry,
) -> Result<(), Error> {
    match &show {
        Show::Terminal => {}
        Show::Gif(path) => drop(files::output(path, &["gif"])?),
        Show::Csv(path) => drop(files::output(path, &["csv"])?),
    }
    let Trained { experiment, task, agent, .. } = Trained::load(run, which, registry)?;
    let seed = seed.unwrap_or(experiment.seed);
    let greedy = greedy.unwrap_or(experiment.agent.evaluates_greedily());
    let record = |index| {
        agents::record(agent.actor(), &task, seed, index, greedy, usize::MAX).map_err(Error::Agent)
    };
    let play = |index| {
        let recording = record(index)?;
        let pictures = pictures(&recording, task.name())?;
        let (number, costs) = (index + 1, task.spec().costs.clone());
        Ok(ReplayedEpisode { number, of: episodes, costs, recording, pictures })
    };
    let path = match show {
        Show::Terminal => return animate((0..episodes).map(play)),
        Show::Csv(path) => {
            let recordings: Vec<_> = (0..episodes).map(record).collect::<Result<_, Error>>()?;
            steps::write(&path, task.spec(), &recordings)?;
            let episodes = count(episodes as usize, "episode");
            say(&format!("wrote {}: {episodes}\n", path.display()));
            return Ok(());
        }
        Show::Gif(path) => path,
    };
    let first = play(0)?;
    let mut film = Film::new(&first)?;
    film.add(&first)?;
    // Hidden where stderr is no terminal.
    let bar = ProgressBar::new(episodes.into()).with_position(1);
    bar.set_style(bar_style("{bar:8} {pos}/{len} episodes ETA {eta}"));
    for index in 1..episodes {
        film.add(&play(index)?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bytes = film.finish()?;
    files::write_atomically(&path, &[&bytes])?;
    let size = bytes.len().div_ceil(1000);
    let episodes = count(episodes as usize, "episode");
    say(&format!("wrote {}: {episodes}, {size} kB\n", path.display()));
    Ok(())
}

/// Plays episodes in the terminal; prints the end of each where there is none.
fn animate(episodes: impl Iterator<Item = Result<ReplayedEpisode, Error>>) -> Result<(), Error> {
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
