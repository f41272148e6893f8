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

/// Minibatches that there is room for at first.
const ROWS: usize = 512;

/// What the gradients of an update's minibatches report ([`Gradient::report`]): a row for each minibatch, in which the
/// networks' reports stand one behind the other.
#[derive(Debug)]
pub struct Reports {
    /// The rows, and room for more.
    rows: Handle,
    /// How many rows there is room for.
    room: usize,
    /// Minibatches so far.
    len: usize,
    /// Where each network's report begins in a row, and at last the row's length.
    starts: Vec<usize>,
    /// For each network the factor that shortens its gradient, or it and others from it on.
    scales: Vec<Handle>,
}

impl Reports {
    /// Of gradients that report so many numbers each.
    #[must_use]
    pub fn new(reported: &[usize], device: &Device) -> Reports {
        let mut starts = vec![0];
        reported.iter().for_each(|count| starts.push(starts[starts.len() - 1] + count));
        let rows = Tensor::<1>::zeros([ROWS * starts[reported.len()]], device);
        let scales = reported.iter().map(|_| Handle::empty(device)).collect();
        Reports { rows: rows.into(), room: ROWS, len: 0, starts, scales }
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

    /// Takes in a minibatch's reports, one of each network.
    pub fn add<'a>(&mut self, reports: impl IntoIterator<Item = &'a Handle>) {
        if self.len == self.room {
            // Twice the room; its second half is written over.
            let rows = self.rows.tensor::<1>();
            self.rows = Tensor::cat(vec![rows.clone(), rows], 0).into();
            self.room *= 2;
        }
        let row = self.len * self.width();
        for (start, report) in self.starts.iter().zip(reports) {
            write(&mut self.rows, row + start, report);
        }
        self.len += 1;
    }

    /// As [`Reports::add`], on all ranks, of which each has the gradients of its teams and `None` for the others.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add_of_teams(
        &mut self,
        teams: &[Team],
        gradients: &[Option<Gradient>],
    ) -> Result<(), AgentError> {
        if gradients.iter().all(Option::is_some) {
            self.add(gradients.iter().flatten().map(|gradient| &gradient.report));
            return Ok(());
        }
        // Where teams are divided, no rank has them all.
        let numbers = |gradient: &Option<Gradient>| -> Result<Option<Vec<f32>>, AgentError> {
            let Some(Gradient { report, .. }) = gradient else { return Ok(None) };
            Ok(Some(read([report.tensor()])?.concat()))
        };
        let own = gradients.iter().map(numbers).collect::<Result<_, _>>()?;
        let device = self.rows.tensor::<1>().device();
        let told = Team::tell(teams, own).into_iter();
        let told: Vec<Handle> = told.map(|report| Handle::vector(&report, &device)).collect();
        self.add(&told);
        Ok(())
    }

    /// Computes the factor that shortens the last gradients of these networks, all together, to `max_norm`
    /// ([`super::clip_scale`]).
    ///
    /// # Panics
    /// When there was no minibatch yet.
    pub fn clip(&mut self, networks: Range<usize>, max_norm: f64) {
        let (row, first) = (self.last_row(), networks.start);
        // A report ends in the sum of its gradient's squares.
        let squares: SmallVec<[usize; 4]> =
            networks.map(|network| row + self.starts[network + 1] - 1).collect();
        clip_scale(&mut self.scales[first], &self.rows, &squares, max_norm);
    }

    /// The factor of the networks from this one on that were clipped together.
    #[must_use]
    pub fn scale(&self, first: usize) -> &Handle {
        &self.scales[first]
    }

    /// What the last gradient of the first network reports, as far as its first `N` numbers.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there was no minibatch yet.
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

    /// The first number of each report of a network, `[minibatches]`: the loss.
    #[must_use]
    pub fn losses(&self, network: usize) -> Tensor<1> {
        let rows = self.rows().reshape([self.len, self.width()]);
        let start = self.starts[network];
        rows.slice_dim(1, start..start + 1).reshape([self.len])
    }
}
