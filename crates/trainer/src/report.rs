//! One page of what runs have come to: what differs between them, and the policies at work. The page
//! holds everything it needs; `report/` has its HTML, its style and its script.

mod layers;

use crate::compare::{self, Estimate, Row, compare};
use crate::error::Error;
use crate::files;
use crate::plot::{self, Axis};
use crate::replay::picture::pictures;
use crate::results::{self, Group, Run};
use crate::session::Trained;
use crate::stats;
use crate::terminal::{count, say, warn};
use agents::Recording;
use envs::Registry;
use layers::Pictures;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Policies that are replayed at most: the page stays small however large a sweep is.
const MAX_REPLAYS: usize = 8;
/// Episodes of each at most; the first ones of `trainer eval`.
const MAX_EPISODES: u32 = 3;
/// Steps of each in all: as many episodes as fit, but one at least, cut if need be.
const MAX_STEPS: usize = 500;
/// From this many groups on a picture of the hyperparameters says more than the table.
const MIN_SWEEP: usize = 3;

/// Writes the page of all runs at and below these directories.
///
/// # Errors
/// When there is no run, one can't be read, or the file can't be written. A policy that can't be
/// replayed is a warning.
pub fn report(paths: &[PathBuf], output: &Path, registry: &Registry) -> Result<(), Error> {
    files::output(output, &["html"])?;
    let groups = results::groups(results::find(paths)?);
    let page = page(&groups, registry)?;
    files::write_atomically(output, &[page.as_bytes()])?;
    let size = page.len().div_ceil(1000);
    say(&format!("wrote {}: {}, {size} kB\n", output.display(), counts(&groups)));
    Ok(())
}

fn page(groups: &[Group], registry: &Registry) -> Result<String, Error> {
    let (replays, notes) = replays(groups, registry);
    let sweep = Sweep::of(groups);
    let is_wide = sweep.is_some() || groups.len() > compare::ALL_PAIRS_UP_TO;
    let data = serde_json::to_string(&Data { sweep, replays })
        .map_err(|error| Error::Usage(format!("the page's data can't be written: {error}")))?;
    Ok(fill(
        include_str!("report/page.html"),
        &[
            ("title", &escape(&title(groups))),
            ("compared", &escape(&compared(groups))),
            ("style", include_str!("report/style.css")),
            ("differences", &differences(groups)),
            ("curves", &curves(groups)),
            // Beside the curves is the sweep, where there is one.
            ("curves_class", if environments(groups).len() > 1 { "wide" } else { "" }),
            ("comparison_class", if is_wide { "wide" } else { "" }),
            ("comparison", &comparison(groups)),
            ("replayed", &replayed(&notes)),
            ("runs", &run_table(groups)),
            ("version", env!("CARGO_PKG_VERSION")),
            // In a script element only a `<` can end the data early.
            ("data", &data.replace('<', "\\u003c")),
            ("script", include_str!("report/report.js")),
        ],
    ))
}

/// The template with each `{{name}}` replaced; what is put in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or(("", part));
        let value = values.iter().find(|(known, _)| *known == name);
        page.push_str(value.map_or("", |(_, value)| value));
        page.push_str(rest);
    }
    page
}

/// Text as HTML shows it, in an element or an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

// ---- Text and tables ----

fn runs(groups: &[Group]) -> impl Iterator<Item = &Run> {
    groups.iter().flat_map(|group| &group.runs)
}

