//! Pictures of an episode: as their environment draws them, or of its observations; and their pixels.

use crate::error::Error;
use crate::results::stats;
use agents::Recording;
use envs::{Color, Drawing, Frame, Shape};
use kuva::RasterBackend;
use kuva::render::color::Color as Paint;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor};
use std::fmt::Write;

/// Numbers of an observation that are drawn at most.
const MAX_OBSERVED: usize = 8;
/// How long a step is shown of which nothing is known, s.
const SECONDS: f64 = 0.05;
/// Each pixel is the mean of a square of this many by as many, so that edges are smooth.
const SAMPLES: usize = 2;

/// A picture for each moment of an episode, all of the same rectangle: the environment's own ones, or its
/// observations over the steps.
///
/// # Errors
/// When the environment's pictures can't be shown.
pub fn pictures(recording: &Recording, environment: &str) -> Result<Vec<Drawing>, Error> {
    if recording.drawings.is_empty() {
        return Ok(strips(&recording.observations));
    }
    match problem(&recording.drawings, recording.observations.len()) {
        None => Ok(recording.drawings.clone()),
        Some(problem) => Err(Error::Drawing { environment: environment.to_owned(), problem }),
    }
}

/// What is wrong with the pictures of an episode of so many moments.
fn problem(drawings: &[Drawing], moments: usize) -> Option<String> {
    if drawings.len() != moments {
        let drawn = drawings.len();
        return Some(format!("it draws {drawn} of {moments} moments; draw all of them or none"));
    }
    let first = &drawings[0];
    for (step, drawing) in drawings.iter().enumerate() {
        let Drawing { low, high, seconds, shapes, .. } = drawing;
        let what = if !(numbers(drawing).all(f64::is_finite)) {
            "has a number that is not finite"
        } else if (low, high, seconds) != (&first.low, &first.high, &first.seconds) {
            "has another rectangle or other seconds than the first one"
        } else if low[0] >= high[0] || low[1] >= high[1] {
            "shows a rectangle without an area; `low` must be below `high`"
        } else if *seconds <= 0.0 {
            "lasts no time; `seconds` must be positive"
        } else if shapes.iter().any(|shape| shape.size() < 0.0) {
            "has a shape with a negative size"
        } else if shapes.iter().any(|shape| shape.points().is_empty()) {
            "has a shape without points"
        } else {
            continue;
        };
        return Some(format!("the one of step {step} {what}"));
    }
    None
}

fn numbers(drawing: &Drawing) -> impl Iterator<Item = f64> {
    let sizes = [drawing.low[0], drawing.low[1], drawing.high[0], drawing.high[1], drawing.seconds];
    let of_shapes = drawing.shapes.iter().flat_map(|shape| {
        shape.points().iter().flatten().copied().chain([shape.size()]).collect::<Vec<_>>()
    });
    sizes.into_iter().chain(of_shapes)
}

/// Each number of the observation as a curve over the steps, with a dot where the episode is.
fn strips(observations: &[Vec<f32>]) -> Vec<Drawing> {
    let rows = observations.first().map_or(0, Vec::len).min(MAX_OBSERVED);
    let last = observations.len().saturating_sub(1).max(1) as f64;
    let across = |step: usize| 2.6 + 5.9 * step as f64 / last;
    let mut still = Drawing::new([0.0, 0.0], [10.0, rows as f64], SECONDS);
    let mut heights = Vec::new();
    for row in 0..rows {
        let values = || observations.iter().map(|values| f64::from(values[row]));
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        let span = if high > low { high - low } else { 1.0 };
        let base = (rows - 1 - row) as f64;
        heights.push(move |value: f32| base + 0.15 + 0.7 * (f64::from(value) - low) / span);
        let curve: Vec<[f64; 2]> = observations
            .iter()
            .enumerate()
            .map(|(step, values)| [across(step), heights[row](values[row])])
            .collect();
        still.line(&[[0.0, base], [10.0, base]], 0.02, Color::Soft);
        still.text(format!("observation {row}"), [1.25, base + 0.65], 0.24, Color::Text);
        let range = format!("{} to {}", show(low), show(high));
        still.text(range, [1.25, base + 0.28], 0.19, Color::Quiet);
        still.line(&curve, 0.03, Color::Second);
    }
    let moments = observations.iter().enumerate();
    let moments = moments.map(|(step, values)| {
        let mut drawing = still.clone();
        for (height, &value) in heights.iter().zip(values) {
            drawing.disc([across(step), height(value)], 0.09, Color::Accent);
        }
        for (row, &value) in values[..rows].iter().enumerate() {
            let middle = [9.25, (rows - 1 - row) as f64 + 0.5];
            drawing.text(show(value.into()), middle, 0.24, Color::Text);
        }
        drawing
    });
    moments.collect()
}

