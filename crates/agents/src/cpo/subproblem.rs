//! One step with one constraint, in closed form (Achiam et al. 2017, theorem 2).
//!
//! ```text
//! maximise  g'x    subject to  c + b'x <= 0,  x'Hx / 2 <= delta
//! ```
//!
//! `g` and `b` are the gradients of the reward's and the cost's surrogate, `H` is the Fisher matrix. The
//! solution lies in the plane of `v = H^-1 g` and `w = H^-1 b`, and three numbers are all that it takes
//! from them: `q = g'v`, `r = g'w`, `s = b'w`.

/// A cost whose `s` is at most this can't be changed by any step.
const NO_SLOPE: f64 = 1e-20;

/// Of `q`, the part that points away from the constraint: at most this share of it is a rounding error.
const PARALLEL: f64 = 1e-10;

/// Which of the constraints bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The cost's constraint is slack: the step is TRPO's.
    Slack,
    /// Both constraints bind.
    Binding,
    /// No step within the trust region keeps the cost's constraint: the one that lowers the cost most.
    Recovery,
}

/// The step `x = v_share v + w_share w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Which of the constraints bind.
    pub case: Case,
    /// How much of `v = H^-1 g`.
    pub v_share: f64,
    /// How much of `w = H^-1 b`.
    pub w_share: f64,
    /// The multiplier `nu` of the cost's constraint, reward per unit of cost: 0 where it is slack. A
    /// recovery leaves the reward out of account and has none, which is 0 too.
    pub nu: f64,
}

impl Step {
    /// `v_share v + w_share w`.
    #[must_use]
    pub fn of(&self, v: &[f64], w: &[f64]) -> Vec<f64> {
        v.iter().zip(w).map(|(v, w)| self.v_share * v + self.w_share * w).collect()
    }
}

