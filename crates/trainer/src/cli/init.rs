//! `trainer init`, `schema` and `completions`: what helps to write configurations and commands.

use crate::cli;
use crate::error::Error;
use crate::experiment::config;
use crate::files;
use crate::registry::Registry;
use crate::terminal::{self, command, program, say};
use clap_complete::Shell;
use envs::{Entry, Space, Spec, TaskConfig};
use std::path::{Path, PathBuf};

/// The tuned configurations of the built-in environments, by algorithm and environment.
const TUNED: [(&str, &str, &str); 14] = [
    ("ppo", "cartpole", include_str!("../../configs/ppo_cartpole.toml")),
    ("ppo", "pendulum", include_str!("../../configs/ppo_pendulum.toml")),
    ("ppo", "reach", include_str!("../../configs/ppo_reach.toml")),
    ("ppo", "cliff", include_str!("../../configs/ppo_cliff.toml")),
    ("ppo", "gusty", include_str!("../../configs/ppo_gusty.toml")),
    ("ppo", "budget", include_str!("../../configs/ppo_budget.toml")),
    ("trpo", "cartpole", include_str!("../../configs/trpo_cartpole.toml")),
    ("trpo", "pendulum", include_str!("../../configs/trpo_pendulum.toml")),
    ("trpo", "reach", include_str!("../../configs/trpo_reach.toml")),
    ("trpo", "cliff", include_str!("../../configs/trpo_cliff.toml")),
    ("trpo", "gusty", include_str!("../../configs/trpo_gusty.toml")),
    ("trpo", "budget", include_str!("../../configs/trpo_budget.toml")),
    ("cpo", "gusty", include_str!("../../configs/cpo_gusty.toml")),
    ("cpo", "budget", include_str!("../../configs/cpo_budget.toml")),
];

/// Writes a configuration to start from.
///
/// # Errors
/// When the file is there already, or can't be written.
pub fn init(
    env: &str,
    algorithm: &str,
    program: Option<&str>,
    output: Option<PathBuf>,
    registry: &Registry,
) -> Result<(), Error> {
    let entry = registry
        .environments
        .get(env)
        .ok_or_else(|| Error::Usage(format!("there is no `{env}`")))?;
    let program = match (entry.name, program) {
        ("process", Some(program)) => Some(Program::ask(&entry, program)?),
        ("process", None) => {
            let message = "process: say which program has the environment, such as \
                           --command \"python3 -m backburn_env CartPole-v1\"";
            return Err(Error::Usage(message.into()));
        }
        (_, Some(_)) => {
            let message = format!("--command is for the environment process, and not for {env}");
            return Err(Error::Usage(message));
        }
        _ => None,
    };
    let env = program.as_ref().and_then(|program| program.spec.title.as_deref()).unwrap_or(env);
    // An environment may be called what a file can't.
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = format!("{algorithm}_{env}").chars().map(plain).collect();
    let text = match tuned(&entry, algorithm) {
        // Nobody tunes the task; what can be changed of it is there to be seen.
        Some(text) => text.to_owned() + &config::init_parameters(&entry),
        None => {
            let has_none = config::costs(&entry).is_empty();
            let known = registry.algorithms.get(algorithm);
            if let Some(one) = known.filter(|one| one.needs_constraint && has_none) {
                return Err(Error::Usage(format!(
                    "{env} has no cost with its default parameters, and {} keeps a limit on one",
                    one.title
                )));
            }
            config::init(&entry, algorithm, &name, registry)
        }
    };
    let text = match &program {
        Some(program) => program.put_into(&text, env, &entry),
        None => text,
    };
    let path = output.unwrap_or_else(|| format!("{name}.toml").into());
    files::output(&path, &["toml"])?;
    let shown = path.display();
    if path.exists() {
        return Err(Error::Usage(format!(
            "{shown}: is there already, and is not replaced; give another name (-o FILE.toml)"
        )));
    }
    files::write_atomically(&path, &[text.as_bytes()])?;
    say(&format!("wrote {shown}\n  train  {}\n", command("run", &path)));
    Ok(())
}

/// A program that has an environment, and what it says of it.
struct Program {
    words: Vec<String>,
    spec: Spec,
}

