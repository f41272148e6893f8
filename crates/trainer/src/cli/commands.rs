//! What each verb of the command line does.

use crate::cli::bench::{bench, hint};
use crate::cli::init;
use crate::cli::list::list;
use crate::cli::{Command, ConfigArgs, CurveArgs, PlayArgs, ResultArgs, SweepArgs};
use crate::error::Error;
use crate::experiment::config::{Experiment, Override, Source, did_you_mean};
use crate::experiment::run::{self, Begin, Control};
use crate::experiment::run_dir::RunDir;
use crate::experiment::session::{self, Session, Trained};
use crate::experiment::summary::EvalSummary;
use crate::files;
use crate::processes::Processes;
use crate::registry::Registry;
use crate::results;
use crate::results::compare::compare;
use crate::results::export::export;
use crate::results::failures::Thresholds;
use crate::results::plot;
use crate::results::replay::{Chosen, Show, replay};
use crate::results::report::report;
use crate::results::watch::watch;
use crate::submit::submit;
use crate::sweep::{self, Cores, Sweep};
use crate::terminal::{self, Output, say};
use agents::Backend;
use envs::{Effort, Finding, TaskConfig};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Does what the command line asks for.
///
/// # Errors
/// Whatever ended it early, with its message and exit code.
pub fn execute(command: Command, registry: &Registry, processes: &Processes) -> Result<(), Error> {
    let hushed = |quiet, json| Output::of(processes, quiet, json);
    match command {
        Command::Init { env, algorithm, command, output } => {
            init::init(&env, &algorithm, command.as_deref(), output, registry)
        }
        Command::Schema { output } => init::schema(output.as_deref(), registry),
        Command::Completions { shell } => {
            init::completions(shell, registry);
            Ok(())
        }
        Command::Run { config, out, overwrite, resume, threads, sweep, shard, quiet, result } => {
            let threads = threads.count();
            let source = sweep::part(source(&config)?, shard)?;
            let output = hushed(quiet, result.json);
            if Sweep::is_in(&source)? {
                no_ranks(processes, &config.config)?;
                let begin = Begin { out, overwrite, resume };
                return sweep::start(&source, registry, begin, cores(&sweep, threads), output);
            }
            no_sweep(&sweep, &config.config)?;
            let control = Control { output, threads, until_stdin_ends: sweep.until_stdin_ends };
            run(&source, Begin { out, overwrite, resume }, control, registry, processes)
        }
        Command::Resume { run, backend, set, shared, threads, sweep, quiet, result } => {
            let threads = threads.count();
            let output = hushed(quiet, result.json);
            if !processes.ranks().from_first(sweep::is_at(&run)) {
                no_sweep(&sweep, &run)?;
                if shared {
                    let message = "--shared: is for a sweep, and this holds none";
                    return Err(Error::Usage(format!("{}: {message}", run.display())));
                }
                let control = Control { output, threads, until_stdin_ends: sweep.until_stdin_ends };
                let changes = overrides(&set, backend)?;
                return run::resume(run, &changes, control, registry, processes);
            }
            no_ranks(processes, &run)?;
            if backend.is_some() || !set.is_empty() {
                let flag = if backend.is_some() { "--backend" } else { "--set" };
                return Err(Error::Usage(format!(
                    "{flag}: a sweep goes on with what its sweep.toml says; run the changed one elsewhere \
                     (--out DIR)"
                )));
            }
            let go_on = if shared { sweep::share } else { sweep::resume };
            go_on(&run, registry, cores(&sweep, threads), output)
        }
        Command::Submit { config, out, overwrite, job, result } => {
            submit(&source(&config)?, out, overwrite, &job, loud(result), registry)
        }
        Command::Collect { parts, out, result } => {
            sweep::collect(&parts, out, registry, loud(result))
        }
        Command::Eval { episodes, csv, play, result } => {
            let output = hushed(false, result.json);
            eval(play, episodes, csv.as_deref(), output, registry, processes)
        }
        Command::Replay { gif, csv, episodes, play: PlayArgs { policy, actions, seed } } => {
            let chosen = Chosen { episodes, seed, greedy: actions.are_greedy() };
            let show = match (gif, csv) {
                (Some(path), _) => Show::Gif(path),
                (_, Some(path)) => Show::Csv(path),
                _ => Show::Terminal,
            };
            replay(&RunDir::at(policy.run), policy.checkpoint, chosen, show, registry)
        }
        Command::Report { paths, output, thresholds } => {
            report(&paths, &output, thresholds.into(), registry)
        }
        Command::Check { config, result } => check(&source(&config)?, loud(result), registry),
        Command::CheckEnv { what, result } => check_env(&what, loud(result), registry),
        Command::Bench { config, threads, result } => {
            let only = config.backend;
            let source = source(&config)?;
            let (experiment, task) = Experiment::parse(&source, registry)?;
            processes.must_agree(&experiment.to_toml()?)?;
            let (threads, output) = (threads.count(), hushed(false, result.json));
            bench(&experiment, &task, &source, only, threads, output, processes.ranks())
        }
        Command::Compare { paths, thresholds, output, result } => {
            compare_runs(&paths, thresholds.into(), output.as_deref(), loud(result))
        }
        Command::Plot { output, cost, curves } => draw(&curves, cost.as_deref(), &output),
        Command::Watch { curves: CurveArgs { paths, metric, x } } => watch(&paths, &metric, x),
        Command::Export { format, output, policy } => {
            export(&RunDir::at(policy.run), policy.checkpoint, format, output, registry)
        }
        Command::List { result } => {
            list(registry, loud(result));
            Ok(())
        }
    }
}