/// Solves the subproblem. All numbers are finite, `delta`, `q` and `s` are not negative, and
/// `r^2 <= q s`. `c` is how far the cost is above its limit, in the unit in which `b` is its slope: per
/// sample, if the surrogates are means over samples.
///
/// With `A = q - r^2 / s`, `B = 2 delta - c^2 / s` and `lambda0 = sqrt(q / (2 delta))`:
///
/// - recovery, for `c > 0` and `B <= 0`: `x = -sqrt(2 delta / s) w`;
/// - slack, where the whole trust region keeps the constraint (`c <= 0` and `B <= 0`) or TRPO's step does
///   (`lambda0 c + r <= 0`), or where the cost has no slope: `x = v / lambda0`;
/// - binding otherwise: `lambda = sqrt(A / B)`, `nu = (lambda c + r) / s`, `x = (v - nu w) / lambda`. Where
///   `v` and `w` are parallel, `A` is 0, and the limit of that is `x = -(c / s) w`.
///
/// ```
/// use agents::cpo::subproblem::{Case, solve};
///
/// // H = I, g = (1, 0), b = (0.6, 0.8), and the cost is 0.05 below its limit.
/// let step = solve(-0.05, 0.01, 1.0, 0.6, 1.0);
/// assert_eq!(step.case, Case::Binding);
/// let [x, y] = step.of(&[1.0, 0.0], &[0.6, 0.8])[..] else { unreachable!() };
/// assert!((x - 0.1358301).abs() < 1e-7 && (y + 0.0393725).abs() < 1e-7);
/// assert!((-0.05 + 0.6 * x + 0.8 * y).abs() < 1e-12, "the cost is at its limit");
/// assert!((0.5 * (x * x + y * y) - 0.01).abs() < 1e-12, "the step ends on the region's border");
/// ```
#[must_use]
pub fn solve(c: f64, delta: f64, q: f64, r: f64, s: f64) -> Step {
    // Without a slope of the reward there is nowhere to go.
    let trpo_share = if q > 0.0 { (2.0 * delta / q).sqrt() } else { 0.0 };
    let slack = Step { case: Case::Slack, v_share: trpo_share, w_share: 0.0, nu: 0.0 };
    if s <= NO_SLOPE {
        return slack;
    }
    let a = q - r * r / s;
    let b = 2.0 * delta - c * c / s;
    if c > 0.0 && b <= 0.0 {
        let w_share = -(2.0 * delta / s).sqrt();
        return Step { case: Case::Recovery, v_share: 0.0, w_share, nu: 0.0 };
    }
    // `lambda0 c + r <= 0`, times what TRPO's step is of `v`.
    if b <= 0.0 || c + trpo_share * r <= 0.0 {
        return slack;
    }
    if a <= PARALLEL * q {
        return Step { case: Case::Binding, v_share: 0.0, w_share: -c / s, nu: r / s };
    }
    let lambda = (a / b).sqrt();
    let nu = (lambda * c + r) / s;
    Step { case: Case::Binding, v_share: 1.0 / lambda, w_share: -nu / lambda, nu }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-8, "{found} is not {expected}");
    }

    /// H = I, g = (1, 0), b = (0.6, 0.8): q = 1, r = 0.6, s = 1.
    fn worked(c: f64) -> (Step, Vec<f64>) {
        let step = solve(c, 0.01, 1.0, 0.6, 1.0);
        let x = step.of(&[1.0, 0.0], &[0.6, 0.8]);
        (step, x)
    }

    #[test]
    fn both_constraints_bind_in_the_worked_problems() {
        for (c, nu, x) in [
            (-0.05, 0.297_628_4, [0.135_830_1, -0.039_372_5]),
            (0.05, 0.902_371_6, [0.075_830_1, -0.119_372_5]),
        ] {
            let (step, found) = worked(c);
            assert_eq!(step.case, Case::Binding);
            assert_near(1.0 / step.v_share, 6.047_431_6);
            assert_near(step.nu, nu);
            assert_near(found[0], x[0]);
            assert_near(found[1], x[1]);
        }
    }

    #[test]
    fn far_below_the_limit_the_step_is_trpos() {
        // sqrt(2 delta) = 0.1414 of g. It raises the cost by 0.0849; the whole region by 0.1414 at most.
        for c in [-0.085, -0.2] {
            let (step, x) = worked(c);
            assert_eq!((step.case, step.nu), (Case::Slack, 0.0));
            assert_near(x[0], 0.02_f64.sqrt());
            assert_near(x[1], 0.0);
        }
        assert_eq!(worked(-0.084).0.case, Case::Binding);
    }

    #[test]
    fn too_far_above_the_limit_the_cost_alone_counts() {
        let (step, x) = worked(0.142);
        assert_eq!(step.case, Case::Recovery);
        assert_near(x[0], -0.02_f64.sqrt() * 0.6);
        assert_near(x[1], -0.02_f64.sqrt() * 0.8);
        assert_eq!(worked(0.141).0.case, Case::Binding);
    }

    #[test]
    fn a_reward_that_lowers_the_cost_is_followed_freely() {
        // g = (-0.6, -0.8) = -b: TRPO's step lowers the cost by 0.1414.
        assert_eq!(solve(0.1, 0.01, 1.0, -1.0, 1.0).case, Case::Slack);
        assert_eq!(solve(0.142, 0.01, 1.0, -1.0, 1.0).case, Case::Recovery);
    }

    #[test]
    fn parallel_gradients_stop_at_the_limit() {
        // g = 2 b: all that raises the reward raises the cost.
        for c in [-0.05, 0.05] {
            let step = solve(c, 0.01, 4.0, 2.0, 1.0);
            assert_eq!(step, Step { case: Case::Binding, v_share: 0.0, w_share: -c, nu: 2.0 });
            // Almost parallel is almost the same: g = 2 b + 1e-4 across.
            let almost = solve(c, 0.01, 4.0 + 1e-8, 2.0, 1.0);
            assert!(
                (2.0 * almost.v_share + almost.w_share + c).abs() < 1e-9,
                "along b: {almost:?}"
            );
            assert_near(almost.nu, 2.0 + c * (1e-8_f64 / (0.02 - c * c)).sqrt());
        }
    }

    #[test]
    fn what_has_no_slope_gives_no_infinite_step() {
        let still = Step { case: Case::Slack, v_share: 0.0, w_share: 0.0, nu: 0.0 };
        assert_eq!(solve(-0.1, 0.01, 0.0, 0.0, 0.0), still);
        assert_eq!(solve(-0.1, 0.01, 0.0, 0.0, 1.0), still);
        // The reward is flat, the cost is above its limit: the shortest way back.
        let back = solve(0.1, 0.01, 0.0, 0.0, 2.0);
        assert_eq!((back.case, back.v_share, back.w_share), (Case::Binding, 0.0, -0.05));
        // The cost is flat.
        for c in [-1.0, 0.0, 1.0] {
            let step = solve(c, 0.02, 1.0, 0.0, 0.0);
            assert_eq!((step.case, step.v_share), (Case::Slack, 0.2));
        }
    }
}
