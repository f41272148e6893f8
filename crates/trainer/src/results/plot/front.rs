//! Return against cost: a point a group, and the best that is possible where that is known.

use super::{COLORS, HEIGHT, LEGEND_LINE, NARROW_WIDTH, WIDTH, entry, layout};
use crate::error::Error;
use crate::experiment::config::did_you_mean;
use crate::experiment::config::keys::flattened;
use crate::results::compare::Estimate;
use crate::results::{Group, Run};
use kuva::plot::{LegendEntry, LegendPosition, LinePlot, ScatterPlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use std::collections::BTreeMap;

/// Of what is exact.
const EXACT_COLOR: &str = "#777777";

/// The best policies of `gusty`, as `(cost, return)`: the corners of the straight lines that the front is
/// made of. By linear programming; `tests/costs.rs` computes them again.
const GUSTY: [(f64, f64); 11] = [
    (0.000000, -17.222000),
    (0.050000, -16.887600),
    (0.140000, -16.620080),
    (0.262000, -16.406064),
    (0.409600, -16.234851),
    (0.577680, -16.097881),
    (0.762144, -15.988305),
    (0.959715, -15.900644),
    (1.167772, -15.830515),
    (1.384218, -15.774412),
    (2.500000, -15.550000),
];

/// The same of `budget`, points of a curve: by its Riccati equation.
const BUDGET: [(f64, f64); 9] = [
    (0.5, -6.978307),
    (0.7, -5.706283),
    (1.0, -4.734206),
    (1.4, -4.052892),
    (2.0, -3.499110),
    (2.8, -3.088152),
    (4.0, -2.737831),
    (5.6, -2.467939),
    (8.0, -2.231579),
];

/// The most that can be earned at a cost, as points `(cost, return)` in order of the cost, where somebody
/// has computed it: of these environments with their default parameters.
#[must_use]
pub fn exact(environment: &str) -> Option<&'static [(f64, f64)]> {
    match environment {
        "gusty" => Some(&GUSTY),
        "budget" => Some(&BUDGET),
        _ => None,
    }
}

/// A group's runs at their end.
struct Point {
    cost: Estimate,
    earned: Estimate,
}

/// The picture as SVG, for a wide screen and for a narrow one.
///
/// # Errors
/// When no finished run has this cost.
pub fn svg(groups: &[Group], cost: &str) -> Result<[String; 2], Error> {
    let series = series(groups, cost)?;
    Ok([WIDTH, NARROW_WIDTH].map(|width| {
        let (plots, layout) = picture(&series, groups, cost, width);
        super::scaled(plots, layout, width)
    }))
}

/// The picture as a PNG file's content.
///
/// # Errors
/// As [`svg`].
pub fn png(groups: &[Group], cost: &str) -> Result<Vec<u8>, Error> {
    let (plots, layout) = picture(&series(groups, cost)?, groups, cost, WIDTH);
    super::rasterized(plots, layout)
}

/// The points of each algorithm, in order of their cost.
fn series(groups: &[Group], cost: &str) -> Result<BTreeMap<String, Vec<Point>>, Error> {
    let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    let mut known: Vec<&String> = Vec::new();
    for group in groups {
        let summaries = || group.runs.iter().filter_map(|run| run.summary.as_ref());
        known.extend(summaries().flat_map(|summary| summary.eval.costs.keys()));
        let costs: Option<Vec<f64>> =
            summaries().map(|summary| Some(summary.eval.costs.get(cost)?.mean)).collect();
        let returns: Vec<f64> = summaries().map(|summary| summary.eval.mean_return).collect();
        if let (Some(costs), Some(first)) = (costs, summaries().next()) {
            let (cost, earned) = (Estimate::mean_of(&costs), Estimate::mean_of(&returns));
            series.entry(first.algorithm.clone()).or_default().push(Point { cost, earned });
        }
    }
    series.values_mut().for_each(|points| {
        points.sort_by(|a, b| a.cost.value.total_cmp(&b.cost.value));
    });
    if !series.is_empty() {
        return Ok(series);
    }
    known.sort();
    known.dedup();
    let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
    Err(Error::Usage(if known.is_empty() {
        "no finished run has a cost; there is nothing to draw".to_owned()
    } else {
        let hint = did_you_mean(cost, &known);
        format!("no finished run has the cost {cost}{hint}; there is: {}", known.join(", "))
    }))
}

/// What is exact of the runs' environment, where it is the same and as it is by default.
fn exact_of(groups: &[Group]) -> Option<&'static [(f64, f64)]> {
    let mut runs = groups.iter().flat_map(|group| &group.runs);
    let name = runs.clone().next()?.config.get("env.name")?;
    runs.all(|run| run.config.get("env.name") == Some(name) && is_as_by_default(run))
        .then(|| exact(name))?
}

/// Whether nothing about the environment is other than by default.
fn is_as_by_default(run: &Run) -> bool {
    let name = run.config.get("env.name").map_or("", String::as_str);
    let Some(entry) = envs::Environments::default().get(name) else { return false };
    let Ok(defaults) = toml::Table::try_from(entry.defaults()) else { return false };
    let changed = ["max_episode_steps", "observation_noise", "action_delay"];
    flattened(&defaults)
        .iter()
        .all(|(key, default)| run.config.get(&format!("env.parameters.{key}")) == Some(default))
        && run.config.get("env.action_repeat").is_none_or(|repeat| repeat == "1")
        && changed.iter().all(|key| !run.config.contains_key(&format!("env.{key}")))
}

fn picture(
    series: &BTreeMap<String, Vec<Point>>,
    groups: &[Group],
    cost: &str,
    width: f64,
) -> (Vec<Plot>, Layout) {
    let (mut plots, mut legend) = (Vec::new(), Vec::new());
    if let Some(front) = exact_of(groups) {
        let line = LinePlot::new().with_data(front.to_vec()).with_color(EXACT_COLOR);
        plots.push(Plot::Line(line.with_stroke_width(1.5).with_dashed()));
        let exact = entry("the most that is possible, exactly".into(), EXACT_COLOR);
        legend.push(LegendEntry { dasharray: Some("5,3".into()), ..exact });
    }
    for ((algorithm, points), color) in series.iter().zip(COLORS.iter().cycle()) {
        let at = || points.iter().map(|point| (point.cost.value, point.earned.value));
        if points.len() > 1 {
            let line = LinePlot::new().with_data(at()).with_color(*color);
            plots.push(Plot::Line(line.with_stroke_width(1.0)));
        }
        let errors = |of: fn(&Point) -> Estimate| {
            points.iter().map(of).map(|estimate| {
                let [low, high] = estimate.interval.unwrap_or([estimate.value; 2]);
                (estimate.value - low, high - estimate.value)
            })
        };
        let scatter = ScatterPlot::new().with_data(at()).with_color(*color).with_size(5.0);
        let scatter = scatter.with_x_err_asymmetric(errors(|point| point.cost));
        plots.push(Plot::Scatter(scatter.with_y_err_asymmetric(errors(|point| point.earned))));
        legend.push(entry(algorithm.clone(), color));
    }
    let height = HEIGHT + LEGEND_LINE * legend.len() as f64;
    let layout = layout(&plots, width, height)
        .with_title(super::title(groups))
        .with_subtitle("means at the end, with 95 % bootstrap intervals over seeds")
        .with_x_label(format!("mean cost of an episode: {cost}"))
        .with_y_label("mean return")
        .with_legend_entries(legend)
        .with_legend_position(LegendPosition::OutsideBottomLeft)
        .with_legend_box(false);
    (plots, layout)
}
