//! Every operation of `agents::ops` on every backend: on `flex`, which has bodies of its own, on
//! `ndarray` and on `wgpu`, which have the default ones. The judge is automatic differentiation over the
//! textbook form, or arithmetic in f64. A backend without a device is skipped, and says so.

use agents::adam::{Adam, AdamState, clip};
use agents::distribution::Distribution;
use agents::minibatch::Target;
use agents::network::Mlp;
use agents::ops::{
    AdamStep, Bounds, Family, Handle, LossTerms, PolicyGradients, Reports, Surrogate,
    SurrogateLoss, ValueGradients, adam, clip_scale, standardized, sum_of_squares, surrogate_loss,
    value_loss,
};
use agents::{Activation, Backend, Minibatch, PolicyMetrics};
use backburn_tests::textbook::{self, gradient};
use backburn_tests::{assert_match, device, numbers, rows, widened};
use burn::tensor::{Device, Int, Tensor, TensorData};
use envs::{Rng, Stream, stream};
use rand::RngExt;

/// Neither whole registers nor whole workgroups.
const SIZE: usize = 61;

/// Every backend that has a device here.
fn devices() -> impl Iterator<Item = (Backend, Device)> {
    Backend::ALL.into_iter().filter_map(|backend| Some((backend, device(backend)?)))
}