/// A number for people: four significant digits.
pub fn show(number: f64) -> String {
    let rounded = stats::round(number, 4);
    match rounded.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e6 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}

/// Where a picture is on a surface.
#[derive(Clone, Copy)]
pub struct View {
    /// Pixels for a unit of the picture.
    pub unit: f64,
    left: f64,
    bottom: f64,
}

impl View {
    /// As large as fits, in the middle.
    pub fn fit(drawing: &Drawing, width: f64, height: f64) -> View {
        let [wide, high] = [0, 1].map(|axis| drawing.high[axis] - drawing.low[axis]);
        let unit = (width / wide).min(height / high);
        View {
            unit,
            left: (width - wide * unit) / 2.0 - drawing.low[0] * unit,
            bottom: (height + high * unit) / 2.0 + drawing.low[1] * unit,
        }
    }

    /// A point of the picture in pixels from the upper left corner.
    pub fn at(&self, [x, y]: [f64; 2]) -> (f64, f64) {
        (self.left + x * self.unit, self.bottom - y * self.unit)
    }
}

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// What the colors of shapes look like, on which ground.
pub struct Palette {
    /// Where no shape is.
    pub ground: Rgb,
    /// [`Color`]s in their order.
    pub colors: [Rgb; 6],
}

/// Names of the [`Color`]s, in their order.
pub const NAMES: [&str; 6] = ["text", "quiet", "soft", "accent", "second", "danger"];

/// On a light ground.
pub const LIGHT: Palette = Palette {
    ground: [0xff, 0xff, 0xff],
    colors: [
        [0x1d, 0x1f, 0x23],
        [0x5b, 0x60, 0x6b],
        [0xe8, 0xe5, 0xde],
        [0xb3, 0x45, 0x0e],
        [0x1f, 0x5f, 0xa8],
        [0xc0, 0x39, 0x2b],
    ],
};

/// On a dark ground.
pub const DARK: Palette = Palette {
    ground: [0x1e, 0x21, 0x27],
    colors: [
        [0xe8, 0xe6, 0xe1],
        [0xa4, 0xa9, 0xb4],
        [0x2b, 0x2f, 0x37],
        [0xff, 0x9a, 0x5c],
        [0x7f, 0xb4, 0xf0],
        [0xf0, 0x77, 0x6a],
    ],
};

/// Drawn or not.
pub const MONOCHROME: Palette =
    Palette { ground: [0; 3], colors: [[255; 3], [255; 3], [0; 3], [255; 3], [255; 3], [255; 3]] };

impl Palette {
    /// What this color looks like.
    pub fn of(&self, color: Color) -> Rgb {
        self.colors[color as usize]
    }
}