/// The distinct values that runs have, in order.
fn distinct<T: Ord>(groups: &[Group], of: impl Fn(&Run) -> T) -> Vec<T> {
    runs(groups).map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

fn environment(run: &Run) -> &str {
    run.config.get("env.name").map_or("", String::as_str)
}

fn environments(groups: &[Group]) -> Vec<String> {
    distinct(groups, |run| environment(run).to_owned())
}

fn title(groups: &[Group]) -> String {
    match distinct(groups, |run| run.name.clone()).as_slice() {
        names if names.len() <= 3 => names.join(" and "),
        names => format!("{} experiments", names.len()),
    }
}

fn counts(groups: &[Group]) -> String {
    format!("{} of {}", count(groups.len(), "group"), count(runs(groups).count(), "run"))
}

fn compared(groups: &[Group]) -> String {
    let environments = environments(groups).join(", ");
    let seeds = distinct(groups, |run| run.seed);
    let seeds = match seeds.as_slice() {
        [seed] => format!("seed {seed}"),
        [first, .., last] if seeds.len() > 5 => {
            format!("{} seeds from {first} to {last}", seeds.len())
        }
        seeds => {
            let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
            format!("seeds {}", seeds.join(", "))
        }
    };
    let unfinished = runs(groups).filter(|run| run.summary.is_none()).count();
    let unfinished = match unfinished {
        0 => String::new(),
        number => format!("; {} not finished", count(number, "run")),
    };
    format!("{} on {environments}, {seeds}{unfinished}", counts(groups))
}

/// A table with a row of heads; cells are HTML already, `numbers` tells which columns are.
fn table(heads: &[String], rows: &[Vec<String>], label: &str, numbers: &[usize]) -> String {
    let class = |column| if numbers.contains(&column) { " class=\"number\"" } else { "" };
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\n<table>\n\
         <thead><tr>"
    );
    // Writing to a String can't fail.
    for (column, head) in heads.iter().enumerate() {
        let _ = write!(html, "<th scope=\"col\"{}>{head}</th>", class(column));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = match column {
                0 => write!(html, "<th scope=\"row\">{cell}</th>"),
                _ => write!(html, "<td{}>{cell}</td>", class(column)),
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    html
}

/// What differs between the groups as a table, and what they share, folded.
fn differences(groups: &[Group]) -> String {
    let Some(first) = groups.first() else { return String::new() };
    let keys: Vec<&String> = first.differences.keys().collect();
    let key = |key: &String| format!("<span class=\"key\">{}</span>", escape(key));
    let cell = |group: &Group, key: &String| match group.differences.get(key) {
        Some(value) if !value.is_empty() => escape(value),
        _ => "<span class=\"quiet\">not set</span>".to_owned(),
    };
    let label = |group: &Group| escape(&group.label);
    let mut html = if keys.is_empty() {
        match groups.len() {
            1 => "<p>One configuration; only the seeds differ.</p>\n".to_owned(),
            _ => {
                "<p>The names only; every value of the configurations is the same.</p>\n".to_owned()
            }
        }
    } else if groups.len() <= 5 && keys.len() > 1 {
        let heads = [String::new()].into_iter().chain(groups.iter().map(label)).collect::<Vec<_>>();
        let mut rows = Vec::new();
        for k in &keys {
            let cells = groups.iter().map(|group| cell(group, k));
            rows.push([key(k)].into_iter().chain(cells).collect());
        }
        table(&heads, &rows, "Differences", &[])
    } else {
        let heads: Vec<String> =
            ["Group".to_owned()].into_iter().chain(keys.iter().map(|k| key(k))).collect();
        let mut rows = Vec::new();
        for group in groups {
            let cells = keys.iter().map(|k| cell(group, k));
            rows.push([label(group)].into_iter().chain(cells).collect());
        }
        table(&heads, &rows, "Differences", &[])
    };
    let shared = first.runs[0].config.iter().filter(|(k, _)| !first.differences.contains_key(*k));
    let rows: Vec<Vec<String>> = shared.map(|(k, value)| vec![key(k), escape(value)]).collect();
    // Writing to a String can't fail.
    let _ = write!(
        html,
        "<details><summary>The {} that all groups share</summary>\n{}</details>",
        count(rows.len(), "value"),
        table(&["Key".into(), "Value".into()], &rows, "Shared configuration", &[])
    );
    html
}

/// Learning curves, a picture for each environment.
fn curves(groups: &[Group]) -> String {
    let mut html = String::new();
    for environment in environments(groups) {
        let here: Vec<Group> = groups
            .iter()
            .filter(|group| self::environment(&group.runs[0]) == environment)
            .cloned()
            .collect();
        const METRIC: &str = "rollout/ep_rew_mean";
        let (wide, narrow) = (plot::svg, plot::narrow_svg);
        let pictures = wide(&here, METRIC, Axis::Steps)
            .and_then(|wide| Ok((wide, narrow(&here, METRIC, Axis::Steps)?)));
        html.push_str(&match pictures {
            Ok((wide, narrow)) => format!(
                "<figure class=\"broad\">{}</figure>\n<figure class=\"narrow\">{}</figure>\n",
                inline(&wide, html.len()),
                inline(&narrow, html.len() + 1)
            ),
            Err(error) => format!("<p>{}</p>\n", escape(&error.to_string())),
        });
    }
    html
}

/// A picture's file as an element of the page; `number` keeps its clipping regions apart from those of
/// other pictures.
fn inline(svg: &str, number: usize) -> String {
    let element = svg.find("<svg").map_or("", |start| &svg[start..]);
    element.replace("kuva-clip-", &format!("clip-{number}-")).replacen(
        "<svg",
        "<svg role=\"img\" aria-label=\"Learning curves\"",
        1,
    )
}

/// The figures of `trainer compare`.
fn comparison(groups: &[Group]) -> String {
    let comparison = match compare(groups, None) {
        Ok(comparison) => comparison,
        Err(error) => return format!("<p>{}</p>\n", escape(&error.to_string())),
    };
    let optional = |estimate: Option<Estimate>| estimate.map_or("–".into(), figure);
    let with_success = comparison.rows.iter().any(|row| row.success_rate.is_some());
    let mut heads =
        vec!["Group", "Seeds", "Mean", "Median", "Interquartile mean", "While training"];
    heads.extend(with_success.then_some("Success rate"));
    let mut rows = Vec::new();
    // The best of each environment first.
    let mut ranked: Vec<&Row> = comparison.rows.iter().collect();
    let middle = |row: &Row| row.final_return.interquartile_mean.value;
    ranked.sort_by(|a, b| a.environment.cmp(&b.environment).then(middle(b).total_cmp(&middle(a))));
    for row in ranked {
        let end = &row.final_return;
        let mut cells = vec![
            escape(&row.group),
            row.seeds.len().to_string(),
            figure(end.mean),
            figure(end.median),
            figure(end.interquartile_mean),
            optional(row.area.map(|area| area.interquartile_mean)),
        ];
        cells.extend(with_success.then(|| optional(row.success_rate)));
        rows.push(cells);
    }
    let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
    let mut html = String::from(
        "<p>Return of the greedy episodes at the end, with 95 % bootstrap intervals over seeds. While \
         training: the mean height of the learning curve over its steps, interquartile mean.</p>\n",
    );
    html.push_str(&table(&heads, &rows, "Comparison", &[1]));
    let all = comparison.rows.len() <= compare::ALL_PAIRS_UP_TO;
    let pairs: Vec<Vec<String>> = comparison
        .shown_pairs()
        .iter()
        .map(|pair| vec![escape(&pair.group), escape(&pair.over), figure(pair.probability)])
        .collect();
    if !pairs.is_empty() {
        let which = if all { "" } else { " Pairs with the best group only." };
        html.push_str(&format!(
            "<p>Probability of improvement: that a run of the group ends with a higher return than one \
             of the other.{which}</p>\n"
        ));
        let heads = ["Group", "Over", "Probability"].map(str::to_owned);
        html.push_str(&table(&heads, &pairs, "Probability of improvement", &[]));
    }
    for note in &comparison.notes {
        html.push_str(&format!("<p class=\"quiet\">Note: {}</p>\n", escape(note)));
    }
    html
}

/// A figure with its interval below.
fn figure(estimate: Estimate) -> String {
    let text = estimate.to_string();
    match text.split_once(' ') {
        Some((value, interval)) => {
            format!(
                "<span class=\"figure\">{value}<br><span class=\"quiet\">{interval}</span></span>"
            )
        }
        None => text,
    }
}

/// Every run with what its final evaluation said.
fn run_table(groups: &[Group]) -> String {
    const HEADS: [&str; 8] = ["Run", "Group", "Seed", "Return", "From", "To", "Steps", "Seconds"];
    let mut rows = Vec::new();
    for group in groups {
        for run in &group.runs {
            let mut row = vec![
                format!("<code>{}</code>", escape(&run.path.display().to_string())),
                escape(&group.label),
                run.seed.to_string(),
            ];
            row.extend(match &run.summary {
                Some(summary) => [
                    format!("{:.2}", summary.eval.mean_return),
                    format!("{:.2}", summary.eval.min_return),
                    format!("{:.2}", summary.eval.max_return),
                    summary.steps.to_string(),
                    format!("{:.1}", summary.seconds),
                ],
                None => ["not finished", "", "", "", ""].map(str::to_owned),
            });
            rows.push(row);
        }
    }
    let heads = HEADS.map(str::to_owned);
    format!(
        "<p>Return: mean, lowest and highest of the greedy episodes at the end.</p>\n\
         <details><summary>{}</summary>\n{}</details>",
        count(rows.len(), "run"),
        table(&heads, &rows, "Runs", &[2, 3, 4, 5, 6, 7])
    )
}

// ---- What the script draws ----

#[derive(Serialize)]
struct Data {
    sweep: Option<Sweep>,
    replays: Vec<Replay>,
}

/// Hyperparameters and what they led to.
#[derive(Serialize)]
struct Sweep {
    keys: Vec<String>,
    groups: Vec<SweepGroup>,
}

#[derive(Serialize)]
struct SweepGroup {
    /// In order of the keys, as TOML writes them; empty where the key is not set.
    values: Vec<String>,
    /// Final greedy return of each finished run.
    returns: Vec<f64>,
}

impl Sweep {
    /// `None` where there are too few groups, or ones whose returns can't be compared.
    fn of(groups: &[Group]) -> Option<Sweep> {
        let differences = &groups.first()?.differences;
        if differences.is_empty() || differences.contains_key("env.name") {
            return None;
        }
        let returns = |group: &Group| -> Vec<f64> {
            let returns = group.runs.iter().filter_map(final_return);
            returns.map(round).collect()
        };
        let groups: Vec<SweepGroup> = groups
            .iter()
            .map(|group| SweepGroup {
                values: group.differences.values().cloned().collect(),
                returns: returns(group),
            })
            .filter(|group| !group.returns.is_empty())
            .collect();
        (groups.len() >= MIN_SWEEP)
            .then(|| Sweep { keys: differences.keys().cloned().collect(), groups })
    }
}

fn final_return(run: &Run) -> Option<f64> {
    run.summary.as_ref().map(|summary| summary.eval.mean_return)
}

/// Recorded episodes of one policy.
#[derive(Serialize)]
struct Replay {
    label: String,
    episodes: Vec<ReplayEpisode>,
}

#[derive(Serialize)]
struct ReplayEpisode {
    #[serde(flatten)]
    pictures: Pictures,
    /// `[steps]`
    actions: Vec<Vec<f64>>,
    /// `[steps]`
    rewards: Vec<f64>,
    /// How it ended, in words.
    end: &'static str,
}

/// Plays the best run of each group; of too many groups the best ones. Also what could not be played.
fn replays(groups: &[Group], registry: &Registry) -> (Vec<Replay>, Vec<String>) {
    let mut bests: Vec<(&Group, &Run)> =
        groups.iter().filter_map(|group| Some((group, best(&group.runs)?))).collect();
    let mut notes = Vec::new();
    if bests.len() > MAX_REPLAYS {
        notes
            .push(format!("Of {} groups, the {MAX_REPLAYS} with the highest return.", bests.len()));
        let value = |run: &Run| final_return(run).unwrap_or(f64::NEG_INFINITY);
        bests.sort_by(|(_, a), (_, b)| value(b).total_cmp(&value(a)));
        bests.truncate(MAX_REPLAYS);
    }
    let mut replays = Vec::new();
    for (group, run) in bests {
        match replay(group, run, registry) {
            Ok(replay) => replays.push(replay),
            Err(error) => {
                let note = format!("{}: can't be replayed: {error}", run.path.display());
                warn(&note);
                notes.push(note);
            }
        }
    }
    (replays, notes)
}

/// The finished run with the highest return, or the first one.
fn best(runs: &[Run]) -> Option<&Run> {
    let finished = runs.iter().filter_map(|run| Some((final_return(run)?, run)));
    finished.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, run)| run).or(runs.first())
}

