//! The command line.

mod bench;
pub mod commands;
mod init;
mod list;

use crate::experiment::config;
use crate::experiment::run_dir::Which;
use crate::registry::Registry;
use crate::results::failures::Thresholds;
use crate::results::plot::Axis;
use crate::sweep::Shard;
use crate::terminal::{program, quoted};
use agents::ops::kernel::Level;
use agents::{Backend, ExportFormat};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Trains reinforcement-learning policies with PPO and TRPO.
///
/// One TOML file describes an experiment; a run leaves a directory that can be resumed, evaluated
/// and opened in TensorBoard.
#[derive(Debug, Parser)]
#[command(name = "trainer", version = version(), after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Version, commit, features, and what the kernels compute with here.
fn version() -> &'static str {
    let features = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("mpi", cfg!(feature = "mpi")),
    ];
    let features: Vec<&str> =
        features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
    format!(
        "{}\ncommit    {}\nfeatures  {}\nkernels   {}",
        env!("CARGO_PKG_VERSION"),
        env!("BACKBURN_COMMIT"),
        features.join(", "),
        Level::default()
    )
    .leak()
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed while running
  2    bad usage, configuration or checkpoint
  130  interrupted (Ctrl-C, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2); `resume` goes on from the last checkpoint";

/// The command line of a program with these environments and algorithms.
#[must_use]
pub fn command(registry: &Registry) -> clap::Command {
    let environments =
        registry.environments.entries().iter().map(|entry| (entry.name, entry.description));
    let algorithms = registry.algorithms.all().iter().map(|one| (one.name, one.description));
    let (environments, algorithms) = (names(environments), names(algorithms));
    Cli::command().mut_subcommand("init", |init| {
        init.mut_arg("algorithm", |algorithm| algorithm.value_parser(algorithms))
            .mut_arg("env", |env| env.value_parser(environments))
    })
}

/// What somebody meant who wrote a flag that is none: a key of the configuration, most of the time.
#[must_use]
pub fn hint(error: &clap::Error, arguments: &[String], registry: &Registry) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_gymnasiums = |word: &&String| {
        word.rsplit_once("-v").is_some_and(|(_, version)| version.parse::<u32>().is_ok())
    };
    if ["<ENV>", "--env"].contains(&&**flag)
        && let Some(id) = arguments.iter().find(is_gymnasiums)
    {
        return Some(format!(
            "Gymnasium's environments are in another process: {} init process ppo --command \"python3 -m \
             backburn_env {id}\"",
            program()
        ));
    }
    let at = arguments.iter().position(|argument| argument.split('=').next() == Some(flag))?;
    let is_number = |text: &String| text.parse::<f64>().is_ok();
    if is_number(flag) && at > 0 && arguments[at - 1] == "--seed" {
        return Some("--seed takes a whole number, 0 or more".to_owned());
    }
    let name = flag.strip_prefix("--")?.replace('-', "_");
    let given = arguments[at].split_once('=').map(|(_, value)| value.to_owned());
    let given =
        given.or_else(|| arguments.get(at + 1).filter(|next| !next.starts_with("--")).cloned());
    let value = given.unwrap_or_else(|| "VALUE".to_owned());
    if name == "seeds" {
        let set = quoted(&format!("sweep.seeds=[{value}]")).into_owned();
        return Some(format!("several seeds are a sweep: --set {set}"));
    }
    let key = config::dotted_key(&name, registry)?;
    Some(format!("{flag} is a key of the configuration: --set {key}={value}"))
}

