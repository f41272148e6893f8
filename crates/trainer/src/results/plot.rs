//! Learning curves: a line a group, with its interval over seeds.

pub mod front;

use crate::error::Error;
use crate::experiment::config::did_you_mean;
use crate::results::stats;
use crate::results::{Group, Run};
use crate::terminal::count;
use kuva::plot::{LegendEntry, LegendPosition, LegendShape, LinePlot, ScatterPlot};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use rayon::prelude::*;
use std::sync::Arc;

/// What a curve is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Axis {
    /// Environment steps
    Steps,
    /// Wall clock of the run
    Seconds,
}

impl Axis {
    fn column(self) -> &'static str {
        match self {
            Axis::Steps => "time/total_timesteps",
            Axis::Seconds => "time/time_elapsed",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Axis::Steps => "environment steps",
            Axis::Seconds => "wall clock, seconds",
        }
    }
}

/// Okabe and Ito's colours, which colour-blind people tell apart, without the yellow, which white paper
/// swallows.
const COLORS: [&str; 7] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"];

/// Colours of a terminal, whose ground may be dark or light: as one of its 256 and as it is drawn.
const TERMINAL_COLORS: [(u8, &str); 7] = [
    (39, "#00AFFF"),
    (208, "#FF8700"),
    (35, "#00AF5F"),
    (175, "#D787AF"),
    (178, "#D7AF00"),
    (98, "#875FD7"),
    (245, "#8A8A8A"),
];

/// Rows of a picture in a terminal at least.
const MIN_ROWS: usize = 8;

/// Of the groups that are too many for a colour of their own.
const GREY: &str = "#BBBBBB";

/// Points a curve, evenly spaced over `x`: more than a screen shows apart.
const GRID: usize = 200;

/// Of the picture, logical pixels.
const WIDTH: f64 = 800.0;

/// Of a picture for a narrow screen.
const NARROW_WIDTH: f64 = 480.0;

/// Of the picture without its legend, logical pixels.
const HEIGHT: f64 = 460.0;

/// Of a line of the legend, logical pixels.
const LEGEND_LINE: f64 = 18.0;

/// Pixels of a PNG for each logical one.
const PNG_SCALE: f32 = 2.0;

/// Width of the legend's text, characters.
const LEGEND_WRAP: usize = 100;

/// A group's curve on a grid of `x` of its own.
struct Curve<'a> {
    group: &'a Group,
    /// How many runs it is the mean of.
    runs: usize,
    points: Vec<Point>,
    /// 95 % interval of the mean at each point, of two runs their range; `None` of one run, and of a
    /// curve that is drawn without.
    intervals: Option<Vec<[f64; 2]>>,
}

struct Point {
    x: f64,
    mean: f64,
    /// Of the runs.
    values: Vec<f64>,
}

/// The picture as SVG.
///
/// # Errors
/// When no run has a value of this metric.
pub fn svg(groups: &[Group], metric: &str, x: Axis) -> Result<String, Error> {
    Ok(scalable(&with_intervals(groups, metric, x)?, groups, metric, x, WIDTH))
}

/// The mean of a group's runs, as numbers.
pub struct GroupLine<'a> {
    /// Whose.
    pub group: &'a Group,
    /// As a legend names it.
    pub label: String,
    /// Its place among the colours; `None` of one that is too many.
    pub color: Option<usize>,
    /// `(x, mean)`
    pub points: Vec<(f64, f64)>,
    /// 95 % interval of the mean at each point.
    pub intervals: Option<Vec<[f64; 2]>>,
}

/// The curves of a picture as numbers, those with a colour first.
///
/// # Errors
/// As [`svg`].
pub fn lines<'a>(groups: &'a [Group], metric: &str, x: Axis) -> Result<Vec<GroupLine<'a>>, Error> {
    let curves = with_intervals(groups, metric, x)?;
    let line = |(index, curve): (usize, Curve<'a>)| GroupLine {
        group: curve.group,
        label: described_curve(&curve),
        color: (index < COLORS.len()).then_some(index),
        points: curve.points.iter().map(|point| (point.x, point.mean)).collect(),
        intervals: curve.intervals,
    };
    Ok(curves.into_iter().enumerate().map(line).collect())
}

/// A picture that a page can show at any size.
fn scalable(curves: &[Curve], groups: &[Group], metric: &str, x: Axis, width: f64) -> String {
    let (plots, layout) = picture(curves, groups, metric, x, width);
    scaled(plots, layout, width)
}

