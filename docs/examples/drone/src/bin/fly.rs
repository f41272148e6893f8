//! What would run on the drone's computer: the trained policy, and no trainer. Here it flies a square.

use drone::{Drone, DroneParameters};
use envs::{Action, Environment, Parametric, Stream, stream};
use std::error::Error;
use trainer::Trained;

fn main() -> Result<(), Box<dyn Error>> {
    let run = std::env::args().nth(1).ok_or("give a run directory, such as runs/ppo_drone/1")?;
    let policy = Trained::read(run, &drone::registry().into())?;
    let actor = policy.agent.actor();

    // Heavier than usual, which the policy is not told.
    let mut drone = Drone::new(DroneParameters { mass: 0.7, ..DroneParameters::default() })?;
    let mut gusts = stream(1, Stream::Environment(0));
    let spec = drone.spec();
    let mut sensors = vec![0.0; spec.observation_space.width()];
    for corner in [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]] {
        // Places are relative to the waypoint: a new one a metre away moves the drone's own place.
        let mut state = drone.state();
        state[0] -= corner[0];
        state[1] -= corner[1];
        drone.set_state(&state)?;
        for _ in 0..150 {
            drone.observe(&mut sensors);
            let power = actor.act(&spec.action_space, &sensors, None)?;
            drone.step(Action::Continuous(&power), &mut gusts);
        }
        println!("{:.2} m from the waypoint after 3 s", drone.distance());
    }
    Ok(())
}