/// The output of verbs that can't be told to be quiet.
fn loud(result: ResultArgs) -> Output {
    Output { quiet: false, json: result.json }
}

fn cores(sweep: &SweepArgs, threads: NonZeroUsize) -> Cores {
    Cores { jobs: sweep.jobs.map(|jobs| jobs as usize), threads }
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

fn overrides(set: &[String], backend: Option<Backend>) -> Result<Vec<Override>, Error> {
    let mut overrides = set.iter().map(|set| Override::set(set)).collect::<Result<Vec<_>, _>>()?;
    overrides.extend(backend.map(|backend| Override::flag("backend", backend)));
    Ok(overrides)
}

/// Refuses what ranks do not share.
fn no_ranks(processes: &Processes, path: &Path) -> Result<(), Error> {
    match processes.ranks().size() {
        1 => Ok(()),
        size => Err(Error::Usage(format!(
            "{}: is a sweep, many runs, and {size} ranks train one; start it alone, on several machines each with a \
             part of it (--shard)",
            path.display()
        ))),
    }
}

fn source(config: &ConfigArgs) -> Result<Source, Error> {
    let mut overrides = overrides(&config.set, config.backend)?;
    overrides.extend(config.seed.map(|seed| Override::flag("seed", seed)));
    let source = Source::read(&config.config, &overrides)?;
    if config.seed.is_some() && Sweep::gives_seeds(&source)? {
        let message = "--seed: [sweep] gives the seeds; replace them with --set sweep.seeds=[1,2]";
        return Err(Error::Usage(message.into()));
    }
    Ok(source)
}

fn run(
    source: &Source,
    Begin { out, overwrite, resume }: Begin,
    control: Control,
    registry: &Registry,
    processes: &Processes,
) -> Result<(), Error> {
    let (experiment, task) = Experiment::parse(source, registry)?;
    processes.must_agree(&experiment.to_toml()?)?;
    let directory = out.unwrap_or_else(|| run::default_directory(&experiment));
    let there = RunDir::at(directory.clone());
    if resume && processes.ranks().from_first(there.is_begun()) {
        if processes.is_first() {
            run::must_have_begun_with(&experiment, &task, &there, registry)?;
        }
        // Processes that have it would wait for the end of the run.
        drop(task);
        return run::resume(directory, &[], control, registry, processes);
    }
    let session = Session::begin_among(processes.ranks(), experiment, task, source)?;
    // One in another process is started by the training, and is checked when that is asked for.
    if processes.is_first() && !session.training.task.spec().is_elsewhere {
        for Finding { problem, cure, .. } in
            envs::check(&session.training.task, Effort::Short, None)
        {
            terminal::warn(&format!(
                "env.name: {}: {problem}; {cure}",
                session.training.task.name()
            ));
        }
    }
    let eval = &session.experiment.eval;
    if processes.is_first()
        && eval.every_steps == 0
        && (eval.stop_at.is_some() || eval.stop_at_success.is_some())
    {
        terminal::warn("eval.stop_at: there is no evaluation on the way; give eval.every_steps");
    }
    if !control.output.quiet
        && let Some(hint) = hint(&session.experiment, &session.training.agent)
    {
        terminal::hint(&hint);
    }
    run::start(session, directory, overwrite, control)
}

/// What `eval` has played, and what came of it.
#[derive(Serialize)]
struct Played<'a> {
    checkpoint: String,
    seed: u64,
    #[serde(flatten)]
    summary: &'a EvalSummary,
}