/// The same of what is drawn.
fn scaled(plots: Vec<Plot>, layout: Layout, width: f64) -> String {
    let height = layout.height.unwrap_or(HEIGHT);
    let scalable = format!("<svg viewBox=\"0 0 {width} {height}\" ");
    kuva::render_to_svg(plots, layout).replacen("<svg ", &scalable, 1)
}

/// The picture as a PNG file's content.
///
/// # Errors
/// As [`svg`].
pub fn png(groups: &[Group], metric: &str, x: Axis) -> Result<Vec<u8>, Error> {
    let curves = with_intervals(groups, metric, x)?;
    let (plots, layout) = picture(&curves, groups, metric, x, WIDTH);
    rasterized(plots, layout)
}

fn rasterized(plots: Vec<Plot>, layout: Layout) -> Result<Vec<u8>, Error> {
    kuva::render_to_raster(plots, layout, PNG_SCALE)
        .map_err(|error| Error::Failed(format!("the picture can't be drawn: {error}")))
}

/// The curves as text of so many columns and rows, their legend below; in colour by ANSI's escapes
/// where stdout takes them.
///
/// # Errors
/// As [`svg`].
pub fn text(
    groups: &[Group],
    metric: &str,
    x: Axis,
    columns: usize,
    rows: usize,
) -> Result<String, Error> {
    let mut curves = curves(groups, metric, x, Unfinished::DropsOut)?;
    if curves.len() > TERMINAL_COLORS.len() {
        curves.sort_by_key(|curve| curve.group.runs.iter().all(|run| run.summary.is_some()));
    }
    let shown = &curves[..curves.len().min(TERMINAL_COLORS.len())];
    // In a low terminal the curves say more than their names.
    let named = shown.len().min((2 * rows / 5).max(1));
    let mut legend = String::new();
    for (curve, (name, _)) in shown.iter().zip(TERMINAL_COLORS).take(named) {
        let key = console::Style::new().color256(name).apply_to("━━");
        legend += &format!("  {key} {}\n", described_curve(curve));
    }
    if curves.len() > named {
        legend += &format!("  and {} more\n", curves.len() - named);
    }
    let rows = rows.saturating_sub(legend.lines().count()).max(MIN_ROWS);
    // What is drawn first lies below.
    let plots: Vec<Plot> = shown
        .iter()
        .zip(TERMINAL_COLORS)
        .map(|(curve, (_, color))| line(curve, color))
        .rev()
        .collect();
    // A character of the terminal takes about as much room as one of the picture. On a large picture
    // hardly a piece of a curve is level, which a terminal would be given as a ruled line.
    const SCALE: f64 = 16.0;
    let (width, height) = (8.0 * SCALE * columns as f64, 16.0 * SCALE * rows as f64);
    let layout = layout(&plots, width, height)
        .with_scale(SCALE)
        .with_title(format!("{}: {}", title(groups), described(metric)))
        .with_x_label(x.title())
        .with_show_grid(false)
        .with_ticks((columns / 16).min(rows / 3).clamp(2, 5))
        .with_term_rows(rows as u32);
    let scene = kuva::render::render::render_multiple(plots, layout);
    let mut text = kuva::TerminalBackend::new(columns, rows).render_scene(&scene);
    if console::colors_enabled() {
        // Axes are black, which a dark ground would swallow: they take the terminal's own colour.
        text = text.replace("\x1b[38;2;0;0;0m", "\x1b[39m");
    } else {
        text = console::strip_ansi_codes(&text).into_owned();
    }
    Ok(text + &legend)
}

/// The curves of a picture on paper or on a page: those with a colour have intervals.
fn with_intervals<'a>(groups: &'a [Group], metric: &str, x: Axis) -> Result<Vec<Curve<'a>>, Error> {
    let mut curves = curves(groups, metric, x, Unfinished::EndsCurve)?;
    let interval = |point: &Point| interval(&point.values);
    for curve in curves.iter_mut().take(COLORS.len()) {
        curve.intervals = curve.points.par_iter().map(interval).collect();
    }
    Ok(curves)
}

