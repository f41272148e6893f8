//! A network of PPO on its way down its loss.

use crate::adam::Adam;
use crate::error::AgentError;
use crate::ops::{Gradient, Handle, Reports, clip_scale};
use crate::ranks::Team;
use crate::transfer::read;
use burn::tensor::Device;

/// A network of an update, whose steps follow its gradients on minibatches. The step against a minibatch's gradients is
/// made with the next minibatch, by the thread that needs what it leads to.
pub struct Descent {
    /// Which network it is: 0 is the actor, 1 the critic of rewards, and behind them are those of costs.
    network: usize,
    /// Who computes its gradients.
    team: Team,
    /// The parameters.
    pub adam: Adam,
    rate: f64,
    max_norm: f64,
    /// The factor that shortens a gradient.
    scale: Handle,
    /// The report of no gradient.
    nothing: Handle,
    /// What the gradients have reported.
    pub reports: Reports,
}

impl Descent {
    /// No step made yet. Gradients report so many numbers each; steps have this learning rate, and gradients longer
    /// than `max_norm` are shortened.
    pub fn new(
        network: usize,
        team: &Team,
        adam: Adam,
        reported: usize,
        [rate, max_norm]: [f64; 2],
        device: &Device,
    ) -> Descent {
        Descent {
            network,
            team: team.clone(),
            adam,
            rate,
            max_norm,
            scale: Handle::empty(device),
            nothing: Handle::empty(device),
            reports: Reports::new(reported, device),
        }
    }

    /// Makes the step against the last minibatch's gradients, if one is due, and writes the gradient of the next one,
    /// which `at` computes.
    pub fn next(
        &mut self,
        due: Option<&[Gradient]>,
        into: &mut Gradient,
        at: impl FnOnce(&Handle, &mut Gradient),
    ) {
        if !self.team.is_own() {
            return;
        }
        if let Some(gradients) = due {
            self.step(gradients);
        }
        at(self.adam.params(), into);
        self.reports.add(&into.report);
    }

    /// Makes the step against a minibatch's gradients, those of all networks.
    pub fn step(&mut self, gradients: &[Gradient]) {
        if !self.team.is_own() {
            return;
        }
        let Gradient { gradient, report } = &gradients[self.network];
        // All parameters of actor and critic are clipped together, and a cost has a unit of its own, so its critic is
        // clipped by itself.
        let other = match self.network {
            0 => &gradients[1].report,
            1 => &gradients[0].report,
            _ => &self.nothing,
        };
        clip_scale(&mut self.scale, [report, other], self.max_norm);
        self.adam.step(gradient, &self.scale, self.rate);
    }

    /// Tells the ranks that do not compute a network's gradients what the last ones report.
    ///
    /// # Errors
    /// When the device fails.
    pub fn tell_reports<'a>(
        teams: &[Team],
        networks: impl Iterator<Item = &'a mut Descent>,
        gradients: &mut [Gradient],
        device: &Device,
    ) -> Result<(), AgentError> {
        if teams.iter().all(Team::is_own) {
            return Ok(());
        }
        let own = |(team, gradient): (&Team, &Gradient)| {
            let report = || Ok(read([gradient.report.tensor()])?.concat());
            team.is_own().then(report).transpose()
        };
        let own = teams.iter().zip(&*gradients).map(own).collect::<Result<_, AgentError>>()?;
        let told: Vec<Vec<f32>> = Team::tell(teams, own);
        for ((network, gradient), report) in networks.zip(gradients).zip(told) {
            if !network.team.is_own() {
                gradient.report = Handle::vector(&report, device);
                network.reports.add(&gradient.report);
            }
        }
        Ok(())
    }
}