fn replay(group: &Group, run: &Run, registry: &Registry) -> Result<Replay, Error> {
    let Trained { experiment, entry, agent, .. } = Trained::read(&run.path, registry)?;
    let mut episodes = Vec::new();
    let mut left = MAX_STEPS;
    for index in 0..MAX_EPISODES {
        let recording = agents::record(agent.actor(), &entry, experiment.seed, index, true, left)
            .map_err(Error::Agent)?;
        if recording.end.is_none() && index > 0 {
            break;
        }
        left -= recording.rewards.len();
        let pictures = pictures(&recording, entry.name)?;
        episodes.push(ReplayEpisode::new(&recording, Pictures::new(&pictures)));
    }
    let label = format!("{}, seed {}", group.label, run.seed);
    Ok(Replay { label, episodes })
}

impl ReplayEpisode {
    fn new(recording: &Recording, pictures: Pictures) -> ReplayEpisode {
        let wide = |row: &Vec<f32>| -> Vec<f64> { row.iter().map(|&x| round(x.into())).collect() };
        let end = match recording.end.map(|episode| episode.success) {
            None => "the recording stops here",
            Some(Some(true)) => "solved",
            Some(Some(false)) => "not solved",
            Some(None) => "the episode ends",
        };
        ReplayEpisode {
            pictures,
            actions: recording.actions.iter().map(wide).collect(),
            rewards: recording.rewards.iter().copied().map(round).collect(),
            end,
        }
    }
}

/// Five significant digits: finer than a picture shows, and the page stays small.
fn round(number: f64) -> f64 {
    stats::round(number, 5)
}

/// What is said above the replay.
fn replayed(notes: &[String]) -> String {
    let mut html = format!(
        "Greedy actions of the latest checkpoint in the first episodes of <code>trainer eval</code>, \
         {MAX_STEPS} steps at most; of each group the seed with the highest return."
    );
    for note in notes {
        // Writing to a String can't fail.
        let _ = write!(html, "<br>{}", escape(note));
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        let page = fill("<{{a}}|{{b}}>", &[("a", "{{b}}"), ("b", "2")]);
        assert_eq!(page, "<{{b}}|2>");
    }

    #[test]
    fn no_text_ends_an_element_or_an_attribute() {
        assert_eq!(escape("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
    }

    #[test]
    fn numbers_keep_five_digits() {
        assert_eq!(
            [0.0, 1.0, -0.012_345_678, 123_456.7].map(round),
            [0.0, 1.0, -0.012346, 123460.0]
        );
    }
}
