//! What an environment looks like, for whoever shows it: a terminal, a GIF, a page.

mod scene;

pub use scene::{Body, Camera, Scene, Solid};

use std::sync::Arc;

/// A picture of one moment, in the task's own units, `x` to the right and `y` up. Later shapes cover
/// earlier ones. What is seen and for how long is the same during an episode.
///
/// ```
/// use envs::{Color, Drawing, Shape};
///
/// let mut drawing = Drawing::new([-1.0, -1.0], [1.0, 1.0], 0.02);
/// drawing.disc([0.0, 0.5], 0.1, Color::Accent);
/// drawing.line(&[[-1.0, 0.0], [1.0, 0.0]], 0.02, Color::Quiet);
/// assert!(matches!(drawing.shapes[0], Shape::Disc { radius: 0.1, .. }));
/// assert_eq!(drawing.shapes[1].points().len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// The lower left corner of what is seen.
    pub low: [f64; 2],
    /// The upper right corner of what is seen.
    pub high: [f64; 2],
    /// How long the moment lasts, s; positive.
    pub seconds: f64,
    /// What is seen.
    pub shapes: Vec<Shape>,
    /// Bodies in three dimensions, where the shapes are what a camera sees of them.
    pub scene: Option<Scene>,
}

/// A picture that an environment has rendered itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row from the top.
    pub rgb: Arc<[u8]>,
}

impl Frame {
    /// Reads what a process sends: width and height, whole numbers of 32 bits with the lowest byte first,
    /// then the pixels; `None` where it is something else or empty.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Frame> {
        let (width, rest) = bytes.split_first_chunk()?;
        let (height, rgb) = rest.split_first_chunk()?;
        let [width, height] = [width, height].map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let is_whole = !rgb.is_empty() && width.checked_mul(height)?.checked_mul(3)? == rgb.len();
        is_whole.then(|| Frame { width, height, rgb: rgb.into() })
    }

    /// A drawing of nothing else, in pixels.
    #[must_use]
    pub fn drawing(self, seconds: f64) -> Drawing {
        let high = [self.width as f64, self.height as f64];
        let shapes = vec![Shape::Frame { corners: [[0.0; 2], high], frame: self }];
        Drawing { shapes, ..Drawing::new([0.0; 2], high, seconds) }
    }

    /// The colour of the pixel at this share of the width, from the left, and of the height, from the top;
    /// both are from 0 to below 1.
    #[must_use]
    pub fn at(&self, [x, y]: [f64; 2]) -> [u8; 3] {
        let (column, row) = ((x * self.width as f64) as usize, (y * self.height as f64) as usize);
        let first = 3 * (row.min(self.height - 1) * self.width + column.min(self.width - 1));
        [0, 1, 2].map(|channel| self.rgb[first + channel])
    }
}

/// A shape of a [`Drawing`]. Lengths are in the drawing's units.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A line through points, with round ends.
    Line {
        /// Two at least.
        points: Vec<[f64; 2]>,
        /// Thickness; viewers draw one pixel at least.
        width: f64,
        /// Its color.
        color: Color,
    },
    /// A filled polygon.
    Polygon {
        /// Its corners.
        points: Vec<[f64; 2]>,
        /// Its color.
        color: Color,
    },
    /// A filled circle.
    Disc {
        /// Its center.
        center: [f64; 2],
        /// Its radius.
        radius: f64,
        /// Its color.
        color: Color,
    },
    /// A thin circle.
    Ring {
        /// Its center.
        center: [f64; 2],
        /// Its radius.
        radius: f64,
        /// Its color.
        color: Color,
    },
    /// A short text.
    Text {
        /// Its middle.
        center: [f64; 2],
        /// Of its letters.
        height: f64,
        /// What it says.
        text: String,
        /// Its color.
        color: Color,
    },
    /// The way that a point has come: a line through where it was in the last drawings of the episode.
    /// The same place in the list of shapes has the same trail.
    Trail {
        /// Where it is now.
        at: [f64; 2],
        /// How many drawings it goes back.
        steps: usize,
        /// Thickness.
        width: f64,
        /// Its color.
        color: Color,
    },
    /// What an environment has rendered itself.
    Frame {
        /// Its lower left and its upper right corner.
        corners: [[f64; 2]; 2],
        /// The picture.
        frame: Frame,
    },
}

/// What a shape stands for; each viewer has a color for it, on a light and on a dark ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Bodies in the color of text.
    Text,
    /// What is there and does not matter: a track, a limit of the reach.
    Quiet,
    /// Ground.
    Soft,
    /// What the policy moves.
    Accent,
    /// Actions and trails.
    Second,
    /// Limits, goals to hit, places to avoid.
    Danger,
}

impl Shape {
    /// Where it is.
    #[must_use]
    pub fn points(&self) -> &[[f64; 2]] {
        match self {
            Shape::Line { points, .. } | Shape::Polygon { points, .. } => points,
            Shape::Disc { center, .. }
            | Shape::Ring { center, .. }
            | Shape::Text { center, .. } => std::slice::from_ref(center),
            Shape::Trail { at, .. } => std::slice::from_ref(at),
            Shape::Frame { corners, .. } => corners,
        }
    }

