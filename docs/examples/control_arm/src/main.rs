//! Runs a policy of the environment `arm` that `trainer export --format onnx` wrote, as often as it was trained to act.
//!
//!     control_arm POLICY.onnx ROBOT.urdf TIP X Y Z
//!
//! `Robot` is the place of your robot's driver. Here it is servos that follow their targets, so that the loop can be
//! tried. The status is 0 only if the tip came to the object.

use envs::arm::geometry::{Vector, norm, sub};
use envs::arm::{self, Integrator, Mechanism, Physics};
use rten::{Model, Value};
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// The environment's grasp_distance, m.
const GRASP_DISTANCE: f64 = 0.05;

/// A driver's two functions: measured positions and velocities in the order of the joints, and targets.
struct Robot {
    positions: Vec<f64>,
    velocities: Vec<f64>,
}

impl Robot {
    fn read(&self) -> (&[f64], &[f64]) {
        (&self.positions, &self.velocities)
    }

    fn command(&mut self, targets: &[f64], seconds: f64) {
        for (joint, target) in targets.iter().enumerate() {
            let way = (target - self.positions[joint]) * (1.0 - (-seconds / 0.05).exp());
            self.positions[joint] += way;
            self.velocities[joint] = way / seconds;
        }
    }
}

/// What the file of a policy says: numbers in, numbers out, what each of them is, and how often.
struct Policy {
    model: Model,
    observation_names: Vec<String>,
    /// Joints, each with what an action of 1 moves its target by, rad.
    actions: Vec<(String, f64)>,
    step_seconds: f64,
}

impl Policy {
    fn read(path: &Path) -> Result<Policy, Box<dyn Error>> {
        let model = Model::load_file(path)?;
        let about = |key: &str| model.metadata().get(key).ok_or(format!("the policy has no {key}"));
        let observation_names: Vec<String> = serde_json::from_str(about("observation_names")?)?;
        let names: Vec<String> = serde_json::from_str(about("action_names")?)?;
        // "change of target panda_joint1 [0.0435 rad]": the joint, and what an action of 1 is.
        let action = |name: &String| {
            let (joint, size) = name.strip_prefix("change of target ")?.split_once(" [")?;
            Some((joint.to_owned(), size.strip_suffix(" rad]")?.parse().ok()?))
        };
        let actions = names.iter().map(action).collect::<Option<_>>();
        let step_seconds = about("step_seconds")?.parse()?;
        let actions =
            actions.ok_or(format!("this loop moves targets; the actions are {names:?}"))?;
        Ok(Policy { model, observation_names, actions, step_seconds })
    }

    /// The action for what is known, by its names.
    fn act(&self, known: &HashMap<String, f64>) -> Result<Vec<f64>, Box<dyn Error>> {
        let number = |name: &String| known.get(name).map(|&number| number as f32);
        let row: Option<Vec<f32>> = self.observation_names.iter().map(number).collect();
        let row = row.ok_or("the policy asks for what this loop does not know")?;
        let observation = Value::from_shape(&[1, row.len()], row)?;
        let (_, action) =
            self.model.run_one(observation.into(), None)?.into_shape_vec::<f32, 2>()?;
        Ok(action.into_iter().map(f64::from).collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, urdf, tip, place @ ..] = &arguments[..] else {
        return Err("give POLICY.onnx ROBOT.urdf TIP X Y Z".into());
    };
    let place: Vec<f64> = place.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
    let goal: Vector = place.try_into().map_err(|_| "a place is X Y Z")?;
    let policy = Policy::read(Path::new(policy))?;
    let seconds = policy.step_seconds;

    let file = arm::Robot::read(Path::new(urdf))?;
    let tip = file.link(tip).ok_or("the robot has no link of that name")?;
    let joints: Vec<&str> = file.motors().map(|joint| joint.name.as_str()).collect();
    let same = joints.iter().eq(policy.actions.iter().map(|(joint, _)| joint));
    assert!(same, "the robot's joints are {joints:?}, the policy's {:?}", policy.actions);
    let limits: Vec<[f64; 2]> =
        file.motors().map(|joint| joint.limits.unwrap_or([-9e9, 9e9])).collect();
    // Only where its links are is asked of it.
    let mut model = Mechanism::new(&file, Physics::of(&file, seconds, Integrator::ImplicitFast));

    let middle: Vec<f64> = limits.iter().map(|[low, high]| 0.5 * (low + high)).collect();
    let mut robot = Robot { positions: middle, velocities: vec![0.0; joints.len()] };
    let mut away = f64::INFINITY;
    // ANCHOR: loop
    let mut targets = robot.read().0.to_vec();
    let mut due = Instant::now();
    for step in 0..(4.0 / seconds) as usize {
        let (positions, velocities) = robot.read();
        model.put(positions, velocities);
        let at = model.pose(tip).position;
        away = norm(sub(at, goal));
        if away <= GRASP_DISTANCE {
            break; // The policy was trained up to here, and knows no further.
        }
        let mut known = HashMap::new();
        for (joint, name) in joints.iter().enumerate() {
            known.insert(format!("{name} [rad]"), positions[joint]);
            known.insert(format!("velocity {name} [rad/s]"), velocities[joint]);
            let way = targets[joint] - positions[joint];
            known.insert(format!("target {name} - {name} [rad]"), way);
        }
        for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
            known.insert(format!("tip {name} [m]"), at[axis]);
            known.insert(format!("object {name} [m]"), goal[axis]);
        }
        let action = policy.act(&known)?;
        for (joint, (number, (_, size))) in action.iter().zip(&policy.actions).enumerate() {
            let [low, high] = limits[joint];
            targets[joint] = (targets[joint] + size * number).clamp(low, high);
        }
        robot.command(&targets, seconds);
        println!("{:.2} s: {:.0} mm away", step as f64 * seconds, 1000.0 * away);
        due += Duration::from_secs_f64(seconds);
        match due.checked_duration_since(Instant::now()) {
            Some(rest) => std::thread::sleep(rest),
            None => eprintln!("step {step} was late"),
        }
    }
    // ANCHOR_END: loop
    println!("{:.0} mm away at the end", 1000.0 * away);
    if away > GRASP_DISTANCE {
        return Err("the tip did not come to the object".into());
    }
    Ok(())
}
