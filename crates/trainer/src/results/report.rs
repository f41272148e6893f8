//! One page of what runs have come to: what differs between them, and the policies at work. The page
//! holds everything it needs; `report/` has its HTML, its style and its script.

mod curves;
mod data;
mod layers;

use crate::error::Error;
use crate::files;
use crate::registry::Registry;
use crate::results::compare::{self, Estimate, GroupStatistics, compare};
use crate::results::failures::Thresholds;
use crate::results::plot;
use crate::results::replay::picture::{DARK, LIGHT, NAMES, Palette, hexadecimal};
use crate::results::{self, Group, Run};
use crate::terminal::{count, say};
use data::{Data, MAX_STEPS, SweepPicture, replays};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Writes the page of all runs at and below these directories.
///
/// # Errors
/// When there is no run, one can't be read, or the file can't be written. A policy that can't be
/// replayed is a warning.
pub fn report(
    paths: &[PathBuf],
    output: &Path,
    thresholds: Thresholds,
    registry: &Registry,
) -> Result<(), Error> {
    files::output(output, &["html"])?;
    let groups = results::groups(results::find(paths)?);
    thresholds.check(&groups)?;
    let page = page(&groups, thresholds, registry)?;
    files::write_atomically(output, &[page.as_bytes()])?;
    let size = page.len().div_ceil(1000);
    say(&format!("wrote {}: {}, {size} kB\n", output.display(), counts(&groups)));
    Ok(())
}

