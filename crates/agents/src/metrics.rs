//! What an update reports.

/// One update's figures. The names of [`UpdateMetrics::entries`] are those that users of
/// Stable-Baselines3 know from TensorBoard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateMetrics {
    /// Named figures in the order of the CSV's columns; the same names in every iteration.
    pub entries: Vec<(&'static str, f64)>,
}