fn eval(
    PlayArgs { policy, actions, seed }: PlayArgs,
    episodes: Option<u32>,
    csv: Option<&Path>,
    output: Output,
    registry: &Registry,
    processes: &Processes,
) -> Result<(), Error> {
    if let Some(path) = csv {
        files::output(path, &["csv"])?;
    }
    let ranks = processes.ranks();
    let Trained { experiment, task, agent, checkpoint } =
        Trained::load_among(ranks, &RunDir::at(policy.run), policy.checkpoint, registry)?;
    processes.must_agree(&experiment.to_toml()?)?;
    let seed = seed.unwrap_or(experiment.seed);
    let greedy = actions.are_greedy().unwrap_or(experiment.agent.evaluates_greedily());
    let episodes = episodes.map_or(experiment.eval.episodes, |episodes| episodes as usize);
    let evaluation = agents::evaluate_among(ranks, agent.actor(), &task, episodes, seed, greedy);
    let evaluation = evaluation.map_err(Error::Agent)?;
    if let Some(path) = csv.filter(|_| processes.is_first()) {
        // The same episodes again, one by one.
        let record = |index| agents::record(agent.actor(), &task, seed, index, greedy, usize::MAX);
        let recordings: Result<Vec<_>, _> = (0..episodes as u32).map(record).collect();
        results::steps::write(path, task.spec(), &recordings.map_err(Error::Agent)?)?;
    }
    let summary = EvalSummary::new(&evaluation, greedy, experiment.agent.constraints());
    let checkpoint = checkpoint.display().to_string();
    let result = Played { checkpoint, seed, summary: &summary };
    output.result(&result, || {
        let actions = if greedy { "greedy" } else { "sampled" };
        format!("{}, {actions} actions, seed {seed}\n{}", result.checkpoint, summary.table())
    });
    Ok(())
}

fn check(source: &Source, output: Output, registry: &Registry) -> Result<(), Error> {
    if Sweep::is_in(source)? {
        return sweep::check(source, output, registry);
    }
    let (experiment, task) = Experiment::parse(source, registry)?;
    // Whether settings fit the environment does not depend on the backend.
    let mut agent = session::actor(&experiment, &task, source)?;
    session::warm_start(&mut agent, &experiment, &task, source)?;
    let toml = experiment.to_toml()?;
    output.result(&experiment, || toml);
    Ok(())
}

/// What a check has found.
#[derive(Serialize)]
struct Checked<'a> {
    environment: &'a str,
    findings: Vec<FoundProblem>,
}

#[derive(Serialize)]
struct FoundProblem {
    rule: &'static str,
    problem: String,
    cure: &'static str,
}