    /// Its thickness, radius or height; 0 where it has none.
    #[must_use]
    pub fn size(&self) -> f64 {
        match self {
            Shape::Line { width, .. } | Shape::Trail { width, .. } => *width,
            Shape::Disc { radius, .. } | Shape::Ring { radius, .. } => *radius,
            Shape::Text { height, .. } => *height,
            Shape::Polygon { .. } | Shape::Frame { .. } => 0.0,
        }
    }

    /// What it stands for; a frame has its own colors.
    #[must_use]
    pub fn color(&self) -> Color {
        match self {
            Shape::Frame { .. } => Color::Quiet,
            Shape::Line { color, .. }
            | Shape::Polygon { color, .. }
            | Shape::Disc { color, .. }
            | Shape::Ring { color, .. }
            | Shape::Text { color, .. }
            | Shape::Trail { color, .. } => *color,
        }
    }
}

impl Drawing {
    /// An empty picture that shows at least the rectangle between two corners, for so many seconds.
    #[must_use]
    pub fn new(low: [f64; 2], high: [f64; 2], seconds: f64) -> Drawing {
        Drawing { low, high, seconds, shapes: Vec::new(), scene: None }
    }

    /// Adds a [`Shape::Line`].
    pub fn line(&mut self, points: &[[f64; 2]], width: f64, color: Color) {
        self.shapes.push(Shape::Line { points: points.to_vec(), width, color });
    }

    /// Adds a [`Shape::Polygon`].
    pub fn polygon(&mut self, points: &[[f64; 2]], color: Color) {
        self.shapes.push(Shape::Polygon { points: points.to_vec(), color });
    }

    /// Adds a rectangle between two corners.
    pub fn rectangle(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], color: Color) {
        self.polygon(&[[x0, y0], [x1, y0], [x1, y1], [x0, y1]], color);
    }

    /// Adds a [`Shape::Disc`].
    pub fn disc(&mut self, center: [f64; 2], radius: f64, color: Color) {
        self.shapes.push(Shape::Disc { center, radius, color });
    }

    /// Adds a [`Shape::Ring`].
    pub fn ring(&mut self, center: [f64; 2], radius: f64, color: Color) {
        self.shapes.push(Shape::Ring { center, radius, color });
    }

    /// Adds a [`Shape::Text`].
    pub fn text(&mut self, text: impl Into<String>, center: [f64; 2], height: f64, color: Color) {
        self.shapes.push(Shape::Text { center, height, text: text.into(), color });
    }

    /// Adds a [`Shape::Trail`].
    pub fn trail(&mut self, at: [f64; 2], steps: usize, width: f64, color: Color) {
        self.shapes.push(Shape::Trail { at, steps, width, color });
    }

    /// Adds an arrow.
    pub fn arrow(&mut self, from: [f64; 2], to: [f64; 2], width: f64, color: Color) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy);
        if length == 0.0 {
            return;
        }
        let barb = (3.0 * width).min(length) / length;
        let (x, y) = (barb * dx, barb * dy);
        self.line(&[from, to], width, color);
        let barbs = [[to[0] - x - y, to[1] - y + x], to, [to[0] - x + y, to[1] - y - x]];
        self.line(&barbs, width, color);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Action, Environments, Space, Stream, TaskConfig, stream};

    #[test]
    fn an_arrow_has_a_shaft_and_two_barbs() {
        let mut drawing = Drawing::new([0.0; 2], [1.0; 2], 0.1);
        drawing.arrow([0.0, 0.5], [1.0, 0.5], 0.1, Color::Second);
        let [Shape::Line { points: shaft, .. }, Shape::Line { points: barbs, .. }] =
            drawing.shapes.as_slice()
        else {
            panic!("{drawing:?}");
        };
        assert_eq!(*shaft, [[0.0, 0.5], [1.0, 0.5]]);
        assert_eq!(barbs[1], [1.0, 0.5]);
        assert!((barbs[0][0] - 0.7).abs() < 1e-12 && (barbs[0][1] - 0.8).abs() < 1e-12);
        assert!((barbs[2][0] - 0.7).abs() < 1e-12 && (barbs[2][1] - 0.2).abs() < 1e-12);
        drawing.arrow([0.5; 2], [0.5; 2], 0.1, Color::Second);
        assert_eq!(drawing.shapes.len(), 2);
    }

    #[test]
    fn built_in_environments_move_inside_their_picture() {
        for entry in Environments::default().simulated() {
            let mut rng = stream(2, Stream::Environment(0));
            let mut env = entry.task(&TaskConfig::default()).unwrap().make();
            env.reset(&mut rng);
            let space = env.spec().action_space;
            let high = match &space {
                Space::Box { high, .. } => high.clone(),
                Space::Discrete { .. } => Vec::new(),
            };
            let action = match &space {
                Space::Discrete { .. } => Action::Discrete(0),
                Space::Box { .. } => Action::Continuous(&high),
            };
            let first = env.draw(Some(action)).unwrap();
            env.step(action, &mut rng);
            let second = env.draw(Some(action)).unwrap();
            assert_ne!(first, second, "{}", entry.name);
            assert!(first.seconds > 0.0);
            for shape in &second.shapes {
                let radius = match shape {
                    Shape::Disc { radius, .. } | Shape::Ring { radius, .. } => *radius,
                    _ => 0.0,
                };
                for point in shape.points() {
                    let inside = (0..2).all(|i| {
                        point[i] - radius >= second.low[i] && point[i] + radius <= second.high[i]
                    });
                    assert!(inside, "{}: {shape:?}", entry.name);
                }
            }
        }
    }
}