/// A name out of a list, each with a line about it.
fn names(list: impl IntoIterator<Item = (&'static str, &'static str)>) -> PossibleValuesParser {
    let value = |(name, about)| PossibleValue::new(name).help(about);
    PossibleValuesParser::new(list.into_iter().map(value))
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration to start from
    ///
    /// The file is ALGORITHM_ENV.toml unless --output says otherwise; a file that is there is not
    /// replaced. For the built-in environments its values are tuned, and reach what the book reports.
    /// For the environment `process` --command names the program that has it, which is asked what it is.
    Init {
        /// Environment
        #[arg(index = 1)] // else the order changes where `command` names the environments
        env: String,
        /// Algorithm
        #[arg(index = 2)]
        algorithm: String,
        /// Of the environment `process`: the program that has it
        #[arg(long, value_name = "COMMAND")]
        command: Option<String>,
        /// Write to this file
        #[arg(long, short, value_name = "FILE.toml")]
        output: Option<PathBuf>,
    },
    /// Train as a configuration file says
    ///
    /// A file with a [sweep] runs every combination and seed, in runs/NAME.
    ///
    /// The run directory is runs/NAME/SEED unless --out says otherwise. It holds config.toml (the
    /// resolved configuration), metrics.csv, TensorBoard's event files, checkpoints/ and, at the
    /// end, summary.json. Ctrl-C saves a checkpoint; `trainer resume` goes on from it exactly.
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// Write the run to this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        /// Replace the run that the directory holds
        #[arg(long)]
        overwrite: bool,
        /// Go on with the run that the directory holds; begin it if there is none, say so if it is finished
        ///
        /// The one line for a job that may be started again. A run that was begun with another configuration
        /// is refused, with what differs.
        #[arg(long, conflicts_with = "overwrite")]
        resume: bool,
        #[command(flatten)]
        threads: ThreadsArgs,
        #[command(flatten)]
        sweep: SweepArgs,
        /// Run a part of a sweep only, such as 2/4: the second of four
        #[arg(long, value_name = "INDEX/COUNT", value_hint = ValueHint::Other)]
        shard: Option<Shard>,
        /// Print nothing but errors and warnings
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Go on with a run to its configured number of steps
    ///
    /// Begins at the newest checkpoint that is whole. On a CPU backend the result is the same, bit
    /// for bit, as if the run had never been stopped. To train longer, --set total_steps=STEPS; what is
    /// changed holds from here on, and changes.toml in the run directory says so.
    Resume {
        /// Run directory, such as runs/ppo_cartpole/1, or a sweep's, such as runs/ppo_cartpole
        #[arg(value_hint = ValueHint::DirPath)]
        run: PathBuf,
        /// Update on another backend from now on
        #[arg(long, value_name = "BACKEND", value_parser = backend())]
        backend: Option<Backend>,
        /// Change a value of the configuration from now on, as in --set total_steps=1_000_000; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_hint = ValueHint::Other)]
        set: Vec<String>,
        /// Take runs of a sweep that other processes work on too, on any machine that shares its directory
        #[arg(long, conflicts_with = "backend")]
        shared: bool,
        #[command(flatten)]
        threads: ThreadsArgs,
        #[command(flatten)]
        sweep: SweepArgs,
        /// Print nothing but errors and warnings
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Train as a configuration file says, as jobs of Slurm
    ///
    /// A sweep is one array of workers, which take its runs from the sweep's directory, and a job after them that
    /// ranks the trials and confirms the winner. Another configuration is one job. Before its limit of time a job saves
    /// checkpoints and queues itself again. The batch scripts are kept in the directory, which all machines must
    /// share.
    Submit {
        #[command(flatten)]
        config: ConfigArgs,
        /// Write the sweep or run to this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        /// Replace the sweep that the directory holds
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        job: JobArgs,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Put together the parts of a sweep that several machines have run
    ///
    /// Copies the trials that have ended into one directory, runs/NAME unless --out says otherwise,
    /// and prints the ranked table. May be repeated while the parts go on.
    Collect {
        /// Directories of the parts, such as runs/NAME-shard-1-of-4
        #[arg(required = true, value_hint = ValueHint::DirPath)]
        parts: Vec<PathBuf>,
        /// Put them together in this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Play episodes with a trained policy
    ///
    /// With the defaults this repeats the evaluation at the end of the run.
    Eval {
        /// Episodes to play; as many as the configuration's eval.episodes if not given
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        episodes: Option<u32>,
        /// Write a row a step to this file: observation, action, reward, its terms, costs
        #[arg(long, value_name = "FILE.csv")]
        csv: Option<PathBuf>,
        #[command(flatten)]
        play: PlayArgs,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Write a trained policy to a file for other programs
    ///
    /// The file holds the greedy policy with its observation normalisation and action bounds: the
    /// environment's observation in, the environment's action out. The book shows how Python uses it.
    Export {
        /// What kind of file
        #[arg(long, value_parser = export_format())]
        format: ExportFormat,
        /// Write to this file; to policy.safetensors or policy.onnx in the run directory if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        policy: PolicyArgs,
    },
    /// Show a trained policy at work: in the terminal, or as a GIF
    ///
    /// Plays the first episodes of `trainer eval` with the same checkpoint, seed and actions. In the
    /// terminal a second of the task takes a second, Ctrl-C leaves, and NO_COLOR is respected; where the
    /// output is no terminal, the last picture of each episode is printed.
    Replay {
        /// Write a GIF to this file instead
        #[arg(long, value_name = "FILE.gif")]
        gif: Option<PathBuf>,
        /// Write a row a step to this file instead: observation, action, reward, its terms, costs
        #[arg(long, value_name = "FILE.csv", conflicts_with = "gif")]
        csv: Option<PathBuf>,
        /// Episodes to show
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
        episodes: u32,
        #[command(flatten)]
        play: PlayArgs,
    },
    /// Make one page of finished runs: what differs, curves, numbers, the policy at work
    ///
    /// The page is one HTML file that needs no network: it opens from the file system in any browser.
    /// Runs that differ in the seed only are one group. The policy is replayed from episodes that are
    /// played for the page with each run's latest checkpoint, greedily, as `trainer eval` does.
    Report {
        /// Run directories, or directories with runs below them
        #[arg(required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
        paths: Vec<PathBuf>,
        /// Write the page to this file
        #[arg(long, short, value_name = "FILE.html", default_value = "report.html")]
        output: PathBuf,
        #[command(flatten)]
        thresholds: ThresholdArgs,
    },
    /// Validate a configuration and print it with every default filled in
    ///
    /// Of a sweep it validates every combination, and says how many trials and steps they are.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Look for what is wrong with an environment: plays random episodes, and says how to mend what it finds
    ///
    /// States that don't come back bit for bit, resets that depend on what was before, observations out of
    /// bounds or not finite, `success` given sometimes, rewards far from 1, time limits kept twice, slow steps,
    /// and more. Exit code 1 if there is something. `run` does a short form of it first, and warns.
    CheckEnv {
        /// An environment's name, which stands for its defaults, or a configuration file (TOML)
        #[arg(value_name = "NAME|CONFIG")]
        what: String,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Measure how fast a configuration runs on each backend of this machine
    ///
    /// Prints environment steps a second of the environments alone, of acting (with values and
    /// advantages), of the update, and of training as a whole. Nothing is written.
    Bench {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        threads: ThreadsArgs,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Compare finished runs: what their seeds say together, and which configuration is better
    ///
    /// Runs that differ in nothing but the seed are one group, a row each. Return at the end is that of
    /// the evaluation that ends a run; the area under the learning curve is the mean of
    /// rollout/ep_rew_mean over the steps. Intervals are 95 % bootstrap intervals over seeds. With
    /// --threshold the table also says when rollout/ep_rew_mean reached that return. A probability of
    /// improvement is of returns alone: with a constraint look at the cost beside them.
    Compare {
        /// Run directories, or directories with runs below them
        #[arg(required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        thresholds: ThresholdArgs,
        /// Write the table to this file, and the pairs beside it: table.csv, table.pairs.csv
        #[arg(long, short, value_name = "FILE.csv")]
        output: Option<PathBuf>,
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Draw learning curves
    ///
    /// Runs that differ in nothing but the seed are one line: their mean, with its 95 % bootstrap
    /// interval over seeds. Runs that are not finished are drawn as far as they are.
    Plot {
        /// Write the picture to this file; its name's end says in which format
        ///
        /// Of several environments there is a picture each: curves.svg becomes curves-cartpole.svg and so on.
        #[arg(long, short, value_name = "FILE.svg|FILE.png")]
        output: PathBuf,
        /// Draw the return against this cost instead, at the end of the runs: a point a group
        ///
        /// Points of one algorithm are one line. Where it is known exactly, as for gusty and budget, the most
        /// that can be earned at a cost is drawn too.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["metric", "x"])]
        cost: Option<String>,
        #[command(flatten)]
        curves: CurveArgs,
    },
    /// Show the learning curves of running experiments in the terminal
    ///
    /// Draws anew every second until Ctrl-C; where stdout is no terminal it draws once. Runs that differ
    /// in nothing but the seed are one line, as in `trainer plot`.
    Watch {
        #[command(flatten)]
        curves: CurveArgs,
    },
    /// List environments, algorithms, and backends with the devices found
    ///
    /// Of an environment: how many numbers an observation and an action have (or how many choices there are), how
    /// many steps an episode at most, how long a step takes here, and the parameters.
    List {
        #[command(flatten)]
        result: ResultArgs,
    },
    /// Print the JSON Schema of a configuration, by which editors complete and check
    ///
    /// With `#:schema ./backburn.schema.json` as its first line, a TOML file is completed and checked
    /// by Taplo and by editors that use it, such as VS Code with Even Better TOML.
    Schema {
        /// Write it to this file
        #[arg(long, short, value_name = "FILE.json")]
        output: Option<PathBuf>,
    },
    /// Print a script by which a shell completes verbs, flags and names
    Completions {
        /// Shell
        shell: Shell,
    },
}

impl Command {
    /// Whether processes that are started together do it together.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        use Command::{Bench, Eval, Resume, Run};
        matches!(self, Run { .. } | Resume { .. } | Eval { .. } | Bench { .. })
    }
}

/// How many cores are used.
#[derive(Args, Clone, Copy, Debug)]
pub struct ThreadsArgs {
    /// Threads, which the runs of a sweep share; one for each core that the process may use, or as many as
    /// RAYON_NUM_THREADS says, if not given
    ///
    /// The results are the same, bit for bit, with any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ThreadsArgs {
    /// Their number.
    #[must_use]
    pub fn count(self) -> NonZeroUsize {
        let given = self.threads.map(usize::from).and_then(NonZeroUsize::new);
        given.unwrap_or_else(agents::threads::available)
    }
}

/// What a job asks Slurm for.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// Limit of a job's time: 2h, 90m, 3d, or as sbatch takes it (2:00:00, 1-12)
    #[arg(long, value_name = "TIME", value_parser = crate::submit::limit)]
    pub time: String,
    /// Cores of a task: of a worker of the sweep, or of a rank
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cpus: u16,
    /// Partition
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Workers of a sweep at once, at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub parallel: u16,
    /// Machines that train one run together, a rank on each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub nodes: Option<u16>,
    /// How often a job goes on after its limit of time, at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub requeue: u16,
    /// One more option of sbatch, such as --sbatch=--mem=4G; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Write the script and print it, and submit nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct ResultArgs {
    /// Print the result to stdout as one JSON document; the rest goes to stderr
    #[arg(long)]
    pub json: bool,
}

/// Whose policy.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    /// Run directory, such as runs/ppo_cartpole/1
    #[arg(value_hint = ValueHint::DirPath)]
    pub run: PathBuf,
    /// Which checkpoint: best (by evaluation), latest, or a number of steps
    #[arg(long, value_name = "best|latest|STEP", value_hint = ValueHint::Other, default_value = "latest")]
    pub checkpoint: Which,
}

/// Which episodes of a policy.
#[derive(Args, Debug)]
pub struct PlayArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub actions: ActionsArgs,
    /// Seed of the episodes; the run's own if not given
    #[arg(long)]
    pub seed: Option<u64>,
}

/// How actions are chosen; greedily unless the run has a constraint.
#[derive(Args, Clone, Copy, Debug)]
pub struct ActionsArgs {
    /// Sample actions, which is what a run with a constraint does if not told
    #[arg(long)]
    pub stochastic: bool,
    /// Take the policy's most probable actions, which is what a run without a constraint does if not told
    #[arg(long, conflicts_with = "stochastic")]
    pub greedy: bool,
}

impl ActionsArgs {
    /// Whether actions are the most probable ones; `None` where nothing is said.
    #[must_use]
    pub fn are_greedy(self) -> Option<bool> {
        (self.greedy || self.stochastic).then_some(self.greedy)
    }
}

/// Which learning curves.
#[derive(Args, Debug)]
pub struct CurveArgs {
    /// Run directories, or directories with runs below them
    #[arg(required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub paths: Vec<PathBuf>,
    /// Column of metrics.csv to draw
    #[arg(long, value_name = "COLUMN", value_hint = ValueHint::Other, default_value = "rollout/ep_rew_mean")]
    pub metric: String,
    /// What to draw it over
    #[arg(long, default_value = "steps")]
    pub x: Axis,
}

/// A configuration file and what replaces its values.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    pub config: PathBuf,
    /// Where updates run
    #[arg(long, value_name = "BACKEND", value_parser = backend())]
    pub backend: Option<Backend>,
    /// Seed of every random stream
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Replace any value of the file, as in --set agent.learning_rate=1e-3; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_hint = ValueHint::Other)]
    pub set: Vec<String>,
}