fn check_env(what: &str, output: Output, registry: &Registry) -> Result<(), Error> {
    let task = match registry.environments.get(what) {
        Some(entry) => entry
            .task(&TaskConfig::default())
            .map_err(|error| Error::Usage(format!("{what}: {error}")))?,
        None if Path::new(what).extension().is_some_and(|end| end == "toml") => {
            Experiment::read(Path::new(what), &[], registry)?.1
        }
        None => {
            let names: Vec<&str> =
                registry.environments.entries().iter().map(|entry| entry.name).collect();
            return Err(Error::Usage(format!(
                "{what}: is neither an environment{} nor a configuration (FILE.toml); there is: {}",
                did_you_mean(what, &names),
                names.join(", ")
            )));
        }
    };
    let findings: Vec<FoundProblem> = envs::check(&task, Effort::Full, None)
        .into_iter()
        .map(|Finding { rule, problem, cure }| FoundProblem { rule, problem, cure })
        .collect();
    let count = findings.len();
    let checked = Checked { environment: task.name(), findings };
    output.result(&checked, || {
        let line = |one: &FoundProblem| {
            format!("  {:<13} {}\n                {}\n", one.rule, one.problem, one.cure)
        };
        match count {
            0 => format!("{}: nothing is wrong\n", task.name()),
            _ => format!(
                "{}: {}\n{}",
                task.name(),
                terminal::count(count, "problem"),
                checked.findings.iter().map(line).collect::<String>()
            ),
        }
    });
    if count == 0 { Ok(()) } else { Err(Error::Failed(format!("{what}: see above"))) }
}

fn compare_runs(
    paths: &[PathBuf],
    thresholds: Thresholds,
    file: Option<&Path>,
    output: Output,
) -> Result<(), Error> {
    if let Some(path) = file {
        files::output(path, &["csv"])?;
    }
    let all_pairs = file.is_some() || output.json;
    let groups = results::groups(results::find(paths)?);
    thresholds.check(&groups)?;
    let comparison = compare(&groups, thresholds, all_pairs)?;
    output.result(&comparison, || comparison.table());
    if let Some(path) = file {
        let pairs = path.with_extension("pairs.csv");
        files::write_csv(path, &comparison.rows_csv())?;
        files::write_csv(&pairs, &comparison.pairs_csv())?;
        output.text(|| format!("\nwrote {} and {}\n", path.display(), pairs.display()));
    }
    Ok(())
}

fn draw(
    CurveArgs { paths, metric, x }: &CurveArgs,
    cost: Option<&str>,
    output: &Path,
) -> Result<(), Error> {
    let extension = files::output(output, &["svg", "png"])?;
    let all = results::by_environment(results::groups(results::find(paths)?));
    let several = all.len() > 1;
    let mut problem = None;
    let mut written = Vec::new();
    for (environment, groups) in &all {
        let picture = match (extension, cost) {
            ("png", None) => plot::png(groups, metric, *x),
            ("png", Some(cost)) => plot::front::png(groups, cost),
            (_, None) => plot::svg(groups, metric, *x).map(String::into_bytes),
            (_, Some(cost)) => plot::front::svg(groups, cost).map(|[wide, _]| wide.into_bytes()),
        };
        let picture = match picture {
            Ok(picture) => picture,
            // Another environment may have what this one has not.
            Err(error) => {
                problem = Some(error);
                continue;
            }
        };
        for run in groups.iter().flat_map(|group| &group.runs).filter(|run| run.summary.is_none()) {
            let path = run.path.display();
            terminal::hint(&format!("{path}: is not finished; its group is drawn as far as it is"));
        }
        let mut path = output.to_owned();
        if several {
            let stem = output.file_stem().unwrap_or_default().to_string_lossy();
            path.set_file_name(format!("{stem}-{environment}.{extension}"));
        }
        files::write_atomically(&path, &[&picture])?;
        written.push(path.display().to_string());
    }
    match problem {
        Some(problem) if written.is_empty() => Err(problem),
        _ => {
            say(&format!("wrote {}\n", written.join(", ")));
            Ok(())
        }
    }
}
