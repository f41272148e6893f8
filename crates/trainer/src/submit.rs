//! `trainer submit`: a sweep as a job array of Slurm, or a long run as one job.

use crate::cli::JobArgs;
use crate::error::Error;
use crate::experiment::config::{Experiment, Source};
use crate::files;
use crate::registry::Registry;
use crate::sweep::{self, Sweep};
use crate::terminal::{Output, command, program, quoted};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds before its limit that Slurm asks a job to stop: time for an iteration and a checkpoint.
const NOTICE: u32 = 120;

/// What was submitted, for scripts.
#[derive(Serialize)]
struct Submitted {
    directory: String,
    script: String,
    /// Of the array or the run; `None` after a dry run.
    job: Option<String>,
    /// Of the job that ranks and confirms a sweep's trials.
    last: Option<String>,
}

/// Writes the batch script into the directory of the sweep or run, and submits it.
///
/// # Errors
/// When the configuration can't be used, a file not be written, or Slurm refuses.
pub fn submit(
    source: &Source,
    out: Option<PathBuf>,
    overwrite: bool,
    job: &JobArgs,
    output: Output,
    registry: &Registry,
) -> Result<(), Error> {
    if Sweep::is_in(source)? {
        return submit_sweep(source, out, overwrite, job, output, registry);
    }
    submit_run(source, out, job, output, registry)
}

fn submit_sweep(
    source: &Source,
    out: Option<PathBuf>,
    overwrite: bool,
    job: &JobArgs,
    output: Output,
    registry: &Registry,
) -> Result<(), Error> {
    if job.nodes.is_some() {
        let message = "--nodes: is for one run; a sweep's workers are as many as --parallel says";
        return Err(Error::Usage(message.into()));
    }
    let (root, trials) = sweep::prepare(source, registry, out, overwrite)?;
    let root = absolute(&root)?;
    let workers = trials.min(job.parallel.into());
    let worker = format!("exec {} --shared --quiet --threads {}", this("resume", &root)?, job.cpus);
    let array = [format!("--array=1-{workers}"), format!("--output={}", log(&root, "%A_%a"))];
    let script = script(job, &root, &array, &worker);
    let last = this("resume", &root)?;
    let last = format!("exec {last} --quiet --threads {}", job.cpus);
    let logs = [format!("--output={}", log(&root, "%j"))];
    let last = self::script(job, &root, &logs, &last);
    let path = root.join("job.sh");
    let last_path = root.join("last.sh");
    files::write_atomically(&path, &[script.as_bytes()])?;
    files::write_atomically(&last_path, &[last.as_bytes()])?;
    let mut submitted = Submitted {
        directory: root.display().to_string(),
        script: path.display().to_string(),
        job: None,
        last: None,
    };
    if job.dry_run {
        output.result(&submitted, || script);
        return Ok(());
    }
    let id = sbatch(&[], &path)?;
    submitted.job = Some(id.clone());
    // Whatever becomes of the workers: what is missing is run then.
    submitted.last = Some(sbatch(&[format!("--dependency=afterany:{id}")], &last_path)?);
    output.result(&submitted, || {
        format!(
            "job {id}: {workers} workers; job {} ranks the trials\n  watch       {}\n",
            submitted.last.as_deref().unwrap_or_default(),
            command("watch", &root)
        )
    });
    Ok(())
}

fn submit_run(
    source: &Source,
    out: Option<PathBuf>,
    job: &JobArgs,
    output: Output,
    registry: &Registry,
) -> Result<(), Error> {
    if job.nodes.is_some() && !cfg!(feature = "mpi") {
        let message = "--nodes: this program is built without MPI; build it with `cargo build --release \
                       --features backburn-trainer/mpi`";
        return Err(Error::Usage(message.into()));
    }
    let (experiment, _) = Experiment::parse(source, registry)?;
    let (name, seed) = (&experiment.name, experiment.seed.to_string());
    let root = out.unwrap_or_else(|| ["runs", name, &seed].iter().collect());
    if root.join("config.toml").exists() {
        return Err(Error::Usage(format!(
            "{}: holds a run already; write elsewhere (--out DIR)",
            root.display()
        )));
    }
    std::fs::create_dir_all(&root).map_err(Error::io("can't be created", &root))?;
    let root = absolute(&root)?;
    let config = root.join("job.toml");
    files::write_atomically(&config, &[experiment.to_toml()?.as_bytes()])?;
    let launcher = if job.nodes.is_some() { "srun " } else { "" };
    let flags = format!("--quiet --threads {}", job.cpus);
    let work = format!(
        "if [ -f {} ]; then exec {launcher}{} {flags}; fi\n  exec {launcher}{} --out {} {flags}",
        word(&root.join("config.toml")),
        this("resume", &root)?,
        this("run", &config)?,
        word(&root)
    );
    let mut lines = vec![format!("--output={}", log(&root, "%j"))];
    lines.extend(job.nodes.map(|nodes| format!("--nodes={nodes} --ntasks-per-node=1")));
    let script = script(job, &root, &lines, &work);
    let path = root.join("job.sh");
    files::write_atomically(&path, &[script.as_bytes()])?;
    let id = if job.dry_run { None } else { Some(sbatch(&[], &path)?) };
    let submitted = Submitted {
        directory: root.display().to_string(),
        script: path.display().to_string(),
        job: id.clone(),
        last: None,
    };
    output.result(&submitted, || match id {
        None => script,
        Some(id) => format!("job {id}\n  watch       {}\n", command("watch", &root)),
    });
    Ok(())
}

