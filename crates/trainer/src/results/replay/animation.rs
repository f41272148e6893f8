//! Episodes in the terminal.

use super::episode::ReplayedEpisode;
use super::picture::{DARK, MONOCHROME, Pixels, Rgb, Surface, View};
use crate::error::Error;
use crate::results::screen::Screen;
use envs::Shape;
use std::time::{Duration, Instant};

/// No picture is shown shorter.
const FRAME: Duration = Duration::from_millis(33);
/// How long the end of an episode stays before the next one.
const END: Duration = Duration::from_secs(1);
/// Columns and rows where there is no terminal.
const PAGE: (usize, usize) = (80, 24);
/// Pixels of a cell: those of a braille character.
const CELL: [usize; 2] = [2, 4];

/// How a picture becomes characters.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// Braille dots in the terminal's own color.
    Plain,
    /// Quarters of cells, in colors of 24 bits.
    TrueColor,
    /// The same in the 256 colors that older terminals have.
    Colors256,
}

/// Plays an episode as fast as it happened. `false` when the user has left.
///
/// # Errors
/// When a picture can't be drawn.
pub fn play(screen: &mut Screen, episode: &ReplayedEpisode) -> Result<bool, Error> {
    let style = match (console::colors_enabled(), console::true_colors_enabled()) {
        (false, _) => Style::Plain,
        (true, true) => Style::TrueColor,
        (true, false) => Style::Colors256,
    };
    let (steps, seconds) = (episode.steps(), episode.seconds());
    let begun = Instant::now();
    let mut step = 0;
    loop {
        let shown = Instant::now();
        let (columns, rows) = screen.size();
        let mut picture = lines(episode, step, (columns, rows - 1), style)?;
        picture.push(episode.caption(step, true).join(" · "));
        if !screen.show(&picture) {
            return Ok(false);
        }
        if step == steps {
            break;
        }
        let next = begun + Duration::from_secs_f64(((step + 1) as f64 * seconds).min(1e9));
        if !screen.rest(next.max(shown + FRAME)) {
            return Ok(false);
        }
        let now = begun.elapsed().as_secs_f64() / seconds;
        step = (now as usize).clamp(step + 1, steps);
    }
    Ok(episode.number == episode.of || screen.rest(Instant::now() + END))
}

/// The end of an episode as plain text.
///
/// # Errors
/// When the picture can't be drawn.
pub fn last_picture(episode: &ReplayedEpisode) -> Result<String, Error> {
    let last = episode.steps();
    let mut text = String::new();
    for line in lines(episode, last, (PAGE.0, PAGE.1 - 2), Style::Plain)? {
        text += line.trim_end();
        text.push('\n');
    }
    text += &episode.caption(last, true).join(" · ");
    text.push('\n');
    Ok(text)
}

/// The picture of a moment in so many columns and rows at most; a line for each row.
fn lines(
    episode: &ReplayedEpisode,
    step: usize,
    (columns, rows): (usize, usize),
    style: Style,
) -> Result<Vec<String>, Error> {
    let drawing = &episode.pictures[step];
    let width = columns * CELL[0];
    let unit = View::fit(drawing, width as f64, (rows * CELL[1]) as f64).unit;
    let high = (drawing.high[1] - drawing.low[1]) * unit;
    let rows = ((high / CELL[1] as f64).ceil() as usize).clamp(1, rows);
    let view = View::fit(drawing, width as f64, (rows * CELL[1]) as f64);
    let palette = if style == Style::Plain { &MONOCHROME } else { &DARK };
    let mut surface = Surface::new(width, rows * CELL[1], palette);
    surface.picture(&episode.pictures, step, view, false);
    let pixels = surface.pixels()?;
    // Letters of the terminal's own can be read, those of a few pixels can't.
    let mut letters: Vec<Option<(char, Rgb)>> = vec![None; columns * rows];
    for shape in &drawing.shapes {
        let Shape::Text { center, text, color, .. } = shape else { continue };
        let (x, y) = view.at(*center);
        let row = (y / CELL[1] as f64) as usize;
        let start = (x / CELL[0] as f64 - text.chars().count() as f64 / 2.0).round();
        for (column, letter) in (start.max(0.0) as usize..columns).zip(text.chars()) {
            if y >= 0.0 && row < rows && !letter.is_control() {
                letters[row * columns + column] = Some((letter, palette.of(*color)));
            }
        }
    }
    let row = |row: usize| {
        let letters = &letters[row * columns..(row + 1) * columns];
        let cells =
            letters.iter().enumerate().map(|(column, letter)| (cell(&pixels, column, row), letter));
        if style == Style::Plain {
            return cells
                .map(|(cell, letter)| letter.map_or_else(|| braille(cell), |it| it.0))
                .collect();
        }
        let mut line = String::new();
        let (mut ground_before, mut color_before) = (None, None);
        for (cell, letter) in cells {
            let (ground, color, shown) = match letter {
                Some((letter, color)) => (mean(&cell), *color, *letter),
                None => quarters(cell),
            };
            if ground_before.replace(ground) != Some(ground) {
                line += &paint(ground, 48, style);
            }
            if shown != ' ' && color_before.replace(color) != Some(color) {
                line += &paint(color, 38, style);
            }
            line.push(shown);
        }
        line + "\x1b[0m"
    };
    Ok((0..rows).map(row).collect())
}