fn picture(
    curves: &[Curve],
    groups: &[Group],
    metric: &str,
    x: Axis,
    width: f64,
) -> (Vec<Plot>, Layout) {
    let legend_wrap = (LEGEND_WRAP as f64 * width / WIDTH) as usize;
    let (shown, others) = curves.split_at(curves.len().min(COLORS.len()));
    let mut legend = Vec::new();
    // What is drawn first lies below.
    let mut plots: Vec<Plot> = others.iter().map(|curve| line(curve, GREY)).collect();
    for (curve, color) in shown.iter().zip(COLORS) {
        plots.push(line(curve, color));
        legend.push(entry(described_curve(curve), color));
    }
    if !others.is_empty() {
        legend.push(entry(format!("{} others, lower at the end", others.len()), GREY));
    }
    let lines: usize =
        legend.iter().map(|entry| entry.label.chars().count().div_ceil(legend_wrap)).sum();
    let layout = layout(&plots, width, HEIGHT + LEGEND_LINE * lines as f64)
        .with_title(title(groups))
        .with_subtitle(subtitle(curves))
        .with_x_label(x.title())
        .with_y_label(described(metric))
        .with_legend_entries(legend)
        .with_legend_position(LegendPosition::OutsideBottomLeft)
        .with_legend_wrap(legend_wrap)
        .with_legend_box(false);
    (plots, layout)
}

/// Axes that fit the plots.
fn layout(plots: &[Plot], width: f64, height: f64) -> Layout {
    let mut layout = Layout::auto_from_plots(plots)
        .with_width(width)
        .with_height(height)
        .with_x_tick_format(TickFormat::Custom(Arc::new(tick)));
    // Of a range that is a point the room for tick labels comes out too small.
    if layout.y_range.0 == layout.y_range.1 {
        let value = layout.y_range.0;
        let margin = if value == 0.0 { 1.0 } else { value.abs() / 10.0 };
        layout.y_range = (value - margin, value + margin);
        layout.data_y_range = Some(layout.y_range);
    }
    layout
}

/// Those of the groups that have one. Of too many to be told apart those that end highest come first:
/// they get the colours.
fn curves<'a>(
    groups: &'a [Group],
    metric: &str,
    x: Axis,
    unfinished: Unfinished,
) -> Result<Vec<Curve<'a>>, Error> {
    let mut curves: Vec<Curve> =
        groups.par_iter().filter_map(|group| curve(group, metric, x, unfinished)).collect();
    if curves.is_empty() {
        return Err(no_values(groups, metric));
    }
    if curves.len() > COLORS.len() {
        let end = |curve: &Curve| curve.points.last().map_or(f64::NEG_INFINITY, |end| end.mean);
        curves.sort_by(|a, b| end(b).total_cmp(&end(a)));
    }
    Ok(curves)
}

/// A curve as a legend names it.
fn described_curve(curve: &Curve) -> String {
    format!("{} ({})", curve.group.label, count(curve.runs, "seed"))
}

fn entry(label: String, color: &str) -> LegendEntry {
    LegendEntry { label, color: color.into(), shape: LegendShape::Line, dasharray: None }
}

/// What becomes of a mean over runs where some of them have not come as far as others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfinished {
    /// It ends with the shortest: every point is of the same runs.
    EndsCurve,
    /// It goes on as the mean of the others: a run that begins does not take the curve away.
    DropsOut,
}

