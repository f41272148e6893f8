//! An episode's pictures for the page's script: of each shape what it is, then what changes.

use crate::results::replay::picture::{NAMES, View, shrunk};
use crate::results::stats;
use envs::arm::geometry::Pose;
use envs::{Body, Drawing, Frame, Scene, Shape};
use serde::Serialize;

/// The longer side of a picture, in the unit of all numbers: finer than a screen shows.
const SIDE: f64 = 4000.0;

/// Of a rendered picture at most, pixels of a row; and rendered pictures of an episode.
const MAX_WIDTH: usize = 320;
const MAX_FRAMES: usize = 250;

/// The pictures of an episode.
#[derive(Serialize)]
pub struct Pictures {
    /// Width and height.
    size: [i64; 2],
    /// How long a step is shown, s.
    seconds_per_step: f64,
    /// Where the layers are bodies that can be seen from anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    scene: Option<Turnable>,
    /// A layer for each place in the list of shapes, later ones above; with an entry for each step, up to
    /// the last one that says anything.
    layers: Vec<Vec<LayerChange>>,
}

/// What stays of a [`Scene`].
#[derive(Serialize)]
struct Turnable {
    /// Azimuth and elevation of the camera, rad.
    camera: [f64; 2],
    /// Of what is seen.
    radius: i64,
    /// The solids of each body, with their margin and their faces: x, y and z of each corner.
    bodies: Vec<Vec<(i64, Vec<Vec<i64>>)>>,
}

/// What is new about a layer.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum LayerChange {
    /// It has no shape.
    Absent,
    /// Differences of [`Full::at`], without zeros at the end.
    Moved(Vec<i64>),
    /// Its text is another one.
    Says(String),
    /// It is this shape.
    Shape(Full),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Full {
    kind: &'static str,
    color: &'static str,
    /// From the upper left corner: x and y of each point; then width, radius or height. Of a body in the scene:
    /// its origin, then its first and second axis of length [`SIDE`].
    at: Vec<i64>,
    /// Of a frame a PNG, as the address of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// How far a trail goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
}

impl Pictures {
    /// Of an episode of one moment at least.
    pub fn new(drawings: &[Drawing]) -> Pictures {
        let first = &drawings[0];
        let view = View::fit(first, SIDE, SIDE);
        let [wide, high] = [0, 1].map(|axis| (first.high[axis] - first.low[axis]) * view.unit);
        let view = View::fit(first, wide, high);
        let places = |drawing: &Drawing| match &drawing.scene {
            Some(scene) => scene.bodies.len(),
            None => drawing.shapes.len(),
        };
        let most = drawings.iter().map(places).max().unwrap_or(0);
        // Of rendered pictures a part is enough; the others show the one before.
        let every = drawings.len().div_ceil(MAX_FRAMES);
        let layer = |index: usize| {
            let mut before: Option<Full> = None;
            let mut entries: Vec<LayerChange> = drawings
                .iter()
                .enumerate()
                .map(|(step, drawing)| {
                    let now = match (&drawing.scene, drawing.shapes.get(index), &before) {
                        (Some(scene), _, _) => {
                            scene.bodies.get(index).map(|body| Full::body(body, view))
                        }
                        (None, Some(Shape::Frame { .. }), Some(_)) if step % every > 0 => {
                            before.clone()
                        }
                        (None, shape, _) => shape.map(|shape| Full::of(shape, view)),
                    };
                    let entry = LayerChange::between(before.as_ref(), now.as_ref());
                    before = now;
                    entry
                })
                .collect();
            while entries.last() == Some(&LayerChange::Moved(Vec::new())) {
                entries.pop();
            }
            entries
        };
        Pictures {
            size: [wide, high].map(|side| side.round().max(1.0) as i64),
            seconds_per_step: first.seconds,
            scene: first.scene.as_ref().map(|scene| Turnable::new(scene, view.unit)),
            layers: (0..most).map(layer).collect(),
        }
    }
}

impl Turnable {
    fn new(scene: &Scene, unit: f64) -> Turnable {
        let long = |length: f64| (length * unit).round() as i64;
        let solids = |body: &Body| {
            let face = |face: &Vec<[f64; 3]>| face.iter().flatten().copied().map(long).collect();
            let solids = body.solids.iter();
            solids
                .map(|solid| (long(solid.radius), solid.faces.iter().map(face).collect()))
                .collect()
        };
        Turnable {
            camera: [scene.camera.azimuth, scene.camera.elevation]
                .map(|angle| stats::round(angle, 5)),
            radius: long(scene.radius),
            bodies: scene.bodies.iter().map(solids).collect(),
        }
    }
}

impl Full {
    fn body(body: &Body, view: View) -> Full {
        let Pose { position, rotation } = body.pose;
        let origin = position.map(|x| x * view.unit);
        let axes = [0, 1].map(|axis| rotation.0[axis].map(|x| x * SIDE));
        Full {
            kind: "body",
            color: NAMES[body.color as usize],
            at: [origin, axes[0], axes[1]].concat().into_iter().map(|x| x.round() as i64).collect(),
            text: None,
            steps: Some(body.trail),
        }
    }

    fn of(shape: &Shape, view: View) -> Full {
        let color = NAMES[shape.color() as usize];
        let kind = match shape {
            Shape::Line { .. } => "line",
            Shape::Polygon { .. } => "polygon",
            Shape::Disc { .. } => "disc",
            Shape::Ring { .. } => "ring",
            Shape::Text { .. } => "text",
            Shape::Trail { .. } => "trail",
            Shape::Frame { .. } => "frame",
        };
        let mut at = Vec::new();
        for &point in shape.points() {
            let (x, y) = view.at(point);
            at.extend([x.round() as i64, y.round() as i64]);
        }
        if kind != "polygon" {
            at.push((shape.size() * view.unit).round() as i64);
        }
        let text = match shape {
            Shape::Text { text, .. } => Some(text.clone()),
            Shape::Frame { frame, .. } => Some(address(frame)),
            _ => None,
        };
        let steps = match shape {
            Shape::Trail { steps, .. } => Some(*steps),
            _ => None,
        };
        Full { kind, color, at, text, steps }
    }
}

