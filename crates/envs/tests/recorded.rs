//! The environments with their default parameters against numbers that were recorded when they had no
//! parameters yet: every step gives the same bits.

#![allow(clippy::expect_used)]

use envs::{Environment, Environments, Stream, TaskConfig, stream};

/// A line for each reset and each step: `reset NAME STATE`, and
/// `step ACTION STATE REWARD OBSERVATION TERMINATED`, numbers as the digits of their bits, the
/// observation as a sum of its bits. The state of a step is the one that it leads to.
const RECORDED: &str = include_str!("recorded.txt");

fn doubles(text: &str) -> Vec<f64> {
    let double = |digits| u64::from_str_radix(digits, 16).map(f64::from_bits);
    text.split(',').map(|digits| double(digits).expect("digits of a double")).collect()
}

fn singles(text: &str) -> Vec<f32> {
    let single = |digits| u32::from_str_radix(digits, 16).map(f32::from_bits);
    text.split(',').map(|digits| single(digits).expect("digits of a float")).collect()
}

/// Sines and cosines come from the system's library, whose last bit may differ from the one that the
/// numbers were recorded with.
fn sines_are_those_of_the_recording(digits: &str) -> bool {
    let sum = (0..1000).fold(0_u64, |sum, k| {
        let (sin, cos) = (f64::from(k) * 0.01 - 5.0).sin_cos();
        sum.rotate_left(7) ^ sin.to_bits() ^ cos.to_bits().rotate_left(32)
    });
    format!("{sum:016x}") == digits
}

#[test]
fn every_step_gives_the_bits_of_the_recording() {
    let mut lines = RECORDED.lines();
    let probe = lines.next().and_then(|line| line.strip_prefix("probe ")).expect("the first line");
    let is_exact = sines_are_those_of_the_recording(probe);
    let assert_same = |found: &[f64], expected: &[f64], line: &str| {
        let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let near = |(found, expected): (&f64, &f64)| {
            (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
        };
        let holds = match is_exact {
            true => bits(found) == bits(expected),
            false => found.iter().zip(expected).all(near),
        };
        assert!(holds, "{found:?} is not {expected:?}: {line}");
    };

    let mut environment: Option<Box<dyn Environment>> = None;
    let mut before = Vec::new();
    let mut name = "";
    let mut rng = stream(3, Stream::Environment(0));
    let mut steps = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["reset", next, state] => {
                if next != name {
                    name = next;
                    let entry = Environments::default().get(name).expect("a built-in environment");
                    environment = Some(entry.task(&TaskConfig::default()).expect("a task").make());
                    rng = stream(3, Stream::Environment(0));
                }
                let environment = environment.as_mut().expect("a reset comes first");
                environment.reset(&mut rng);
                before = doubles(state);
                assert_same(&environment.state(), &before, line);
            }
            ["step", action, state, reward, sum, terminated] => {
                let environment = environment.as_mut().expect("a reset comes first");
                // From the recorded state, so that a different last bit of a sine does not grow.
                environment.set_state(&before).expect("a state of its own");
                let spec = environment.spec();
                let numbers = singles(action);
                let step = environment.step(spec.action_space.action(&numbers), &mut rng);
                before = doubles(state);
                assert_same(&environment.state(), &before, line);
                assert_same(&[step.reward], &doubles(reward), line);
                assert_eq!(step.terminated, terminated == "1", "{line}");
                let mut observation = vec![0.0_f32; spec.observation_space.width()];
                environment.observe(&mut observation);
                let bits =
                    observation.iter().fold(0_u32, |sum, x| sum.rotate_left(5) ^ x.to_bits());
                assert!(!is_exact || format!("{bits:08x}") == sum, "{observation:?}: {line}");
                steps += 1;
            }
            _ => panic!("no line of a recording: {line}"),
        }
    }
    assert_eq!(steps, 4 * 300);
}