/// A limit of time for sbatch: as it takes one itself, or a number of minutes, hours or days (90m, 2h, 3d).
///
/// # Errors
/// When the text is none of that.
pub fn limit(text: &str) -> Result<String, String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
    match unit {
        "m" if is_number(number) => Ok(number.to_owned()),
        "h" if is_number(number) => Ok(format!("{number}:00:00")),
        "d" if is_number(number) => Ok(format!("{number}-0")),
        _ if text.split(['-', ':']).all(is_number) => Ok(text.to_owned()),
        _ => {
            Err("a limit of time is 2h, 90m or 3d, or as sbatch takes it: 2:00:00, 1-12, 90".into())
        }
    }
}

/// A batch script that does the work until it is done or the limit of time comes near, and then queues itself again.
fn script(job: &JobArgs, directory: &Path, lines: &[String], work: &str) -> String {
    let JobArgs { time, cpus, partition, nodes, requeue, sbatch, .. } = job;
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let mut options = vec![
        format!("--job-name={}", quoted(&name)),
        format!("--time={time}"),
        format!("--cpus-per-task={cpus}"),
        format!("--signal=B:TERM@{NOTICE}"),
        "--requeue".to_owned(),
        "--open-mode=append".to_owned(),
    ];
    options.extend(partition.iter().map(|name| format!("--partition={name}")));
    options.extend(lines.iter().cloned());
    options.extend(sbatch.iter().cloned());
    // srun would kill its tasks.
    let stop = match nodes {
        None => r#"kill -TERM "$worker""#,
        Some(_) => r#"scancel --signal=TERM "$SLURM_JOB_ID""#,
    };
    let options: String = options.iter().map(|option| format!("#SBATCH {option}\n")).collect();
    format!(
        r#"#!/bin/bash
{options}
# Written by `{} submit`; submit it again with sbatch.

work() {{
  {work}
}}

# Slurm asks to stop before the limit of time, and asks more than once: the trainer is told the first time, and saves
# checkpoints.
trap '[ -n "$told" ] || {stop}; asked=yes told=yes' TERM
work &
worker=$!
while :; do
  asked=
  wait "$worker"
  status=$?
  [ -n "$asked" ] || break
done
if [ "$status" -eq 130 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeue} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"#,
        program()
    )
}

fn sbatch(options: &[String], script: &Path) -> Result<String, Error> {
    let output = Command::new("sbatch").arg("--parsable").args(options).arg(script).output();
    let output = output.map_err(|error| {
        Error::Usage(format!(
            "sbatch can't be started ({error}); run this where Slurm is installed, or with --dry-run"
        ))
    })?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Failed(format!(
            "sbatch refuses {}: {}",
            script.display(),
            reason.trim()
        )));
    }
    // The job's id, and behind a semicolon the cluster's name.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().split(';').next().unwrap_or_default().to_owned())
}

/// A command of this very program: it need not be in the PATH of a job.
fn this(verb: &str, path: &Path) -> Result<String, Error> {
    let program = std::env::current_exe()
        .map_err(Error::io("the trainer's own program can't be found", Path::new("/")))?;
    Ok(format!("{} {verb} {}", word(&program), word(path)))
}

fn word(path: &Path) -> String {
    quoted(&path.to_string_lossy()).into_owned()
}

/// Where a job's output goes. Slurm takes no quotes there.
fn log(directory: &Path, id: &str) -> String {
    directory.join(format!("slurm-{id}.log")).display().to_string()
}

/// Whether a file of this name in a run's directory may be a job's.
#[must_use]
pub fn is_own(name: &str) -> bool {
    ["job.sh", "job.toml"].contains(&name) || (name.starts_with("slurm-") && name.ends_with(".log"))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("can't be found", path))
}