impl Program {
    /// Starts it once.
    fn ask(entry: &Entry, command: &str) -> Result<Program, Error> {
        let wrong = |message: String| Error::Usage(format!("--command {command:?}: {message}"));
        let words = shlex::split(command).ok_or_else(|| wrong("a quote is not closed".into()))?;
        let parameters = [("command".to_owned(), words.clone().into())].into_iter().collect();
        let config = TaskConfig { parameters, ..TaskConfig::default() };
        let task = entry.task(&config).map_err(|error| wrong(error.message))?;
        Ok(Program { words, spec: task.spec().clone() })
    }

    /// A configuration with this program, and with what it has.
    fn put_into(&self, text: &str, name: &str, entry: &Entry) -> String {
        let Spec { observation_space, action_space, reward_terms, costs, .. } = &self.spec;
        let bounds = |bounds: &[f32]| match bounds.iter().all(|bound| *bound == bounds[0]) {
            true => format!("{:?}", bounds[0]),
            false => format!("{bounds:?}"),
        };
        let actions = match action_space {
            Space::Discrete { n } => format!("{n} choices"),
            Space::Box { low, high } => {
                let count = terminal::count(low.len(), "number");
                format!("{count} from {} to {}", bounds(low), bounds(high))
            }
        };
        let mut found = format!(
            "# It has: observations of {}; actions of {actions}; episodes of {}",
            terminal::count(observation_space.width(), "number"),
            match self.spec.max_episode_steps {
                Spec::NO_LIMIT => "any length".into(),
                steps => format!("{steps} steps at most"),
            },
        );
        for (what, names) in [("terms of the reward", reward_terms), ("costs", costs)] {
            if !names.is_empty() {
                found += &format!("; {what} {}", names.join(", "));
            }
        }
        let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
        let title = title.replacen(&format!("process: {}", entry.description), name, 1);
        let command = format!("command = {}", toml::Value::from(self.words.clone()));
        let line = |line: &str| match line.strip_prefix("command = []") {
            Some(comment) => format!("{command}  {}\n", comment.trim_start()),
            None => format!("{line}\n"),
        };
        format!("{title}\n{found}.\n{}", rest.lines().map(line).collect::<String>())
    }
}

/// The tuned configuration of a built-in environment; `None` for one of the user's own, which may go by
/// the name of a built-in one.
fn tuned(entry: &Entry, algorithm: &str) -> Option<&'static str> {
    envs::Environments::default()
        .get(entry.name)
        .filter(|known| known.description == entry.description)?;
    TUNED.iter().find(|one| (one.0, one.1) == (algorithm, entry.name)).map(|one| one.2)
}

/// Prints the JSON Schema of a configuration, or writes it to a file.
///
/// # Errors
/// When the file can't be written.
pub fn schema(output: Option<&Path>, registry: &Registry) -> Result<(), Error> {
    let text = format!("{:#}\n", config::schema(registry));
    let Some(path) = output else {
        say(&text);
        return Ok(());
    };
    files::output(path, &["json"])?;
    files::write_atomically(path, &[text.as_bytes()])?;
    say(&format!("wrote {}\n", path.display()));
    Ok(())
}

/// Prints a script for a shell that completes the command line of this program, whatever it is called.
pub fn completions(shell: Shell, registry: &Registry) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(registry), program(), &mut script);
    say(&String::from_utf8_lossy(&script));
}

#[cfg(test)]
mod tests {
    use super::*;
    use agents::Algorithms;

    #[test]
    fn every_built_in_environment_has_a_tuned_configuration_for_every_algorithm() {
        // The robot of `arm` is the user's own, and its configurations are named by their robots.
        let environments = envs::Environments::default();
        for entry in environments.simulated().filter(|entry| entry.name != "arm") {
            let has_costs = !config::costs(entry).is_empty();
            let known = Algorithms::default();
            for one in known.all().iter().filter(|one| has_costs || !one.needs_constraint) {
                assert!(tuned(entry, one.name).is_some(), "{} on {}", one.name, entry.name);
            }
        }
        let own = Entry::of::<envs::Pendulum>("cartpole", "a cart and a pole of my own");
        assert_eq!(tuned(&own, "ppo"), None, "a user's own environment replaces a built-in one");
    }
}