/// As CSS and SVG write it.
pub fn hexadecimal([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Pixels, row by row from the top.
pub struct Pixels {
    /// Pixels of a row.
    pub width: usize,
    /// All of them.
    pub colors: Vec<Rgb>,
}

/// A surface of `width` by `height` pixels, and what is on it.
pub struct Surface {
    scene: Scene,
    palette: &'static Palette,
    /// Rendered pictures, each between its upper left and its lower right corner; they cover all else.
    frames: Vec<([(f64, f64); 2], Frame)>,
}

impl Surface {
    /// An empty one.
    pub fn new(width: usize, height: usize, palette: &'static Palette) -> Surface {
        let mut scene = Scene::new(width as f64, height as f64);
        scene.background_color = Some(hexadecimal(palette.ground));
        Surface { scene, palette, frames: Vec::new() }
    }

    fn paint(&self, color: Color) -> Paint {
        let [r, g, b] = self.palette.of(color);
        Paint::Rgb(r, g, b)
    }

    fn line(&mut self, points: Vec<(f64, f64)>, width: f64, color: Color) {
        let stroke = self.paint(color);
        self.scene.elements.push(Primitive::PolyLine {
            points,
            stroke,
            stroke_width: width.max(1.0),
            stroke_dasharray: None,
        });
    }

    /// Adds a text of this height around a point, no higher than the surface.
    pub fn text(&mut self, text: &str, (x, y): (f64, f64), height: f64, color: Color) {
        let color = Some(self.paint(color));
        // Letters are drawn whole, whatever part of them is seen.
        let height = height.min(self.scene.height);
        self.scene.elements.push(Primitive::Text {
            x,
            // To the base line: capitals are two thirds of the height, less than half of it goes down.
            y: y + 0.36 * height,
            content: text.to_owned(),
            size: height.round().max(1.0) as u32,
            anchor: TextAnchor::Middle,
            rotate: None,
            bold: false,
            color,
        });
    }

    /// Adds the picture of a moment of the episode, without its texts if they are written otherwise.
    pub fn picture(&mut self, pictures: &[Drawing], step: usize, view: View, with_texts: bool) {
        for (index, shape) in pictures[step].shapes.iter().enumerate() {
            let (size, color) = (shape.size() * view.unit, shape.color());
            match shape {
                Shape::Line { points, .. } => {
                    self.line(points.iter().map(|&point| view.at(point)).collect(), size, color);
                }
                Shape::Trail { steps, .. } => {
                    let way = pictures[step.saturating_sub(*steps)..=step].iter();
                    let way = way.filter_map(|drawing| match drawing.shapes.get(index)? {
                        Shape::Trail { at, .. } => Some(view.at(*at)),
                        _ => None,
                    });
                    self.line(way.collect(), size, color);
                }
                Shape::Polygon { points, .. } => {
                    let mut path = String::new();
                    for (corner, &point) in points.iter().enumerate() {
                        let (x, y) = view.at(point);
                        // Writing to a String can't fail.
                        let _ =
                            write!(path, "{}{x:.3} {y:.3} ", if corner == 0 { 'M' } else { 'L' });
                    }
                    path.push('Z');
                    let fill = Some(self.paint(color));
                    self.scene.elements.push(Primitive::Path(Box::new(PathData {
                        d: path,
                        fill,
                        stroke: Paint::None,
                        stroke_width: 0.0,
                        opacity: None,
                        stroke_dasharray: None,
                    })));
                }
                Shape::Disc { center, .. } | Shape::Ring { center, .. } => {
                    let (cx, cy) = view.at(*center);
                    let is_disc = matches!(shape, Shape::Disc { .. });
                    let (fill, stroke) = if is_disc {
                        (self.paint(color), None)
                    } else {
                        (Paint::None, Some(self.paint(color)))
                    };
                    self.scene.elements.push(Primitive::Circle {
                        cx,
                        cy,
                        r: if is_disc { size.max(1.0) } else { size },
                        fill,
                        fill_opacity: None,
                        stroke,
                        stroke_width: Some(1.2),
                    });
                }
                Shape::Text { center, text, .. } if with_texts => {
                    self.text(text, view.at(*center), size, color);
                }
                Shape::Text { .. } => {}
                Shape::Frame { corners: [low, high], frame } => {
                    let corners = [[low[0], high[1]], [high[0], low[1]]].map(|at| view.at(at));
                    self.frames.push((corners, frame.clone()));
                }
            }
        }
    }

    /// What is on it.
    ///
    /// # Errors
    /// When it can't be drawn, for want of memory say.
    pub fn pixels(&self) -> Result<Pixels, Error> {
        let problem = |error: String| Error::Failed(format!("the picture can't be drawn: {error}"));
        let raster = RasterBackend::new().with_scale(SAMPLES as f32);
        let file = raster.render_scene(&self.scene).map_err(problem)?;
        let mut reader = png::Decoder::new(std::io::Cursor::new(file))
            .read_info()
            .map_err(|error| problem(error.to_string()))?;
        let mut fine = vec![0; reader.output_buffer_size().unwrap_or(0)];
        let info = reader.next_frame(&mut fine).map_err(|error| problem(error.to_string()))?;
        let width = info.width as usize / SAMPLES;
        let line = info.line_size;
        let mut colors = Vec::with_capacity(width * info.height as usize / SAMPLES);
        for rows in fine.chunks_exact(SAMPLES * line) {
            for column in 0..width {
                colors.push([0, 1, 2].map(|channel| {
                    let samples = (0..SAMPLES * SAMPLES).map(|sample| {
                        let (x, y) = (SAMPLES * column + sample % SAMPLES, sample / SAMPLES);
                        usize::from(rows[y * line + 4 * x + channel])
                    });
                    (samples.sum::<usize>() / (SAMPLES * SAMPLES)) as u8
                }));
            }
        }
        for ([from, to], frame) in &self.frames {
            let inside = |low: f64, high: f64, end: usize| {
                (low.round().max(0.0) as usize)..(high.round().max(0.0) as usize).min(end)
            };
            for y in inside(from.1, to.1, colors.len() / width) {
                for x in inside(from.0, to.0, width) {
                    colors[y * width + x] = shrunk(
                        frame,
                        [
                            [
                                (x as f64 - from.0) / (to.0 - from.0),
                                (y as f64 - from.1) / (to.1 - from.1),
                            ],
                            [1.0 / (to.0 - from.0), 1.0 / (to.1 - from.1)],
                        ],
                    );
                }
            }
        }
        Ok(Pixels { width, colors })
    }
}

/// The mean colour of a part of a frame: its upper left corner and its size, as shares of the whole.
pub fn shrunk(frame: &Frame, [[x, y], [wide, high]]: [[f64; 2]; 2]) -> Rgb {
    /// Samples along a side.
    const ALONG: usize = 3;
    let mut sums = [0; 3];
    for sample in 0..ALONG * ALONG {
        let within = |index: usize| (index as f64 + 0.5) / ALONG as f64;
        let at = [x + wide * within(sample % ALONG), y + high * within(sample / ALONG)];
        for (sum, channel) in sums.iter_mut().zip(frame.at(at)) {
            *sum += usize::from(channel);
        }
    }
    sums.map(|sum| (sum / (ALONG * ALONG)) as u8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn recording(drawings: Vec<Drawing>) -> Recording {
        let observations = vec![vec![0.0, 1.0]; 2];
        Recording { drawings, observations, ..Recording::default() }
    }

    #[test]
    fn pictures_that_can_not_be_shown_are_refused() {
        let good = Drawing::new([0.0; 2], [2.0, 1.0], 0.1);
        assert_eq!(pictures(&recording(vec![good.clone(); 2]), "mine").unwrap().len(), 2);
        let refused = |drawing: Drawing, expected: &str| {
            let drawings = vec![drawing.clone(), drawing];
            let message = pictures(&recording(drawings), "mine").unwrap_err().to_string();
            assert!(message.contains("mine") && message.contains(expected), "{message}");
        };
        let mut endless = good.clone();
        endless.disc([0.5; 2], f64::INFINITY, Color::Text);
        refused(endless, "step 0 has a number that is not finite");
        let mut empty = good.clone();
        empty.polygon(&[], Color::Text);
        refused(empty, "a shape without points");
        let mut inverted = good.clone();
        inverted.ring([0.5; 2], -0.1, Color::Text);
        refused(inverted, "a negative size");
        refused(Drawing::new([0.0; 2], [2.0, 0.0], 0.1), "`low` must be below `high`");
        refused(Drawing::new([0.0; 2], [2.0, 1.0], 0.0), "`seconds` must be positive");
        let once = recording(vec![good.clone()]);
        let message = pictures(&once, "mine").unwrap_err().to_string();
        assert!(message.contains("1 of 2 moments"), "{message}");
        let other = Drawing::new([0.0; 2], [2.0, 1.5], 0.1);
        let message = pictures(&recording(vec![good, other]), "mine").unwrap_err().to_string();
        assert!(message.contains("step 1 has another rectangle"), "{message}");
    }

    #[test]
    fn a_picture_that_can_not_be_drawn_is_no_bad_usage() {
        let error = Surface::new(0, 0, &LIGHT).pixels().map(drop).unwrap_err();
        assert!(error.to_string().starts_with("the picture can't be drawn: "), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn shapes_of_any_size_can_be_drawn() {
        for big in [1e5, 1e9, 1e20, 1e39, 1e300, f64::MAX, f64::NAN] {
            let mut drawing = Drawing::new([0.0; 2], [2.0, 1.0], 0.1);
            drawing.line(&[[0.0; 2], [big; 2]], big, Color::Quiet);
            drawing.polygon(&[[0.0; 2], [big, 0.0], [0.0, -big]], Color::Soft);
            drawing.disc([0.5; 2], big, Color::Accent);
            drawing.ring([-big; 2], big, Color::Second);
            drawing.text("big", [0.5; 2], big, Color::Text);
            drawing.trail([big; 2], 1, big, Color::Danger);
            let mut surface = Surface::new(80, 40, &LIGHT);
            let view = View::fit(&drawing, 80.0, 40.0);
            surface.picture(&[drawing.clone()], 0, view, true);
            assert_eq!(surface.pixels().unwrap().colors.len(), 80 * 40, "{big}");
            drawing.high = [big; 2];
            let mut surface = Surface::new(80, 40, &LIGHT);
            surface.picture(&[drawing.clone()], 0, View::fit(&drawing, 80.0, 40.0), true);
            assert_eq!(surface.pixels().unwrap().colors.len(), 80 * 40, "{big}");
        }
    }

    #[test]
    fn without_a_picture_observations_are_curves_with_a_dot() {
        let observations = vec![vec![0.0, 5.0], vec![1.0, 5.0], vec![0.5, 5.0]];
        let pictures = strips(&observations);
        assert_eq!(pictures.len(), 3);
        let dots = |drawing: &Drawing| -> Vec<[f64; 2]> {
            let dot = |shape: &Shape| match shape {
                Shape::Disc { center, .. } => Some(*center),
                _ => None,
            };
            drawing.shapes.iter().filter_map(dot).collect()
        };
        let [first, second, third] = [0, 1, 2].map(|step| dots(&pictures[step]));
        assert!(first[0][0] < second[0][0] && second[0][0] < third[0][0], "to the right");
        assert!(first[0][1] < third[0][1] && third[0][1] < second[0][1], "by its value");
        assert!(first[1][1] == second[1][1] && first[1][1] < 1.0, "a constant, in the lower strip");
        assert_eq!(problem(&pictures, 3), None);
        assert_eq!([0.0, 1.0, -0.012_345_67, 2e7].map(show), ["0", "1", "-0.01235", "2e7"]);
    }

    #[test]
    fn a_picture_is_where_the_view_says() {
        // 4 x 2 units on 80 x 60 pixels: 20 pixels a unit, 10 free above and below.
        let mut drawing = Drawing::new([-1.0, 0.0], [3.0, 2.0], 0.1);
        drawing.rectangle([-1.0, 0.0], [0.0, 1.0], Color::Accent);
        drawing.trail([2.0, 1.5], 5, 0.2, Color::Second);
        let mut before = drawing.clone();
        before.shapes[1] =
            Shape::Trail { at: [1.0, 1.5], steps: 5, width: 0.2, color: Color::Second };
        let view = View::fit(&drawing, 80.0, 60.0);
        assert_eq!((view.unit, view.at([-1.0, 0.0])), (20.0, (0.0, 50.0)));
        let mut surface = Surface::new(80, 60, &LIGHT);
        surface.picture(&[before, drawing], 1, view, true);
        let pixels = surface.pixels().unwrap();
        assert_eq!((pixels.width, pixels.colors.len()), (80, 80 * 60));
        let at = |x: usize, y: usize| pixels.colors[y * 80 + x];
        assert_eq!(at(10, 40), LIGHT.of(Color::Accent));
        assert_eq!(at(50, 20), LIGHT.of(Color::Second), "between the trail's ends");
        for (x, y) in [(10, 28), (22, 40), (10, 52), (66, 20), (34, 20)] {
            assert_eq!(at(x, y), LIGHT.ground, "{x}, {y}");
        }
    }
}