/// The mean of a group's runs on a common grid, by linear interpolation; `None` if no run has a value.
///
/// It begins where all runs have begun. A finished run that ended sooner than another, in seconds say,
/// keeps its last value; one that is not finished ends the curve or drops out of it. If it ends before
/// the others begin it is left out.
fn curve<'a>(group: &'a Group, metric: &str, x: Axis, unfinished: Unfinished) -> Option<Curve<'a>> {
    let mut curves: Vec<(bool, Vec<(f64, f64)>)> = group
        .runs
        .iter()
        .map(|run| (run.summary.is_some(), finite(run, metric, x)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let last = |points: &[(f64, f64)]| points.last().map_or(f64::NAN, |point| point.0);
    let drops_out = unfinished == Unfinished::DropsOut;
    let (start, end) = loop {
        let start = curves.iter().map(|(_, points)| points[0].0).reduce(f64::max)?;
        let longest = curves.iter().map(|(_, points)| last(points)).fold(start, f64::max);
        let shortest = curves
            .iter()
            .enumerate()
            .filter(|(_, (is_finished, _))| !is_finished)
            .map(|(index, (_, points))| (index, last(points)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match shortest {
            Some((index, end)) if end < start => curves.remove(index),
            Some((_, end)) if !drops_out => break (start, end),
            _ => break (start, longest),
        };
    };
    let count = if start == end { 1 } else { GRID };
    let step = (end - start) / (GRID - 1) as f64;
    let points = (0..count)
        .map(|index| {
            let x = start + step * index as f64;
            let values: Vec<f64> = curves
                .iter()
                .filter(|(is_finished, points)| *is_finished || !drops_out || x <= last(points))
                .map(|(_, points)| stats::interpolate(points, x))
                .collect();
            Point { x, mean: stats::mean(&values), values }
        })
        .collect();
    Some(Curve { group, runs: curves.len(), points, intervals: None })
}

/// Of two runs the bootstrap's interval is their range too, so one rule is enough.
fn interval(samples: &[f64]) -> Option<[f64; 2]> {
    stats::bootstrap([samples], |[samples]| stats::mean(samples))
}

fn finite(run: &Run, metric: &str, x: Axis) -> Vec<(f64, f64)> {
    let mut points = run.curve(x.column(), metric);
    points.retain(|(x, y)| x.is_finite() && y.is_finite());
    points
}

fn line(curve: &Curve, color: &str) -> Plot {
    let points = curve.points.iter().map(|point| (point.x, point.mean));
    let intervals = curve.intervals.as_deref();
    if let [point] = curve.points.as_slice() {
        let plot = ScatterPlot::new().with_data(points).with_color(color).with_size(5.0);
        return Plot::Scatter(match intervals {
            Some([[low, high]]) => {
                plot.with_y_err_asymmetric([(point.mean - low, high - point.mean)])
            }
            _ => plot,
        });
    }
    let plot = LinePlot::new().with_data(points).with_color(color).with_stroke_width(2.0);
    Plot::Line(match intervals {
        Some(intervals) => {
            let end = |index: usize| intervals.iter().map(move |ends| ends[index]);
            plot.with_band(end(0), end(1))
        }
        None => plot,
    })
}

/// The environment, where the groups share it.
fn title(groups: &[Group]) -> String {
    let environment = |group: &Group| group.runs[0].config.get("env.name").cloned();
    let first = groups.first().and_then(environment);
    let shared = groups.iter().all(|group| environment(group) == first);
    first.filter(|_| shared).unwrap_or_else(|| "learning curves".into())
}

/// What line and band are.
fn subtitle(curves: &[Curve]) -> &'static str {
    let most = curves.iter().map(|curve| curve.runs).max();
    let has_two = curves.iter().any(|curve| curve.runs == 2);
    match most {
        Some(0 | 1) | None if curves.len() == 1 => "one seed",
        Some(0 | 1) | None => "one seed each",
        Some(2) => "mean and range of two seeds",
        Some(_) if has_two => {
            "mean over seeds with its 95 % bootstrap interval (of two seeds: the range)"
        }
        Some(_) => "mean over seeds with its 95 % bootstrap interval",
    }
}

/// A metric with its unit, as an axis title.
fn described(metric: &str) -> &str {
    match metric {
        "time/fps" => "environment steps per second",
        "rollout/ep_rew_mean" => "mean return of the last 100 episodes",
        "rollout/ep_len_mean" => "mean length of the last 100 episodes, steps",
        "rollout/ep_cost_mean" => "mean cost of the last 100 episodes",
        "train/multiplier" => "multiplier, reward per unit of cost",
        "eval/mean_cost" => "mean cost of an evaluation",
        "rollout/success_rate" => "success rate of the last 100 episodes",
        "eval/mean_reward" => "mean return of an evaluation",
        "eval/mean_ep_length" => "mean episode length of an evaluation, steps",
        "eval/success_rate" => "success rate of an evaluation",
        "train/entropy" => "train/entropy, nats",
        "train/kl" => "train/kl, nats",
        "train/approx_kl" => "train/approx_kl, nats",
        other => other,
    }
}

/// 250k and 1.5M in place of many zeros.
fn tick(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Ticks are round numbers, but for the last bits.
    let rounded = (scaled * 1e6).round() / 1e6;
    format!("{rounded}{unit}")
}

fn no_values(groups: &[Group], metric: &str) -> Error {
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let mut known: Vec<&str> = Vec::new();
    for (name, values) in runs().flat_map(|run| &run.columns) {
        if values.iter().any(Option::is_some) && !known.contains(&name.as_str()) {
            known.push(name);
        }
    }
    let place = runs().next().map(|run| run.path.display().to_string()).unwrap_or_default();
    let more = match runs().count() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Error::Usage(if known.is_empty() {
        format!("{place}{more}: metrics.csv has no row yet; there is nothing to draw")
    } else {
        let hint = did_you_mean(metric, &known);
        format!(
            "{place}{more}: no run has a value of {metric}{hint}; there is: {}",
            known.join(", ")
        )
    })
}