fn page(groups: &[Group], thresholds: Thresholds, registry: &Registry) -> Result<String, Error> {
    let (replays, notes) = replays(groups, registry);
    let sweep = SweepPicture::of(groups);
    let charts = curves::charts(groups, &environments(groups));
    let data = serde_json::to_string(&Data { charts, sweep, replays })
        .map_err(|error| Error::Failed(format!("the page's data can't be written: {error}")))?;
    Ok(fill(
        include_str!("report/page.html"),
        &[
            ("title", &escape(&title(groups))),
            ("compared", &escape(&compared(groups))),
            ("colors", &format!("{}{}", colors(&LIGHT, "light"), colors(&DARK, "dark"))),
            ("style", include_str!("report/style.css")),
            ("verdict", &escape(&results::verdicts(groups))),
            ("differences", &differences(groups)),
            ("comparison", &comparison(groups, thresholds)),
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

/// The colors of shapes and of their ground as properties that the page's style and script use.
fn colors(palette: &Palette, scheme: &str) -> String {
    let colors = NAMES.into_iter().zip(palette.colors).chain([("card", palette.ground)]);
    let property = |(name, color)| format!(" --{name}: {};", hexadecimal(color));
    let properties: String = colors.map(property).collect();
    format!("@media (prefers-color-scheme: {scheme}) {{ :root {{{properties} }} }}\n")
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

fn runs(groups: &[Group]) -> impl Iterator<Item = &Run> {
    groups.iter().flat_map(|group| &group.runs)
}

/// The distinct values that runs have, in order.
fn distinct<T: Ord>(groups: &[Group], of: impl Fn(&Run) -> T) -> Vec<T> {
    runs(groups).map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

fn environments(groups: &[Group]) -> Vec<String> {
    distinct(groups, |run| run.environment().to_owned())
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
            // On a narrow screen a row is a card, whose cells say what they are.
            let head = &heads[column];
            let _ = match column {
                0 => write!(html, "<th scope=\"row\">{cell}</th>"),
                _ if head.contains('<') => write!(html, "<td{}>{cell}</td>", class(column)),
                _ => write!(html, "<td data-head=\"{head}\"{}>{cell}</td>", class(column)),
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
        Some(value) if !value.is_empty() => escape(&results::short(value)),
        _ => "<span class=\"quiet\">not set</span>".to_owned(),
    };
    let label = |group: &Group| escape(&group.label);
    let mut html = if keys.is_empty() {
        "<p>One configuration; only the seeds differ.</p>\n".to_owned()
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
    let is_shared = |(k, value): &(&String, &String)| {
        !first.differences.contains_key(*k)
            && runs(groups).all(|run| run.config.get(*k) == Some(*value))
    };
    let shared = first.runs[0].config.iter().filter(is_shared);
    let rows: Vec<Vec<String>> =
        shared.map(|(k, value)| vec![key(k), escape(&results::short(value))]).collect();
    // Writing to a String can't fail.
    let _ = write!(
        html,
        "<details><summary>The {} that all runs share</summary>\n{}</details>",
        count(rows.len(), "value"),
        table(&["Key".into(), "Value".into()], &rows, "Shared configuration", &[])
    );
    html
}

/// Return against each cost, a picture for each environment that has some.
fn fronts(groups: &[Group]) -> String {
    const LABEL: &str = "Return against cost";
    let mut html = String::new();
    // Apart from those of the curves.
    let mut number = 1 << 30;
    for environment in environments(groups) {
        let is_here = |group: &&Group| group.runs[0].environment() == environment;
        let here: Vec<Group> = groups.iter().filter(is_here).cloned().collect();
        let summaries =
            here.iter().flat_map(|group| &group.runs).filter_map(|run| run.summary.as_ref());
        let costs: BTreeSet<&String> =
            summaries.flat_map(|summary| summary.eval.costs.keys()).collect();
        for cost in costs {
            let Ok([wide, narrow]) = plot::front::svg(&here, cost) else { continue };
            // Writing to a String can't fail.
            let _ = write!(
                html,
                "<figure class=\"broad\">{}</figure>\n<figure class=\"narrow\">{}</figure>\n",
                inline(&wide, LABEL, number),
                inline(&narrow, LABEL, number + 1)
            );
            number += 2;
        }
    }
    html
}

/// A picture's file as an element of the page; `number` keeps its clipping regions apart from those of
/// other pictures.
fn inline(svg: &str, label: &str, number: usize) -> String {
    let element = svg.find("<svg").map_or("", |start| &svg[start..]);
    element.replace("kuva-clip-", &format!("clip-{number}-")).replacen(
        "<svg",
        &format!("<svg role=\"img\" aria-label=\"{label}\""),
        1,
    )
}

/// The numbers of `trainer compare`.
fn comparison(groups: &[Group], thresholds: Thresholds) -> String {
    let comparison = match compare(groups, thresholds, false) {
        Ok(comparison) => comparison,
        Err(error) => return format!("<p>{}</p>\n", escape(&error.to_string())),
    };
    let optional = |estimate: Option<Estimate>| estimate.map_or("–".into(), with_interval);
    let with_success = comparison.rows.iter().any(|row| row.success_rate.is_some());
    let mut heads =
        vec!["Group", "Seeds", "Mean", "Median", "Interquartile mean", "While training"];
    heads.extend(with_success.then_some("Success rate"));
    let costs = comparison.costs();
    let of_costs: Vec<String> = costs.iter().map(|cost| format!("Cost {}", escape(cost))).collect();
    heads.extend(of_costs.iter().map(String::as_str));
    let mut rows = Vec::new();
    // The best of each environment first.
    let mut ranked: Vec<&GroupStatistics> = comparison.rows.iter().collect();
    ranked.sort_by(|a, b| a.environment.cmp(&b.environment).then(a.order(b)));
    for row in &ranked {
        let end = &row.final_return;
        let mut cells = vec![
            escape(&row.group),
            row.seeds.len().to_string(),
            with_interval(end.mean),
            with_interval(end.median),
            with_interval(end.interquartile_mean),
            optional(row.area.map(|area| area.interquartile_mean)),
        ];
        cells.extend(with_success.then(|| optional(row.success_rate)));
        cells.extend(costs.iter().map(|name| cost(row, name)));
        rows.push(cells);
    }
    let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
    let mut html = String::from(
        "<p>Return of the episodes at the end (greedy, or with sampled actions under a constraint), with 95 \
         % bootstrap intervals over seeds. While training: the mean height of the learning curve over its steps, interquartile mean.</p>\n",
    );
    html.push_str(&table(&heads, &rows, "Comparison", &[1]));
    if let Some(failure) = thresholds.failure() {
        html.push_str(&failures(&failure, &ranked));
    }
    let all = comparison.rows.len() <= compare::ALL_PAIRS_UP_TO;
    let pairs: Vec<Vec<String>> = comparison
        .shown_pairs()
        .iter()
        .map(|pair| vec![escape(&pair.group), escape(&pair.over), with_interval(pair.probability)])
        .collect();
    if !pairs.is_empty() {
        let limits = if comparison.has_limits() { ", whichever keeps its limit" } else { "" };
        let which = if all { "" } else { " Pairs with the best group only." };
        html.push_str(&format!(
            "<p>Probability of improvement: that a run of the group ends with a higher return than one \
             of the other{limits}.{which}</p>\n"
        ));
        let heads = ["Group", "Over", "Probability"].map(str::to_owned);
        html.push_str(&table(&heads, &pairs, "Probability of improvement", &[]));
    }
    html.push_str(&fronts(groups));
    for note in &comparison.notes {
        html.push_str(&format!("<p class=\"quiet\">Note: {}</p>\n", escape(note)));
    }
    html
}

/// Which seeds failed.
fn failures(failure: &str, rows: &[&GroupStatistics]) -> String {
    let row = |row: &&GroupStatistics| {
        let group = escape(&row.group);
        match &row.failed {
            Some(failed) => {
                let [count, _, seeds] = failed.cells(row.seeds.len());
                vec![group, count, with_interval(failed.share), seeds]
            }
            None => vec![group, "–".into(), "–".into(), "–".into()],
        }
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let heads = ["Group", "Failed", "Share", "Seeds"].map(str::to_owned);
    format!(
        "<p>A seed has failed that ended with {failure}. Share with its 95 % Wilson interval.</p>\n{}",
        table(&heads, &rows, "Failures", &[1])
    )
}

/// A statistic with its interval below.
fn with_interval(estimate: Estimate) -> String {
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

/// What episodes cost at the end, and how many seeds keep the limit.
fn cost(row: &GroupStatistics, name: &str) -> String {
    let Some(cost) = row.cost(name) else { return "–".into() };
    let limit = cost.limit.map(|(limit, within)| {
        let seeds = row.seeds.len();
        format!("<br><span class=\"quiet\">{within} of {seeds} within {limit}</span>")
    });
    with_interval(cost.mean) + &limit.unwrap_or_default()
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
        "<p>Return: mean, lowest and highest of the episodes at the end.</p>\n\
         <details><summary>{}</summary>\n{}</details>",
        count(rows.len(), "run"),
        table(&heads, &rows, "Runs", &[2, 3, 4, 5, 6, 7])
    )
}

/// What is said above the replay.
fn replayed(notes: &[String]) -> String {
    let mut html = format!(
        "Greedy actions, under a constraint sampled ones, of the latest checkpoint in the first episodes of <code>trainer eval</code>, \
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
}
