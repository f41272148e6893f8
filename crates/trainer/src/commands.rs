//! What each verb of the command line does.

use crate::bench::{bench, hint};
use crate::cli::{Command, ConfigArgs, SweepArgs};
use crate::compare::compare;
use crate::config::{ALGORITHMS, Experiment, Override, Source};
use crate::error::Error;
use crate::export::export;
use crate::files;
use crate::interrupt::Interrupt;
use crate::metrics::{CsvSink, Sink, TensorBoardSink};
use crate::plot::{self, Axis};
use crate::progress::ProgressSink;
use crate::replay::replay;
use crate::report::report;
use crate::results;
use crate::run_dir::{RunDir, Which};
use crate::session::{self, Session, Trained};
use crate::summary::{EvalSummary, Summary};
use crate::sweep::{self, Sweep};
use crate::terminal::{self, say};
use crate::train::train;
use crate::watch::watch;
use agents::Backend;
use envs::Registry;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Does what the command line asks for.
///
/// # Errors
/// Whatever ended it early, with its message and exit code.
pub fn execute(command: Command, registry: &Registry) -> Result<(), Error> {
    match command {
        Command::Run { config, out, overwrite, sweep, shard, quiet } => {
            let source = sweep::part(source(&config)?, shard)?;
            if Sweep::is_in(&source)? {
                return sweep::start(&source, registry, out, overwrite, jobs(&sweep), quiet);
            }
            no_sweep(&sweep, &config.config)?;
            run(&source, out, overwrite, Watch { quiet, stdin: sweep.until_stdin_ends }, registry)
        }
        Command::Resume { run, backend, sweep, quiet } => {
            if !sweep::is_at(&run) {
                no_sweep(&sweep, &run)?;
                let watch = Watch { quiet, stdin: sweep.until_stdin_ends };
                return resume(run, backend, watch, registry);
            }
            if backend.is_some() {
                let message = "--backend: a sweep goes on with the backend of its sweep.toml";
                return Err(Error::Usage(message.into()));
            }
            sweep::resume(&run, registry, jobs(&sweep), quiet)
        }
        Command::Collect { parts, out } => sweep::collect(&parts, out, registry),
        Command::Eval { run, episodes, stochastic, checkpoint, seed } => {
            eval(run, episodes, !stochastic, checkpoint, seed, registry)
        }
        Command::Replay { run, gif, episodes, stochastic, checkpoint, seed } => {
            let trained = Trained::load(&RunDir::at(run), checkpoint, registry)?;
            replay(&trained, gif.as_deref(), episodes, seed, !stochastic)
        }
        Command::Report { paths, output } => report(&paths, &output, registry),
        Command::Check { config } => check(&source(&config)?, registry),
        Command::Bench { config } => {
            let source = source(&config)?;
            let experiment = Experiment::parse(&source, registry)?;
            let entry = session::entry(&experiment, registry)?;
            bench(&experiment, &entry, &source)
        }
        Command::Compare { paths, threshold, output } => {
            compare_runs(&paths, threshold, output.as_deref())
        }
        Command::Plot { paths, output, metric, x } => draw(&paths, &output, &metric, x),
        Command::Watch { paths, metric, x } => watch(&paths, &metric, x),
        Command::Export { run, format, output, checkpoint } => {
            export(run, format, output, checkpoint, registry)
        }
        Command::List => {
            list(registry);
            Ok(())
        }
    }
}

/// How a run is watched, and stopped.
#[derive(Clone, Copy)]
struct Watch {
    quiet: bool,
    /// Whether it stops when stdin ends.
    stdin: bool,
}

fn jobs(sweep: &SweepArgs) -> Option<usize> {
    sweep.jobs.map(|jobs| jobs as usize)
}

/// Refuses what only a sweep knows.
fn no_sweep(sweep: &SweepArgs, path: &Path) -> Result<(), Error> {
    match sweep.jobs {
        Some(jobs) => Err(Error::Usage(format!(
            "--jobs {jobs}: {} is no sweep, it has no [sweep]",
            path.display()
        ))),
        None => Ok(()),
    }
}

fn source(config: &ConfigArgs) -> Result<Source, Error> {
    let mut overrides =
        config.set.iter().map(|set| Override::set(set)).collect::<Result<Vec<_>, _>>()?;
    overrides.extend(config.seed.map(|seed| Override::flag("seed", seed)));
    overrides.extend(config.backend.map(|backend| Override::flag("backend", backend)));
    let source = Source::read(&config.config, &overrides)?;
    if config.seed.is_some() && Sweep::gives_seeds(&source)? {
        let message = "--seed: [sweep] gives the seeds; replace them with --set sweep.seeds=[1,2]";
        return Err(Error::Usage(message.into()));
    }
    Ok(source)
}

fn run(
    source: &Source,
    out: Option<PathBuf>,
    overwrite: bool,
    watch: Watch,
    registry: &Registry,
) -> Result<(), Error> {
    let experiment = Experiment::parse(source, registry)?;
    let entry = session::entry(&experiment, registry)?;
    let mut agent = session::agent(&experiment, &entry, source, experiment.backend)?;
    session::warm_start(&mut agent, &experiment, source)?;
    if !watch.quiet
        && let Some(hint) = hint(&experiment, &agent)
    {
        terminal::hint(&hint);
    }
    let session = Session::new(experiment, entry, agent)?;
    let path = out.unwrap_or_else(|| {
        let Experiment { name, seed, .. } = &session.experiment;
        ["runs", name, &seed.to_string()].iter().collect()
    });
    let run = RunDir::at(path);
    let _lock = run.create(&session.experiment, overwrite)?;
    finish(session, &run, watch)
}

