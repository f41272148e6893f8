//! A network of PPO on its way down its loss.

use crate::adam::Adam;
use crate::error::AgentError;
use crate::ops::{Handle, Reports, clip_scale};
use crate::ranks::Team;
use crate::transfer::read;
use burn::tensor::Device;

/// A network of an update, whose steps follow its gradients on minibatches. The step against a minibatch's gradients is
/// made with the next minibatch, by the thread that needs what it leads to.
pub struct Descent {
    /// Which network it is: 0 is the actor, 1 the critic of rewards, and behind them are those of costs.
    network: usize,
    /// Whether this rank computes its gradients.
    is_own: bool,
    /// The parameters.
    pub adam: Adam,
    rate: f64,
    max_norm: f64,
    /// The last minibatch's gradient.
    gradient: Handle,
    /// The factor that shortens it.
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
            is_own: team.is_own(),
            adam,
            rate,
            max_norm,
            gradient: Handle::empty(device),
            scale: Handle::empty(device),
            nothing: Handle::empty(device),
            reports: Reports::new(reported, device),
        }
    }

    /// Makes the step against the last minibatch's gradient, if one is due ([`Descent::step`]), and lets `at` write that of
    /// the next one, and its report.
    pub fn next(
        &mut self,
        due: Option<&[Handle]>,
        report: &mut Handle,
        at: impl FnOnce(&Handle, &mut Handle, &mut Handle),
    ) {
        if !self.is_own {
            return;
        }
        if let Some(reports) = due {
            self.step(reports);
        }
        at(self.adam.params(), &mut self.gradient, report);
        self.reports.add(report);
    }

    /// Makes the step against the last minibatch's gradient, in which all networks reported this.
    pub fn step(&mut self, reports: &[Handle]) {
        if !self.is_own {
            return;
        }
        // All parameters of actor and critic are clipped together, and a cost has a unit of its own, so its critic is
        // clipped by itself.
        let other = match self.network {
            0 => &reports[1],
            1 => &reports[0],
            _ => &self.nothing,
        };
        clip_scale(&mut self.scale, [&reports[self.network], other], self.max_norm);
        self.adam.step(&self.gradient, &self.scale, self.rate);
    }

    /// Tells the ranks that do not compute a network's gradients what the last ones report.
    ///
    /// # Errors
    /// When the device fails.
    pub fn tell_reports<'a>(
        teams: &[Team],
        networks: impl Iterator<Item = &'a mut Descent>,
        reports: &mut [Handle],
        device: &Device,
    ) -> Result<(), AgentError> {
        if teams.iter().all(Team::is_own) {
            return Ok(());
        }
        let own = |(team, report): (&Team, &Handle)| {
            let numbers = || Ok(read([report.tensor()])?.concat());
            team.is_own().then(numbers).transpose()
        };
        let own = teams.iter().zip(&*reports).map(own).collect::<Result<_, AgentError>>()?;
        let told: Vec<Vec<f32>> = Team::tell(teams, own);
        for ((network, report), told) in networks.zip(reports).zip(told) {
            if !network.is_own {
                *report = Handle::vector(&told, device);
                network.reports.add(report);
            }
        }
        Ok(())
    }
}