/// What every seed must reach.
#[derive(Args, Clone, Copy, Debug)]
pub struct ThresholdArgs {
    /// Say how many seeds ended with a return below this, and which
    #[arg(long, value_name = "RETURN", value_parser = finite, allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Say how many seeds ended with a success rate below this, and which
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub success_threshold: Option<f64>,
}

impl From<ThresholdArgs> for Thresholds {
    fn from(args: ThresholdArgs) -> Thresholds {
        let ThresholdArgs { threshold, success_threshold } = args;
        Thresholds { threshold, success_threshold }
    }
}

fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "expected a finite number".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".into())
}

/// How the runs of a sweep are started.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Runs of a sweep at once; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub jobs: Option<u32>,
    /// Stop with a checkpoint when stdin ends: how a sweep holds on to its runs
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

fn export_format() -> impl TypedValueParser<Value = ExportFormat> {
    let named = |name: String| name.parse::<ExportFormat>();
    let value = |format: ExportFormat| {
        PossibleValue::new(format.extension()).help(match format {
            ExportFormat::Safetensors => "Named tensors, for a few lines of numpy",
            ExportFormat::Onnx => "A graph that ONNX runtimes execute",
        })
    };
    PossibleValuesParser::new(ExportFormat::ALL.map(value)).try_map(named)
}

fn backend() -> impl TypedValueParser<Value = Backend> {
    let named = |name: String| Backend::ALL.into_iter().find(|backend| backend.name() == name);
    // No other name gets through, so the default is never taken.
    PossibleValuesParser::new(Backend::ALL.map(Backend::name))
        .map(move |name| named(name).unwrap_or_default())
}
