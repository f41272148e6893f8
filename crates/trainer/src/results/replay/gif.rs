//! Episodes as an animated GIF.

use super::episode::ReplayedEpisode;
use super::picture::{LIGHT, Pixels, Rgb, Surface, View};
use crate::error::Error;
use envs::{Color, Shape};
use gif::{DisposalMethod, Encoder, Frame, Repeat};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;

/// Of the GIF, pixels: the line below the picture has room for its text.
const WIDTH: usize = 480;
/// Of the picture at most, pixels.
const MAX_HEIGHT: f64 = 360.0;
/// Height of the line below the picture, pixels.
const CAPTION: usize = 28;
/// Height of its letters, pixels.
const LETTERS: f64 = 14.0;
/// No frame is shorter, s: players slow down what is faster than 0.02.
const MIN_SECONDS: f64 = 0.04;
/// How long the end of an episode stays, s/100.
const END: u16 = 100;
/// Pixels that stay as they are.
const UNCHANGED: u8 = 0;
/// Pictures that are drawn side by side.
const PART: usize = 64;
/// Shades between each two colors, for smooth edges.
const SHADES: u16 = 8;

/// A GIF in the making.
pub struct Film {
    encoder: Encoder<Vec<u8>>,
    height: usize,
    table: ColorTable,
    /// What is seen, as indices into the table.
    seen: Vec<u8>,
}

impl Film {
    /// An empty one, as large as this episode needs it.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn new(first: &ReplayedEpisode) -> Result<Film, Error> {
        let picture = &first.pictures[0];
        let unit = View::fit(picture, WIDTH as f64, MAX_HEIGHT).unit;
        let picture_height = ((picture.high[1] - picture.low[1]) * unit).round().max(1.0);
        let height = picture_height as usize + CAPTION;
        let frames = first.pictures.iter().flat_map(|picture| &picture.shapes);
        let frames: Vec<&envs::Frame> = frames
            .filter_map(|shape| match shape {
                Shape::Frame { frame, .. } => Some(frame),
                _ => None,
            })
            .collect();
        let table = ColorTable::new(&frames);
        let mut encoder = Encoder::new(Vec::new(), WIDTH as u16, height as u16, &table.bytes())
            .map_err(problem)?;
        encoder.set_repeat(Repeat::Infinite).map_err(problem)?;
        Ok(Film { encoder, height, table, seen: vec![UNCHANGED; WIDTH * height] })
    }

    /// Adds an episode.
    ///
    /// # Errors
    /// When a picture can't be drawn or encoded.
    pub fn add(&mut self, episode: &ReplayedEpisode) -> Result<(), Error> {
        let (steps, seconds) = (episode.steps(), episode.seconds());
        // Every step, or as many as there is time for.
        let most = (steps as f64 * seconds / MIN_SECONDS + 1e-9) as usize;
        let frames = most.clamp(1, steps);
        let step = |frame: usize| frame * steps / frames;
        // Differences of rounded times add up to the rounded whole.
        let time = |frame: usize| (step(frame) as f64 * seconds * 100.0).round() as u64;
        let all: Vec<usize> = (0..=frames).collect();
        // Drawing is what takes its time; pictures of a part fit into memory.
        for part in all.chunks(PART) {
            let drawn = part.par_iter().map(|&frame| self.draw(episode, step(frame)));
            for (&frame, pixels) in part.iter().zip(drawn.collect::<Result<Vec<_>, _>>()?) {
                let delay = match frame {
                    last if last == frames => END,
                    _ => (time(frame + 1) - time(frame)).min(u16::MAX.into()) as u16,
                };
                self.frame(&pixels, delay)?;
            }
        }
        Ok(())
    }

    /// The file's content.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        self.encoder.into_inner().map_err(problem)
    }

    /// The picture of a moment, with the line below it.
    fn draw(&self, episode: &ReplayedEpisode, step: usize) -> Result<Pixels, Error> {
        let picture_height = self.height - CAPTION;
        let view = View::fit(&episode.pictures[step], WIDTH as f64, picture_height as f64);
        let mut surface = Surface::new(WIDTH, self.height, &LIGHT);
        surface.picture(&episode.pictures, step, view, true);
        let middle = (WIDTH as f64 / 2.0, picture_height as f64 + 0.4 * CAPTION as f64);
        surface.text(&episode.caption(step, false).join(" · "), middle, LETTERS, Color::Quiet);
        surface.pixels()
    }

    /// Adds a frame: the rectangle with everything that has changed.
    fn frame(&mut self, pixels: &Pixels, delay: u16) -> Result<(), Error> {
        let now = self.table.indices(&pixels.colors);

        let changed = |index: &usize| now[*index] != self.seen[*index];
        let (mut left, mut right, mut top, mut bottom) = (WIDTH, 0, self.height, 0);
        for index in (0..now.len()).filter(changed) {
            let (x, y) = (index % WIDTH, index / WIDTH);
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
        if left > right {
            // Nothing: a frame has a pixel at least.
            (left, right, top, bottom) = (0, 0, 0, 0);
        }
        let mut buffer = Vec::with_capacity((right - left + 1) * (bottom - top + 1));
        for y in top..=bottom {
            let row = y * WIDTH + left..=y * WIDTH + right;
            buffer.extend(row.map(|index| if changed(&index) { now[index] } else { UNCHANGED }));
        }
        let frame = Frame {
            delay,
            dispose: DisposalMethod::Keep,
            transparent: Some(UNCHANGED),
            left: left as u16,
            top: top as u16,
            width: (right - left + 1) as u16,
            height: (bottom - top + 1) as u16,
            buffer: Cow::Owned(buffer),
            ..Frame::default()
        };
        self.encoder.write_frame(&frame).map_err(problem)?;
        self.seen = now;
        Ok(())
    }
}

