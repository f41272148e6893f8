//! Helpers shared by the tests of this folder.

pub mod allocations;
pub mod exact;
pub mod textbook;

use agents::{Backend, Evaluation};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trainer::{Experiment, Override, Registry, Session};

/// Where reference files are: `tests/reference`, or the directory that the environment variable
/// `REFERENCE_DIR` names.
#[must_use]
pub fn reference_directory() -> PathBuf {
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/reference");
    std::env::var_os("REFERENCE_DIR").map_or(built_in.into(), PathBuf::from)
}

/// The cases of a reference file in [`reference_directory`].
///
/// # Panics
/// When the file can't be read or has another shape, so that the test fails.
pub fn reference_cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct Reference<T> {
        cases: Vec<T>,
    }

    let path = reference_directory().join(file);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: can't be read: {error}", path.display()));
    let reference: Reference<T> = json5::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: unexpected shape: {error}", path.display()));
    assert!(!reference.cases.is_empty(), "{}: no cases", path.display());
    reference.cases
}

/// Asserts that numbers match a reference: the difference, relative where the expected number is
/// larger than 1, is at most `tolerance`. `place` says in the message which numbers these are.
///
/// # Panics
/// When they don't match, or differ in length.
pub fn assert_match(found: &[f64], expected: &[f64], tolerance: f64, place: impl Display) {
    assert_eq!(found.len(), expected.len(), "{place}: number of values");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs() / expected.abs().max(1.0);
        // A NaN must fail too, so `<=`.
        assert!(
            difference <= tolerance,
            "{place}[{index}]: {found:?} where the reference has {expected:?} \
             (difference {difference:.1e}, tolerance {tolerance:.0e})"
        );
    }
}

/// A tensor's numbers in row-major order.
///
/// # Panics
/// When the device fails.
#[must_use]
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    match tensor.try_into_vec_as::<f32>() {
        Ok(numbers) => widened(&numbers),
        Err(error) => panic!("the tensor can't be read: {error:?}"),
    }
}

/// The same numbers in f64.
#[must_use]
pub fn widened(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// Rows of `width` numbers on a device.
#[must_use]
pub fn rows(numbers: &[f32], width: usize, device: &Device) -> Tensor<2> {
    let shape = [numbers.len() / width, width];
    Tensor::from_data(TensorData::new(numbers.to_vec(), shape), device)
}

/// A backend's device, opened once for all tests of a file; `None`, with a line that says so, where this
/// machine has no GPU.
#[must_use]
pub fn device(backend: Backend) -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let open = |backend: Backend| match backend.open() {
        Ok(device) => Some(device),
        Err(error) => {
            // Past the test harness, which keeps to itself what a passing test prints.
            let _ = writeln!(std::io::stderr().lock(), "\nSKIPPED what needs a GPU: {error}");
            None
        }
    };
    match backend {
        Backend::Flex | Backend::NdArray => open(backend),
        Backend::Wgpu => GPU.get_or_init(|| open(backend)).clone(),
    }
}

/// A session that trains as `trainer run configs/NAME.toml --seed SEED` does.
///
/// # Panics
/// When the configuration can't be read.
#[must_use]
pub fn begin(name: &str, seed: u64) -> Session {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../configs/{name}.toml"));
    let registry = Registry::default();
    let overrides = [Override::flag("seed", seed)];
    let (experiment, task, source) = Experiment::read(&path, &overrides, &registry).unwrap();
    Session::begin(experiment, task, &source).unwrap()
}

/// Trains to the end, and evaluates as `trainer run` does there.
///
/// # Panics
/// When that fails, or there are not 100 episodes.
#[must_use]
pub fn train(name: &str, seed: u64) -> Evaluation {
    let mut session = begin(name, seed);
    assert_eq!(session.experiment.eval.episodes, 100, "{name}: episodes of the evaluation");
    while !session.is_finished() {
        session.training.iterate().unwrap();
    }
    session.evaluate().unwrap()
}