/// A rendered picture, made smaller, as a PNG in an address that holds it.
fn address(frame: &Frame) -> String {
    let width = frame.width.min(MAX_WIDTH);
    let height = (frame.height * width / frame.width).max(1);
    let size = [1.0 / width as f64, 1.0 / height as f64];
    let pixel = |index: usize| {
        let at = [(index % width) as f64 * size[0], (index / width) as f64 * size[1]];
        shrunk(frame, [at, size])
    };
    let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    // Into memory, with as many pixels as were promised: nothing can fail, and an image that is not there
    // is not shown.
    let _ = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    format!("data:image/png;base64,{}", base64(&file))
}

/// Bytes in the letters of an address: three as four letters, `=` for what is missing at the end.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for letter in 0..4 {
            let bits = (word >> (18 - 6 * letter)) & 63;
            text.push(if letter > three.len() { '=' } else { char::from(LETTERS[bits as usize]) });
        }
    }
    text
}

impl LayerChange {
    fn between(before: Option<&Full>, now: Option<&Full>) -> LayerChange {
        let Some(now) = now else { return LayerChange::Absent };
        let Some(before) = before else { return LayerChange::Shape(now.clone()) };
        let Full { kind, color, at, text, steps } = before;
        let is_same =
            (kind, color, steps, at.len()) == (&now.kind, &now.color, &now.steps, now.at.len());
        match &now.text {
            _ if !is_same => LayerChange::Shape(now.clone()),
            Some(other) if now.text != *text && now.at == *at => LayerChange::Says(other.clone()),
            _ if now.text != *text => LayerChange::Shape(now.clone()),
            _ => {
                let mut moved: Vec<i64> =
                    now.at.iter().zip(at).map(|(now, before)| now - before).collect();
                while moved.last() == Some(&0) {
                    moved.pop();
                }
                LayerChange::Moved(moved)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envs::{Camera, Color, Solid};

    #[test]
    fn bodies_are_written_once_and_their_poses_by_how_far() {
        let moment = |x: f64| {
            let ball = Solid::ball([0.0, 0.0, 0.1], 0.05);
            let pose = Pose { position: [x, 0.0, 0.5], ..Pose::NONE };
            let body = |pose, trail| Body {
                solids: vec![ball.clone()].into(),
                pose,
                color: Color::Accent,
                trail,
            };
            let bodies = vec![body(Pose::NONE, 0), body(pose, 9)];
            let camera = Camera { azimuth: 0.5, elevation: 0.25 };
            Scene { camera, radius: 2.0, bodies }.draw(0.1)
        };
        // 1000 for 1 m.
        let pictures = Pictures::new(&[moment(0.0), moment(0.25), moment(0.25)]);
        let json = serde_json::to_string(&pictures).unwrap_or_default();
        let expected = concat!(
            r#"{"size":[4000,2600],"seconds_per_step":0.1,"#,
            r#""scene":{"camera":[0.5,0.25],"radius":2000,"#,
            r#""bodies":[[[50,[[0,0,100]]]],[[50,[[0,0,100]]]]]},"layers":["#,
            r#"[{"kind":"body","color":"accent","at":[0,0,0,4000,0,0,0,4000,0],"steps":0}],"#,
            r#"[{"kind":"body","color":"accent","at":[0,0,500,4000,0,0,0,4000,0],"steps":9},[250]]]}"#,
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn bytes_become_the_letters_of_rfc_4648() {
        let examples = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")];
        for (bytes, text) in [&examples[..], &[("foobar", "Zm9vYmFy")]].concat() {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_stays_is_written_once_and_what_moves_by_how_far() {
        // 4 x 2 units of 1000.
        let moment = |x: f64, value: &str, has_arrow: bool| {
            let mut drawing = Drawing::new([-1.0, 0.0], [3.0, 2.0], 0.1);
            drawing.line(&[[-1.0, 0.0], [3.0, 0.0]], 0.01, Color::Quiet);
            drawing.disc([x, 1.0], 0.25, Color::Accent);
            drawing.text(value, [0.0, 2.0], 0.1, Color::Text);
            if has_arrow {
                drawing.trail([x, 0.5], 7, 0.02, Color::Second);
            }
            drawing
        };
        let pictures = Pictures::new(&[
            moment(0.0, "a", true),
            moment(0.5, "a", false),
            moment(0.5, "b", true),
            moment(0.5, "b", true),
        ]);
        let json = serde_json::to_string(&pictures).unwrap_or_default();
        let expected = concat!(
            r#"{"size":[4000,2000],"seconds_per_step":0.1,"layers":["#,
            r#"[{"kind":"line","color":"quiet","at":[0,2000,4000,2000,10]}],"#,
            r#"[{"kind":"disc","color":"accent","at":[1000,1000,250]},[500]],"#,
            r#"[{"kind":"text","color":"text","at":[1000,0,100],"text":"a"},[],"b"],"#,
            r#"[{"kind":"trail","color":"second","at":[1000,1500,20],"steps":7},null,"#,
            r#"{"kind":"trail","color":"second","at":[1500,1500,20],"steps":7}]]}"#,
        );
        assert_eq!(json, expected);
    }
}
