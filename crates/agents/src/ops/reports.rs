//! What the gradients of an update report, kept on the device until the update is over.

use super::gradient::Gradient;
use super::tensors::Handle;
use super::vector::{clip_scale, copy, write};
use crate::error::AgentError;
use crate::ranks::Team;
use crate::transfer::read;
use burn::tensor::{Device, Tensor};
use smallvec::SmallVec;
use std::ops::Range;

/// What the gradients of an update's minibatches report ([`Gradient::report`]): a row for each minibatch, in which the
/// networks' reports stand one behind the other.
#[derive(Debug)]
pub struct Reports {
    /// As many rows as there can be minibatches.
    rows: Handle,
    /// Minibatches so far.
    len: usize,
    /// Where each network's report begins in a row, and at last the row's length.
    starts: Vec<usize>,
    /// For each network the factor that shortens its gradient, or it and others from it on.
    scales: Vec<Handle>,
    device: Device,
}

impl Reports {
    /// Of so many minibatches at most, with gradients that report so many numbers each.
    #[must_use]
    pub fn new(minibatches: usize, reported: &[usize], device: &Device) -> Reports {
        let mut starts = vec![0];
        reported.iter().for_each(|count| starts.push(starts[starts.len() - 1] + count));
        let rows = Tensor::<1>::zeros([minibatches * starts[reported.len()]], device);
        let scales = reported.iter().map(|_| Handle::empty(device)).collect();
        Reports { rows: rows.into(), len: 0, starts, scales, device: device.clone() }
    }

    /// Minibatches so far.
    #[must_use]
    pub fn minibatches(&self) -> usize {
        self.len
    }

    /// How many numbers a minibatch reports.
    #[must_use]
    pub fn width(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Takes in what a minibatch's gradients report, on all ranks; `None` are those of teams that this rank is not in.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add(
        &mut self,
        teams: &[Team],
        gradients: &[Option<Gradient>],
    ) -> Result<(), AgentError> {
        let row = self.len * self.width();
        self.len += 1;
        let mut add = |index: usize, report: &Handle| {
            write(&mut self.rows, row + self.starts[index], report);
        };
        if gradients.iter().all(Option::is_some) {
            let reports = gradients.iter().flatten().map(|gradient| &gradient.report);
            reports.enumerate().for_each(|(index, report)| add(index, report));
            return Ok(());
        }
        // Where teams are divided, no rank has them all.
        let numbers = |gradient: &Option<Gradient>| -> Result<Option<Vec<f32>>, AgentError> {
            let Some(Gradient { report, .. }) = gradient else { return Ok(None) };
            Ok(Some(read([report.tensor()])?.concat()))
        };
        let own = gradients.iter().map(numbers).collect::<Result<_, _>>()?;
        for (index, report) in Team::tell(teams, own).into_iter().enumerate() {
            add(index, &Handle::vector(&report, &self.device));
        }
        Ok(())
    }

    /// The factor that shortens the last gradients of these networks, all together, to `max_norm`
    /// ([`super::clip_scale`]).
    pub fn clip_scale(&mut self, networks: Range<usize>, max_norm: f64) -> Handle {
        let (row, first) = (self.last_row(), networks.start);
        // A report ends in the sum of its gradient's squares.
        let squares: SmallVec<[usize; 4]> =
            networks.map(|network| row + self.starts[network + 1] - 1).collect();
        clip_scale(&mut self.scales[first], &self.rows, &squares, max_norm);
        self.scales[first].clone()
    }

    /// What the last gradient of the first network reports, as far as its first `N` numbers.
    ///
    /// # Errors
    /// When the device fails.
    pub fn last<const N: usize>(&self) -> Result<[f32; N], AgentError> {
        let mut numbers = [0.0; N];
        copy(&self.rows, self.last_row(), &mut numbers)?;
        Ok(numbers)
    }

    fn last_row(&self) -> usize {
        (self.len - 1) * self.width()
    }

    /// All rows, one behind the other.
    #[must_use]
    pub fn rows(&self) -> Tensor<1> {
        self.rows.tensor::<1>().slice_dim(0, 0..self.len * self.width())
    }

    /// The first number of each report of a network, `[minibatches]`.
    #[must_use]
    pub fn column(&self, network: usize) -> Tensor<1> {
        let rows = self.rows().reshape([self.len, self.width()]);
        let start = self.starts[network];
        rows.slice_dim(1, start..start + 1).reshape([self.len])
    }
}