/// The pixels of a cell, row by row.
fn cell(pixels: &Pixels, column: usize, row: usize) -> [Rgb; 8] {
    std::array::from_fn(|index| {
        let (x, y) = (index % CELL[0], index / CELL[0]);
        pixels.colors[(row * CELL[1] + y) * pixels.width + column * CELL[0] + x]
    })
}

/// A dot for each pixel that is not dark.
fn braille(cell: [Rgb; 8]) -> char {
    /// The bit of each pixel's dot, row by row.
    const DOTS: [u32; 8] = [0x01, 0x08, 0x02, 0x10, 0x04, 0x20, 0x40, 0x80];
    let lit = cell.iter().zip(DOTS).filter(|(pixel, _)| pixel[0] >= 90);
    match lit.map(|(_, dot)| dot).sum() {
        0 => ' ',
        dots => char::from_u32(0x2800 + dots).unwrap_or(' '),
    }
}

fn mean(colors: &[Rgb]) -> Rgb {
    let sum =
        |channel: usize| colors.iter().map(|color| usize::from(color[channel])).sum::<usize>();
    [0, 1, 2].map(|channel| (sum(channel) / colors.len().max(1)) as u8)
}

/// The character whose shape and two colors are nearest to a cell: ground, color, character.
fn quarters(cell: [Rgb; 8]) -> (Rgb, Rgb, char) {
    /// By the quarters that have the color: upper left 1, upper right 2, lower left 4, lower right 8.
    const BLOCKS: [char; 16] =
        [' ', '▘', '▝', '▀', '▖', '▌', '▞', '▛', '▗', '▚', '▐', '▜', '▄', '▙', '▟', '█'];
    let quarter = |upper: usize| mean(&[cell[upper], cell[upper + 2]]);
    let colors = [0, 1, 4, 5].map(quarter);
    let distance = |a: Rgb, b: Rgb| -> i32 {
        (0..3).map(|channel| (i32::from(a[channel]) - i32::from(b[channel])).pow(2)).sum()
    };
    // The two that differ most stand for the others.
    let (mut ground, mut color) = (colors[0], colors[0]);
    for a in colors {
        for b in colors {
            if distance(a, b) > distance(ground, color) {
                (ground, color) = (a, b);
            }
        }
    }
    let is_color = colors.map(|it| distance(it, color) < distance(it, ground));
    let side = |wanted: bool| -> Vec<Rgb> {
        let side = colors.iter().zip(is_color).filter(|(_, is_color)| *is_color == wanted);
        side.map(|(color, _)| *color).collect()
    };
    let bits = is_color.iter().enumerate().map(|(bit, &is_color)| usize::from(is_color) << bit);
    let shape = BLOCKS[bits.sum::<usize>()];
    (mean(&side(false)), mean(&side(true)), shape)
}

/// The escape sequence that switches to a color: `layer` is 38 for characters and 48 for their ground.
fn paint([r, g, b]: Rgb, layer: u8, style: Style) -> String {
    if style == Style::TrueColor {
        return format!("\x1b[{layer};2;{r};{g};{b}m");
    }
    // Greys are finer than the cube of 6 by 6 by 6 colors.
    let is_grey = r.abs_diff(g).max(g.abs_diff(b)).max(r.abs_diff(b)) < 24;
    let index = if is_grey {
        232 + (u16::from(g).saturating_sub(3) / 10).min(23)
    } else {
        let level = |channel: u8| match u16::from(channel) {
            low @ ..115 => low / 48,
            high => (high - 35) / 40,
        };
        16 + 36 * level(r) + 6 * level(g) + level(b)
    };
    format!("\x1b[{layer};5;{index}m")
}
