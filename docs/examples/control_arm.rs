//! Runs a run's policy of the environment `arm` on a robot, as often as it was trained to act.

use envs::arm::geometry::{norm, sub};
use envs::{Action, Arm, ArmParameters, Environment, Environments, Parametric, Stream, stream};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use trainer::Trained;

/// The place of your robot's driver: servos that follow their targets, so that the loop can be tried.
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

/// Reaches for an object for four seconds at most; says how far the tip is from it then, m.
///
/// The environment is the loop's model of the robot: it is put where the robot is and says what the policy
/// observes there, and a step of it says where the targets go.
///
/// # Errors
/// When the run has no policy, or the parameters are not those of its robot.
pub fn reach(run: &Path, robot: &Path, tip: &str, object: [f64; 3]) -> Result<f64, Box<dyn Error>> {
    let policy = Trained::read(run, &Environments::default().into())?;
    let parameters = ArmParameters {
        urdf: Some(robot.display().to_string()),
        tip: Some(tip.to_owned()),
        ..ArmParameters::default()
    };
    let mut model = Arm::new(parameters.clone())?;
    let spec = model.spec();
    let seconds = spec.step_seconds.unwrap_or(0.02);
    let joints = spec.action_space.width();
    let home = model.mechanism().positions().to_vec();
    let mut robot = Robot { positions: home.clone(), velocities: vec![0.0; joints] };
    let (mut targets, mut last) = (home, vec![0.0; joints]);
    let mut observation = vec![0.0; spec.observation_space.width()];
    let mut unused = stream(0, Stream::Environment(0));

    let mut away = f64::INFINITY;
    // ANCHOR: loop
    let mut due = Instant::now();
    for step in 0..(4.0 / seconds) as usize {
        let (positions, velocities) = robot.read();
        model.set_state(&[positions, velocities, &targets, &last, &object].concat())?;
        away = norm(sub(model.mechanism().pose(model.tip()).position, object));
        if away <= parameters.grasp_distance {
            break; // The policy was trained up to here, and knows no further.
        }
        model.observe(&mut observation);
        let action = policy.agent.actor().act(&spec.action_space, &observation, None)?;
        model.step(Action::Continuous(&action), &mut unused);
        targets.copy_from_slice(&model.state()[2 * joints..3 * joints]);
        last = action.iter().map(|&number| number.into()).collect();
        robot.command(&targets, seconds);
        due += Duration::from_secs_f64(seconds);
        match due.checked_duration_since(Instant::now()) {
            Some(rest) => std::thread::sleep(rest),
            None => eprintln!("step {step} was late"),
        }
    }
    // ANCHOR_END: loop
    Ok(away)
}