fn random(count: usize, scale: f32, rng: &mut Rng) -> Vec<f32> {
    (0..count).map(|_| scale * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

fn vector(numbers: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_floats(numbers, device)
}

/// A policy, as network outputs and log standard deviations, near the one that acted.
struct Case {
    name: &'static str,
    family: Family,
    /// Of the box that a squashed policy acts in.
    half_widths: Option<Vec<f32>>,
    /// Network outputs of a sample.
    width: usize,
    outputs: Vec<f32>,
    old_outputs: Vec<f32>,
    /// Behind as many parameters of a network as [`Case::LOG_STD`] says.
    params: Vec<f32>,
    old_params: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    advantages: Vec<f32>,
}

impl Case {
    const LOG_STD: usize = 7;

    fn new(name: &'static str, family: Family, width: usize) -> Case {
        let mut rng = stream(3, Stream::Sampling(0));
        let near = |numbers: &[f32], rng: &mut Rng| -> Vec<f32> {
            numbers.iter().zip(random(numbers.len(), 0.1, rng)).map(|(x, d)| x + d).collect()
        };
        let outputs = random(SIZE * width, 1.0, &mut rng);
        let log_stds = if family == Family::Categorical { 0 } else { width };
        let params = random(Case::LOG_STD + log_stds, 0.7, &mut rng);
        let actions = match family {
            Family::Categorical => (0..SIZE).map(|_| rng.random_range(0..width) as f32).collect(),
            _ => random(SIZE * width, 2.0, &mut rng),
        };
        let mut case = Case {
            name,
            family,
            half_widths: matches!(family, Family::SquashedGaussian { .. })
                .then(|| HALF_WIDTHS.to_vec()),
            width,
            old_outputs: near(&outputs, &mut rng),
            old_params: near(&params, &mut rng),
            outputs,
            params,
            actions,
            log_probs: Vec::new(),
            advantages: random(SIZE, 3.0, &mut rng),
        };
        let flex = Device::flex();
        let old = case.distribution(
            rows(&case.old_outputs, width, &flex),
            &vector(&case.old_params[Case::LOG_STD..], &flex),
        );
        let exact = numbers(old.log_prob(&case.minibatch(&flex).actions));
        // Farther away, so that ratios are on both sides of the clip.
        let away = random(SIZE, 0.3, &mut rng);
        case.log_probs = exact.iter().zip(away).map(|(&exact, away)| exact as f32 + away).collect();
        case
    }

    fn minibatch(&self, device: &Device) -> Minibatch {
        Minibatch {
            observations: rows(&[0.0; SIZE], 1, device),
            actions: rows(&self.actions, self.actions.len() / SIZE, device),
            log_probs: rows(&self.log_probs, 1, device),
            outputs: rows(&self.old_outputs, self.width, device),
            advantages: rows(&self.advantages, 1, device),
            targets: Vec::new(),
        }
    }

    fn distribution(&self, outputs: Tensor<2>, log_std: &Tensor<1>) -> Distribution {
        match self.family {
            Family::Categorical => Distribution::categorical(outputs),
            _ => Distribution::gaussian(outputs, log_std.clone().reshape([1, self.width])),
        }
    }

    /// The operation.
    fn loss(&self, surrogate: Surrogate, entropy_coef: f64, device: &Device) -> SurrogateLoss {
        let minibatch = self.minibatch(device);
        surrogate_loss(
            rows(&self.outputs, self.width, device),
            &vector(&self.params, device),
            &vector(&self.old_params, device),
            &minibatch.outputs,
            &minibatch.actions,
            &minibatch.log_probs,
            &minibatch.advantages,
            LossTerms { family: self.family, log_std: Case::LOG_STD, surrogate, entropy_coef },
        )
    }

    /// Metrics, derivative by the outputs, and by the log standard deviations where there are some,
    /// by automatic differentiation over the textbook form.
    fn judge(&self, surrogate: Surrogate, entropy_coef: f64) -> [Vec<f64>; 3] {
        let flex = Device::flex();
        let [log_std, old_log_std] =
            [&self.params, &self.old_params].map(|params| vector(&params[Case::LOG_STD..], &flex));
        let minibatch = self.minibatch(&flex);
        let old = self.distribution(minibatch.outputs.clone(), &old_log_std);
        let loss = || {
            let outputs = rows(&self.outputs, self.width, &flex).autodiff().require_grad();
            let log_std = log_std.clone().autodiff().require_grad();
            let new = self.distribution(outputs.clone(), &log_std);
            let half_widths = self.half_widths.as_deref();
            let loss =
                textbook::policy_loss(&new, &old, &minibatch, surrogate, entropy_coef, half_widths);
            (loss, outputs, log_std)
        };
        let (found, outputs, _) = loss();
        let by_outputs = numbers(gradient(&outputs, found.loss));
        let metrics =
            [found.objective.neg(), found.entropy, found.clip_fraction, found.kl, found.approx_kl];
        let by_log_std = match self.family {
            Family::Categorical => Vec::new(),
            _ => {
                let (found, _, log_std) = loss();
                numbers(gradient(&log_std, found.loss))
            }
        };
        [metrics.into_iter().flat_map(numbers).collect(), by_outputs, by_log_std]
    }
}

const HALF_WIDTHS: [f32; 2] = [1.5, 0.25];

fn cases() -> [Case; 5] {
    let ln_half_widths = HALF_WIDTHS.iter().map(|&half| f64::from(half).ln()).sum();
    [
        Case::new("two choices", Family::Categorical, 2),
        Case::new("five choices", Family::Categorical, 5),
        Case::new("one number", Family::Gaussian, 1),
        Case::new("three numbers", Family::Gaussian, 3),
        Case::new("two squashed numbers", Family::SquashedGaussian { ln_half_widths }, 2),
    ]
}

const SURROGATES: [Surrogate; 3] =
    [Surrogate::Plain, Surrogate::Clipped { range: 0.2 }, Surrogate::Penalized { coef: 0.7 }];

#[test]
fn the_surrogate_loss_is_the_textbooks_with_its_derivatives() {
    for case in cases() {
        for surrogate in SURROGATES {
            for entropy_coef in [0.0, 0.05] {
                let [metrics, by_outputs, by_log_std] = case.judge(surrogate, entropy_coef);
                if let Surrogate::Clipped { .. } = surrogate {
                    assert!(
                        metrics[2] > 0.1 && metrics[2] < 0.9,
                        "{}: some are clipped",
                        case.name
                    );
                }
                for (backend, device) in devices() {
                    let place = |what| {
                        format!("{}, {surrogate:?}, {entropy_coef}, {backend}: {what}", case.name)
                    };
                    let found = case.loss(surrogate, entropy_coef, &device);
                    assert_match(&numbers(found.metrics), &metrics, 2e-5, place("metrics"));
                    // Derivatives of a mean over the samples: as of their sum, they are of size 1.
                    let scaled = |numbers: &[f64]| -> Vec<f64> {
                        numbers.iter().map(|x| x * SIZE as f64).collect()
                    };
                    let (found_outputs, expected) =
                        (scaled(&numbers(found.outputs)), scaled(&by_outputs));
                    assert_match(&found_outputs, &expected, 5e-5, place("by outputs"));
                    if case.family != Family::Categorical {
                        let found = numbers(found.log_std);
                        assert_match(&found, &by_log_std, 2e-5, place("by log_std"));
                    }
                }
            }
        }
    }
}

/// A ratio that is too large for f32 has no slope where the clip takes it, and so does no harm.
#[test]
fn a_clipped_ratio_may_be_infinite() {
    for mut case in cases() {
        case.log_probs[3] = -1e3;
        case.advantages[3] = 1.0;
        for (backend, device) in devices() {
            let place = |what| format!("{}, {backend}: {what}", case.name);
            let found = case.loss(Surrogate::Clipped { range: 0.2 }, 0.0, &device);
            let metrics = PolicyMetrics::read(found.metrics).unwrap();
            assert!(metrics.policy_loss.is_finite(), "{}", place("policy loss"));
            assert!(metrics.approx_kl.is_infinite(), "{}", place("approximate KL"));
            let row = &numbers(found.outputs)[3 * case.width..4 * case.width];
            assert_match(row, &vec![0.0; case.width], 0.0, place("slope"));
        }
    }
}

#[test]
fn a_number_that_is_not_finite_shows_in_the_metrics_and_in_the_norm() {
    for mut case in cases() {
        case.advantages[5] = f32::NAN;
        for (backend, device) in devices() {
            for surrogate in SURROGATES {
                let place = |what| format!("{}, {surrogate:?}, {backend}: {what}", case.name);
                let found = case.loss(surrogate, 0.05, &device);
                let metrics = PolicyMetrics::read(found.metrics).unwrap();
                assert!(metrics.policy_loss.is_nan(), "{}", place("policy loss"));
                let slope = found.outputs.reshape([-1]);
                let (norm, scale) = clip(&[&slope], 0.5);
                assert!(numbers(norm)[0].is_nan(), "{}", place("norm"));
                assert!(numbers(scale.tensor::<1>())[0].is_nan(), "{}", place("scale"));
                let params = vec![0.0; SIZE * case.width];
                let mut adam = Adam::new(
                    &params,
                    &AdamState::new(params.len()),
                    1e-5,
                    Some(Bounds { first: 1, low: -1.0, high: 1.0 }),
                    &device,
                );
                adam.step(&slope.into(), &scale, 0.1);
                assert!(
                    numbers(adam.params().tensor::<1>())[0].is_nan(),
                    "{}",
                    place("parameters")
                );
            }
        }
    }
    for (backend, device) in devices() {
        for clip_range in [None, Some(0.3)] {
            for (bad, what) in [(f32::NAN, "NaN"), (f32::INFINITY, "infinity")] {
                let [values, mut returns, old] = [0.5, 1.0, 0.2].map(|x| vec![x; SIZE]);
                returns[7] = bad;
                let [values, returns, old] =
                    [values, returns, old].map(|column| rows(&column, 1, &device));
                let found = value_loss(values, &returns, &old, clip_range, 1.0);
                let place = format!("{what}, {clip_range:?}, {backend}");
                assert!(!numbers(found.loss)[0].is_finite(), "{place}: value loss");
            }
        }
    }
}

#[test]
fn the_value_loss_is_the_textbooks_with_its_derivative() {
    let mut rng = stream(4, Stream::Sampling(0));
    let [values, returns, old] = [3.0, 3.0, 1.0].map(|scale| random(SIZE, scale, &mut rng));
    for clip_range in [None, Some(0.3)] {
        for coef in [1.0, 0.4] {
            let [flex_values, flex_returns, flex_old] =
                [&values, &returns, &old].map(|column| rows(column, 1, &Device::flex()));
            let leaf = flex_values.autodiff().require_grad();
            let judge = textbook::value_loss(leaf.clone(), &flex_returns, &flex_old, clip_range);
            let loss = numbers(judge.clone().inner());
            let derivative = numbers(gradient(&leaf, judge.mul_scalar(coef)));
            for (backend, device) in devices() {
                let place = |what| format!("{clip_range:?}, {coef}, {backend}: {what}");
                let [values, returns, old] =
                    [&values, &returns, &old].map(|column| rows(column, 1, &device));
                let found = value_loss(values, &returns, &old, clip_range, coef);
                assert_match(&numbers(found.loss), &loss, 2e-6, place("loss"));
                assert_match(&numbers(found.derivative), &derivative, 1e-6, place("derivative"));
            }
        }
    }
}

/// A minibatch's gradient is one operation, and for `flex` written anew: here it is the composed one.
#[test]
fn a_minibatchs_gradient_is_that_of_its_rows() {
    let mut rng = stream(5, Stream::Sampling(0));
    for case in cases() {
        // As many observed numbers as there is a way to gather them, and one more.
        for inputs in 1..=5 {
            let network = Mlp::new(inputs, case.width, &[20], Activation::Tanh);
            let log_stds = case.params.len() - Case::LOG_STD;
            let count = network.num_params() + log_stds;
            let [params, old_params] = [(); 2].map(|()| random(count, 0.5, &mut rng));
            let observations = random(SIZE * inputs, 1.0, &mut rng);
            let terms = LossTerms {
                family: case.family,
                log_std: network.num_params(),
                surrogate: Surrogate::Clipped { range: 0.2 },
                entropy_coef: 0.01,
            };
            // In no order, many of them twice, three chunks of which the last is no whole registers.
            let indices: Vec<i32> = (0..299).map(|_| rng.random_range(0..SIZE as i32)).collect();
            for (backend, device) in devices() {
                let place = |what| format!("{}, {inputs} inputs, {backend}: {what}", case.name);
                let mut samples = case.minibatch(&device);
                samples.observations = rows(&observations, inputs, &device);
                let [params, old_params] =
                    [&params, &old_params].map(|params| vector(params, &device));
                for standardize in [false, true] {
                    let data = TensorData::new(indices.clone(), [indices.len()]);
                    let chosen = Tensor::<1, Int>::from_data(data, &device);
                    let rows_of = |column: &Tensor<2>| column.clone().select(0, chosen.clone());
                    let advantages = rows_of(&samples.advantages);
                    let advantages =
                        if standardize { standardized(advantages) } else { advantages };
                    let network_there =
                        network.linearize(params.clone(), rows_of(&samples.observations));
                    let loss = surrogate_loss(
                        network_there.outputs(),
                        &params,
                        &old_params,
                        &rows_of(&samples.outputs),
                        &rows_of(&samples.actions),
                        &rows_of(&samples.log_probs),
                        &advantages,
                        terms,
                    );
                    let mut expected = numbers(network_there.vjp(loss.outputs));
                    if log_stds > 0 {
                        expected.extend(numbers(loss.log_std));
                    }
                    let mut report = numbers(loss.metrics);
                    report.push(expected.iter().map(|x| x * x).sum());

                    let gradients =
                        PolicyGradients::new(&network, &old_params, &samples, terms, standardize);
                    let [mut gradient, mut found] = [(); 2].map(|()| Handle::empty(&device));
                    gradients.at(&params.clone().into(), &indices, &mut gradient, &mut found);
                    assert_match(
                        &numbers(gradient.tensor::<1>()),
                        &expected,
                        1e-5,
                        place("gradient"),
                    );
                    assert_match(&numbers(found.tensor::<1>()), &report, 1e-5, place("report"));
                    if !standardize {
                        let metrics = gradients.metrics(&params.clone().into(), &indices).unwrap();
                        let (metrics, report) =
                            (metrics.row().map(f64::from), &report[..PolicyMetrics::COUNT]);
                        assert_match(&metrics, report, 1e-5, place("metrics"));
                    }
                }
            }
        }
    }
}

#[test]
fn a_critics_gradient_is_that_of_its_rows() {
    let mut rng = stream(13, Stream::Sampling(0));
    let network = Mlp::new(6, 1, &[20], Activation::Tanh);
    let params = random(network.num_params(), 0.5, &mut rng);
    let observations = random(SIZE * 6, 1.0, &mut rng);
    let [returns, values] = [3.0, 1.0].map(|scale| random(SIZE, scale, &mut rng));
    let indices: Vec<i32> = (0..299).map(|_| rng.random_range(0..SIZE as i32)).collect();
    for (backend, device) in devices() {
        let place = |what| format!("{backend}: {what}");
        let data = TensorData::new(indices.clone(), [indices.len()]);
        let chosen = Tensor::<1, Int>::from_data(data, &device);
        let rows_of = |column: &Tensor<2>| column.clone().select(0, chosen.clone());
        let observations = rows(&observations, 6, &device);
        let target =
            Target { returns: rows(&returns, 1, &device), values: rows(&values, 1, &device) };
        let params = vector(&params, &device);
        let there = network.linearize(params.clone(), rows_of(&observations));
        let (at, old) = (rows_of(&target.returns), rows_of(&target.values));
        let loss = value_loss(there.outputs(), &at, &old, Some(0.3), 0.5);
        let expected = numbers(there.vjp(loss.derivative));
        let mut report = numbers(loss.loss);
        report.push(expected.iter().map(|x| x * x).sum());

        let gradients = ValueGradients::new(&network, &observations, &target, Some(0.3), 0.5);
        // The second is written over the first, and not over what somebody else holds of it.
        let [mut gradient, mut found] = [(); 2].map(|()| Handle::empty(&device));
        gradients.at(&params.clone().into(), &indices[..3], &mut gradient, &mut found);
        let held = [gradient.clone(), found.clone()];
        let before = held.each_ref().map(|held| numbers(held.tensor::<1>()));
        gradients.at(&params.into(), &indices, &mut gradient, &mut found);
        assert_match(&numbers(gradient.tensor::<1>()), &expected, 1e-5, place("gradient"));
        assert_match(&numbers(found.tensor::<1>()), &report, 1e-5, place("report"));
        let after = held.map(|held| numbers(held.tensor::<1>()));
        assert_eq!(after, before, "{backend}");
    }
}

#[test]
fn reports_are_kept_in_rows() {
    for (backend, device) in devices() {
        let report = |numbers: &[f32]| -> Handle { vector(numbers, &device).into() };
        let mut reports = Reports::new(3, &device);
        reports.add(&report(&[1.0, 2.0, 3.0]));
        reports.add(&report(&[8.0, 9.0, 10.0]));
        assert_eq!(reports.minibatches(), 2, "{backend}");
        assert_eq!(numbers(reports.rows()), [1.0, 2.0, 3.0, 8.0, 9.0, 10.0], "{backend}");
        assert_eq!(numbers(reports.losses()), [1.0, 8.0], "{backend}");
        assert_eq!(reports.last().unwrap(), [8.0, 9.0], "{backend}");
        // Beyond the room that there is at first.
        for index in 2..1100_u16 {
            reports.add(&report(&[f32::from(index); 3]));
        }
        let losses = numbers(reports.losses());
        assert!(losses[2..].iter().copied().eq((2..1100_u16).map(f64::from)), "{backend}");
        assert_eq!(losses[..2], [1.0, 8.0], "{backend}");
    }
}

#[test]
fn gradients_are_shortened_together_and_alone() {
    for (backend, device) in devices() {
        let report = |numbers: &[f32]| -> Handle { vector(numbers, &device).into() };
        let [actor, critic] = [report(&[8.0, 9.0, 9.0]), report(&[10.0, 16.0])];
        let [cost, alone] = [report(&[11.0, 49.0]), Handle::empty(&device)];
        let mut scale = Handle::empty(&device);
        let mut scaled = |reports: [&Handle; 2], max_norm| {
            clip_scale(&mut scale, reports, max_norm);
            scale.clone()
        };
        let found = [
            scaled([&actor, &critic], 0.5),
            scaled([&critic, &actor], 0.5),
            scaled([&cost, &alone], 0.5),
            scaled([&cost, &alone], 50.0),
        ];
        // None was written over the one before it, which somebody else holds.
        let found = found.map(|scale| numbers(scale.tensor::<1>())).concat();
        let expected = [0.5 / 5.0, 0.5 / 5.0, 0.5 / 7.0, 1.0];
        assert_match(&found, &expected, 1e-5, format!("scales on {backend}"));
        clip_scale(&mut scale, [&report(&[f32::NAN]), &alone], 1.0);
        assert!(numbers(scale.tensor::<1>())[0].is_nan(), "{backend}");
    }
}

#[test]
fn a_standardized_column_has_mean_0_and_deviation_1() {
    let mut rng = stream(6, Stream::Sampling(0));
    let column: Vec<f32> = random(SIZE, 3.0, &mut rng).iter().map(|x| x + 5.0).collect();
    let mean = widened(&column).iter().sum::<f64>() / SIZE as f64;
    let squares: f64 = widened(&column).iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (SIZE - 1) as f64).sqrt();
    let expected: Vec<f64> = widened(&column).iter().map(|x| (x - mean) / deviation).collect();
    for (backend, device) in devices() {
        let found = numbers(standardized(rows(&column, 1, &device)));
        assert_match(&found, &expected, 1e-5, format!("on {backend}"));
        let constant = numbers(standardized(rows(&[0.25; SIZE], 1, &device)));
        assert_match(&constant, &[0.0; SIZE], 1e-6, format!("a constant on {backend}"));
        let single = numbers(standardized(rows(&[7.0], 1, &device)));
        assert_eq!(single, [7.0], "a single number on {backend}");
    }
}

#[test]
fn the_norm_of_several_gradients_is_one() {
    let mut rng = stream(7, Stream::Sampling(0));
    let gradients = [random(SIZE, 1.0, &mut rng), random(1000, 2.0, &mut rng)];
    let squares = gradients.each_ref().map(|g| widened(g).iter().map(|x| x * x).sum::<f64>());
    let norm = (squares[0] + squares[1]).sqrt();
    for (backend, device) in devices() {
        let [first, second] = gradients.each_ref().map(|gradient| vector(gradient, &device));
        for (gradient, square) in [&first, &second].into_iter().zip(squares) {
            let found = numbers(sum_of_squares(gradient));
            assert_match(&found, &[square], 1e-6, format!("squares on {backend}"));
        }
        for (max_norm, expected) in [(0.5, 0.5 / norm), (100.0, 1.0)] {
            let (found, scale) = clip(&[&first, &second], max_norm);
            assert_match(&numbers(found), &[norm], 1e-6, format!("norm on {backend}"));
            assert_match(
                &numbers(scale.tensor::<1>()),
                &[expected],
                1e-6,
                format!("scale on {backend}"),
            );
        }
    }
}

/// Kingma and Ba 2015, algorithm 1, in f64, with the last parameters kept in bounds.
#[test]
fn adam_is_the_papers() {
    const RATE: f64 = 0.1;
    const EPSILON: f64 = 1e-5;
    let mut rng = stream(12, Stream::Sampling(0));
    let bounds = Bounds { first: SIZE - 9, low: -0.75, high: 0.5 };
    let start: Vec<f32> = random(SIZE, 0.9, &mut rng);
    let gradients: [Vec<f32>; 3] = std::array::from_fn(|_| random(SIZE, 1.0, &mut rng));
    let scales = [0.25, 1.0, 0.5];

    let [mut m, mut v] = [(); 2].map(|()| vec![0.0; SIZE]);
    let mut params = widened(&start);
    for (step, (gradient, scale)) in (1..).zip(gradients.iter().zip(scales)) {
        for (i, &slope) in gradient.iter().enumerate() {
            let slope = scale * f64::from(slope);
            m[i] = 0.9 * m[i] + 0.1 * slope;
            v[i] = 0.999 * v[i] + 0.001 * slope * slope;
            let corrected =
                [m[i] / (1.0 - 0.9_f64.powi(step)), v[i] / (1.0 - 0.999_f64.powi(step))];
            params[i] -= RATE * corrected[0] / (corrected[1].sqrt() + EPSILON);
            if i >= bounds.first {
                params[i] = params[i].clamp(bounds.low, bounds.high);
            }
        }
    }
    let at_bounds = params.iter().filter(|&&x| x == bounds.low || x == bounds.high).count();
    assert!((1..9).contains(&at_bounds), "some of the nine reach their bounds: {at_bounds}");

    for (backend, device) in devices() {
        let mut adam = Adam::new(&start, &AdamState::new(SIZE), EPSILON, Some(bounds), &device);
        for (gradient, scale) in gradients.iter().zip(scales) {
            let scale = vector(&[scale as f32], &device).into();
            adam.step(&vector(gradient, &device).into(), &scale, RATE);
        }
        let one = vector(&[1.0], &device);
        let (metrics, [(after, state)], _) =
            Adam::read_all(one, [("policy", adam)], Vec::new()).unwrap();
        assert_eq!((metrics, state.steps), (vec![1.0], 3));
        let found = [after, state.m, state.v].map(|found| widened(&found));
        for ((found, expected), name) in
            found.iter().zip([&params, &m, &v]).zip(["params", "m", "v"])
        {
            assert_match(found, expected, 1e-5, format!("{name} on {backend}"));
        }
    }
}

/// What an operation changes in place is its own copy.
#[test]
fn adam_leaves_what_others_hold() {
    for (backend, device) in devices() {
        let vector = |x: f32| Handle::from(vector(&[x; 20], &device));
        let vectors = [1.0, 2.0, 3.0].map(vector);
        let step = AdamStep { betas: [0.9, 0.999], epsilon: 1e-5, rate: 0.1, bounds: None };
        // By a handle, and by a tensor.
        for held in [vectors.clone(), vectors.clone().map(|held| held.tensor::<1>().into())] {
            let mut moved = vectors.clone();
            adam(moved.each_mut(), &vector(1.0), &vector(1.0), step);
            for ((held, moved), before) in held.into_iter().zip(moved).zip([1.0, 2.0, 3.0]) {
                assert_eq!(numbers(held.tensor::<1>()), [before; 20], "{backend}");
                assert_ne!(numbers(moved.tensor::<1>()), [before; 20], "{backend}");
            }
        }
    }
}

#[test]
fn a_network_is_the_composed_one_with_its_derivatives() {
    let shapes: [(usize, &[usize], usize, usize); 7] = [
        (1, &[], 1, 1),
        (48, &[], 4, 100),
        (4, &[64, 64], 2, 97),
        (3, &[5], 1, 7),
        (10, &[17, 33, 16], 18, 193),
        (6, &[32, 1], 3, 6),
        (2, &[128], 16, 300),
    ];
    let mut rng = stream(10, Stream::Sampling(0));
    for (inputs, hidden, outputs, size) in shapes {
        for activation in [Activation::Tanh, Activation::Relu] {
            let network = Mlp::new(inputs, outputs, hidden, activation);
            let count = network.num_params();
            let x = random(size * inputs, 1.0, &mut rng);
            // Behind the network's parameters a policy has others.
            let params = random(count + 3, 1.0, &mut rng);
            // Sums over many samples are no larger than over few: so are their errors in f32.
            let scale = SIZE as f32 / size.max(SIZE) as f32;
            let derivative = random(size * outputs, scale, &mut rng);
            let direction = random(count, 1.0, &mut rng);

            let flex = Device::flex();
            let leaf = vector(&params, &flex).autodiff().require_grad();
            let sizes = [&[inputs], hidden, &[outputs]].concat();
            let value = textbook::network(&sizes, activation, &leaf, rows(&x, inputs, &flex));
            let expected = numbers(value.clone().inner());
            let loss = (value * rows(&derivative, outputs, &flex)).sum();
            let by_params = numbers(gradient(&leaf, loss));
            assert_eq!(by_params[count..], [0.0; 3]);
            let slope: f64 = by_params.iter().zip(&direction).map(|(g, &d)| g * f64::from(d)).sum();

            for (backend, device) in devices() {
                let place = |what| {
                    format!(
                        "{inputs} {hidden:?} {outputs}, {size}, {activation:?}, {backend}: {what}"
                    )
                };
                let x = rows(&x, inputs, &device);
                let derivative = rows(&derivative, outputs, &device);
                let leaf = vector(&params, &device).autodiff().require_grad();
                let value = network.forward(leaf.clone(), x.clone());
                assert_match(&numbers(value.clone().inner()), &expected, 5e-6, place("outputs"));
                let found = numbers(gradient(&leaf, (value * derivative.clone()).sum()));
                assert_match(&found, &by_params, 2e-5, place("gradient by the node"));

                let linearized = network.linearize(vector(&params, &device), x);
                assert_match(&numbers(linearized.outputs()), &expected, 5e-6, place("linearized"));
                let found = numbers(linearized.vjp(derivative.clone()));
                assert_match(&found, &by_params[..count], 2e-5, place("gradient"));
                // d . (J v) = (J' d) . v
                let change = linearized.jvp(vector(&direction, &device));
                let found = numbers((change * derivative).sum());
                assert_match(&found, &[slope], 1e-4, place("directional derivative"));
            }
        }
    }
}