fn problem(error: gif::EncodingError) -> Error {
    Error::Failed(format!("the GIF can't be made: {error}"))
}

/// The colors of the GIF: those of the shapes, and the shades between each two of them that smooth edges
/// have.
struct ColorTable {
    colors: Vec<Rgb>,
    /// Indices of colors that were looked up.
    known: HashMap<Rgb, u8>,
}

impl ColorTable {
    /// Of an episode with these rendered pictures.
    fn new(frames: &[&envs::Frame]) -> ColorTable {
        let mut table = ColorTable::of_shapes();
        if !frames.is_empty() {
            table.colors.truncate(1);
            table.colors.extend(frequent(frames, 255));
            table.colors.resize(256, LIGHT.ground);
        }
        table
    }

    fn of_shapes() -> ColorTable {
        let pure: Vec<Rgb> = [LIGHT.ground].into_iter().chain(LIGHT.colors).collect();
        // The first place is that of the pixels that stay as they are.
        let mut colors = vec![LIGHT.ground];
        colors.extend(&pure);
        for (index, a) in pure.iter().enumerate() {
            for b in &pure[index + 1..] {
                for part in 1..SHADES {
                    colors.push([0, 1, 2].map(|channel| {
                        let (a, b) = (u16::from(a[channel]), u16::from(b[channel]));
                        ((a * (SHADES - part) + b * part) / SHADES) as u8
                    }));
                }
            }
        }
        ColorTable { colors, known: HashMap::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        self.colors.concat()
    }

    /// The nearest color of each pixel.
    fn indices(&mut self, pixels: &[Rgb]) -> Vec<u8> {
        let mut indices: Vec<u8> = Vec::with_capacity(pixels.len());
        for (pixel, &color) in pixels.iter().enumerate() {
            // Most are like their neighbor.
            let index = match indices.last() {
                Some(&index) if pixels[pixel - 1] == color => index,
                _ => *self.known.entry(color).or_insert_with(|| nearest(&self.colors, color)),
            };
            indices.push(index);
        }
        indices
    }
}

/// The most frequent colours of rendered pictures, and those of the line below them. Colours are counted
/// in boxes, each of which has the colour that it had first.
fn frequent(frames: &[&envs::Frame], most: usize) -> Vec<Rgb> {
    /// Pictures that are looked at, at most, and bits of a channel that count.
    const LOOKED_AT: usize = 16;
    const BITS: u8 = 5;
    let mut boxes: HashMap<Rgb, (usize, Rgb)> = HashMap::new();
    for frame in frames.iter().step_by(frames.len().div_ceil(LOOKED_AT)) {
        for pixel in frame.rgb.chunks_exact(3) {
            let color = [pixel[0], pixel[1], pixel[2]];
            boxes.entry(color.map(|channel| channel >> (8 - BITS))).or_insert((0, color)).0 += 1;
        }
    }
    let mut boxes: Vec<(usize, Rgb)> = boxes.into_values().collect();
    boxes.sort_unstable();
    boxes.reverse();
    let of_line = [LIGHT.ground, LIGHT.of(Color::Quiet)];
    of_line.into_iter().chain(boxes.into_iter().map(|(_, color)| color)).take(most).collect()
}

fn nearest(colors: &[Rgb], color: Rgb) -> u8 {
    let distance = |&index: &usize| -> i32 {
        let squares = [0, 1, 2]
            .map(|channel| (i32::from(colors[index][channel]) - i32::from(color[channel])).pow(2));
        squares.iter().sum()
    };
    (usize::from(UNCHANGED) + 1..colors.len()).min_by_key(distance).unwrap_or_default() as u8
}