fn resume(
    path: PathBuf,
    backend: Option<Backend>,
    watch: Watch,
    registry: &Registry,
) -> Result<(), Error> {
    let run = RunDir::at(path);
    let _lock = run.open()?;
    let backend: Vec<_> =
        backend.map(|backend| Override::flag("backend", backend)).into_iter().collect();
    let (experiment, source) = Experiment::read(&run.config(), &backend, registry)?;
    let entry = session::entry(&experiment, registry)?;
    let mut agent = session::agent(&experiment, &entry, &source, experiment.backend)?;
    let checkpoint = run.load(Which::Latest)?;
    if checkpoint.is_none() {
        // Killed before its first checkpoint: the run begins anew.
        session::warm_start(&mut agent, &experiment, &source)?;
    }
    let mut session = Session::new(experiment, entry, agent)?;
    if let Some((path, checkpoint)) = checkpoint {
        session.restore(path, checkpoint)?;
    }
    if session.is_finished() && run.summary().is_file() {
        if !watch.quiet {
            let path = run.path().display();
            let steps = session.progress.steps;
            say(&format!(
                "{path}: finished, {steps} steps are done; see summary.json, or raise \
                 total_steps in config.toml to train longer\n"
            ));
        }
        return Ok(());
    }
    finish(session, &run, watch)
}

/// Trains to the end and writes the summary.
fn finish(mut session: Session, run: &RunDir, watch: Watch) -> Result<(), Error> {
    let interrupt = Interrupt::listen();
    if watch.stdin {
        interrupt.listen_to_stdin();
    }
    let quiet = watch.quiet;
    let progress = session.progress;
    let mut sinks: Vec<Box<dyn Sink>> =
        vec![Box::new(CsvSink::open(&run.metrics(), progress.iterations)?)];
    if !session.is_finished() {
        sinks.push(Box::new(TensorBoardSink::create(run.path(), progress.steps)?));
    }
    if !quiet {
        let total = session.experiment.whole_steps();
        sinks.push(Box::new(ProgressSink::new(progress.steps, total)));
    }
    let evaluation = train(&mut session, run, &mut sinks, &interrupt)?;
    drop(sinks);
    let summary = Summary::new(&session, &evaluation);
    summary.write(&run.summary())?;
    if !quiet {
        say(&summary.table(run.path()));
    }
    Ok(())
}

fn eval(
    path: PathBuf,
    episodes: Option<u32>,
    greedy: bool,
    which: Which,
    seed: Option<u64>,
    registry: &Registry,
) -> Result<(), Error> {
    let Trained { experiment, entry, agent, checkpoint } =
        Trained::load(&RunDir::at(path), which, registry)?;
    let seed = seed.unwrap_or(experiment.seed);
    let episodes = episodes.map_or(experiment.eval.episodes, |episodes| episodes as usize);
    let evaluation =
        agents::evaluate(agent.actor(), &entry, episodes, seed, greedy).map_err(Error::Agent)?;
    say(&format!(
        "{}, {} actions, seed {seed}\n{}",
        checkpoint.display(),
        if greedy { "greedy" } else { "sampled" },
        EvalSummary::new(&evaluation).table()
    ));
    Ok(())
}

fn check(source: &Source, registry: &Registry) -> Result<(), Error> {
    if Sweep::is_in(source)? {
        return sweep::check(source, registry);
    }
    let experiment = Experiment::parse(source, registry)?;
    let entry = session::entry(&experiment, registry)?;
    // Whether settings fit the environment does not depend on the backend.
    let mut agent = session::agent(&experiment, &entry, source, Backend::Flex)?;
    session::warm_start(&mut agent, &experiment, source)?;
    say(&experiment.to_toml()?);
    Ok(())
}

fn compare_runs(
    paths: &[PathBuf],
    threshold: Option<f64>,
    output: Option<&Path>,
) -> Result<(), Error> {
    if let Some(path) = output {
        files::output(path, &["csv"])?;
    }
    let comparison = compare(&results::groups(results::find(paths)?), threshold)?;
    say(&comparison.table());
    if let Some(path) = output {
        let pairs = path.with_extension("pairs.csv");
        files::write_csv(path, &comparison.rows_csv())?;
        files::write_csv(&pairs, &comparison.pairs_csv())?;
        say(&format!("\nwrote {} and {}\n", path.display(), pairs.display()));
    }
    Ok(())
}

fn draw(paths: &[PathBuf], output: &Path, metric: &str, x: Axis) -> Result<(), Error> {
    let extension = files::output(output, &["svg", "png"])?;
    let groups = results::groups(results::find(paths)?);
    let picture = match extension {
        "png" => plot::png(&groups, metric, x)?,
        _ => plot::svg(&groups, metric, x)?.into_bytes(),
    };
    for run in groups.iter().flat_map(|group| &group.runs).filter(|run| run.summary.is_none()) {
        let path = run.path.display();
        terminal::hint(&format!("{path}: is not finished; its group is drawn as far as it is"));
    }
    files::write_atomically(output, &[&picture])?;
    say(&format!("wrote {}\n", output.display()));
    Ok(())
}

fn list(registry: &Registry) {
    let mut text = String::from("environments\n");
    // Writing to a String can't fail.
    for entry in registry.entries() {
        let _ = writeln!(text, "  {:<10} {}", entry.name, entry.description);
    }
    text.push_str("algorithms\n");
    for (name, description) in ALGORITHMS {
        let _ = writeln!(text, "  {name:<10} {description}");
    }
    text.push_str("backends\n");
    for backend in Backend::ALL {
        let devices = backend.devices();
        let devices =
            if devices.is_empty() { "no device found".to_owned() } else { devices.join("; ") };
        let _ = writeln!(text, "  {:<10} {devices}", backend.name());
    }
    say(&text);
}
