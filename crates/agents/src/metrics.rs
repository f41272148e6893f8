//! What an update reports.

/// One update's figures, averaged over its minibatches where not said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateMetrics {
    /// Negative surrogate objective, without the entropy bonus.
    pub policy_loss: f64,
    /// Mean squared error of the critic.
    pub value_loss: f64,
    /// Mean entropy of the policy, in nats.
    pub entropy: f64,
    /// Exact mean KL(old, new), in nats: of PPO's last epoch, of TRPO's accepted step.
    pub kl: f64,
    /// The same from the samples' ratios alone, as mean of `(ratio - 1) - ln ratio` (low variance,
    /// never negative).
    pub approx_kl: f64,
    /// Share of the returns' variance that the critic explained before the update.
    pub explained_variance: f64,
    /// Euclidean norm of the gradient: PPO's of all parameters before clipping, TRPO's of the
    /// surrogate.
    pub gradient_norm: f64,
    /// Learning rate of PPO's actor, of TRPO's critic.
    pub learning_rate: f64,
    /// What only the one algorithm has.
    pub algorithm: AlgorithmMetrics,
}

/// Figures that only one algorithm has.
#[derive(Clone, Debug, PartialEq)]
pub enum AlgorithmMetrics {
    /// Of PPO.
    Ppo {
        /// Share of samples whose ratio left the clip range.
        clip_fraction: f64,
        /// Clip range in force; `None` under a KL penalty.
        clip_range: Option<f64>,
        /// KL coefficient in force; `None` under the clip.
        kl_coef: Option<f64>,
        /// Epochs begun; fewer than configured after an early stop.
        epochs: usize,
    },
    /// Of TRPO.
    Trpo {
        /// Squared residual that conjugate gradient ended with.
        cg_residual: f64,
        /// Conjugate-gradient iterations.
        cg_iterations: usize,
        /// Fraction of the full step that was taken; 0 when none was accepted.
        step_size: f64,
        /// Step sizes that the line search tried.
        line_search_steps: usize,
        /// Whether a step was taken.
        accepted: bool,
    },
}

impl UpdateMetrics {
    /// Column names and figures, the same names in every iteration of a run; those that
    /// Stable-Baselines3 has too are named as there.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, f64)> {
        let mut entries = vec![
            ("train/policy_loss", self.policy_loss),
            ("train/value_loss", self.value_loss),
            ("train/entropy", self.entropy),
            ("train/kl", self.kl),
            ("train/approx_kl", self.approx_kl),
            ("train/explained_variance", self.explained_variance),
            ("train/gradient_norm", self.gradient_norm),
            ("train/learning_rate", self.learning_rate),
        ];
        match &self.algorithm {
            AlgorithmMetrics::Ppo { clip_fraction, clip_range, kl_coef, epochs } => {
                entries.push(("train/clip_fraction", *clip_fraction));
                entries.extend(clip_range.map(|range| ("train/clip_range", range)));
                entries.extend(kl_coef.map(|coef| ("train/kl_coef", coef)));
                entries.push(("train/epochs", *epochs as f64));
            }
            AlgorithmMetrics::Trpo {
                cg_residual,
                cg_iterations,
                step_size,
                line_search_steps,
                accepted,
            } => entries.extend([
                ("train/cg_residual", *cg_residual),
                ("train/cg_iterations", *cg_iterations as f64),
                ("train/step_size", *step_size),
                ("train/line_search_steps", *line_search_steps as f64),
                ("train/accepted", f64::from(u8::from(*accepted))),
            ]),
        }
        entries
    }
}
