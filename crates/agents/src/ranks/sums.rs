//! Sums over samples, and as messages.

/// Sums over some samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// The gradient of a network.
    pub gradient: Vec<f32>,
    /// Figures.
    pub figures: Vec<f64>,
}

/// Each of some sums plus what other samples add to it.
pub fn plus(mut sums: Vec<Sums>, others: &[Sums]) -> Vec<Sums> {
    for (sums, other) in sums.iter_mut().zip(others) {
        sums.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, other)| *sum += other);
        sums.figures.iter_mut().zip(&other.figures).for_each(|(sum, other)| *sum += other);
    }
    sums
}

/// Sums as a message: of each the number of figures, the length of the gradient, the figures, the gradient.
pub fn to_bytes(sums: &[Sums]) -> Vec<u8> {
    let length = |Sums { gradient, figures }: &Sums| 16 + 8 * figures.len() + 4 * gradient.len();
    let mut bytes = Vec::with_capacity(sums.iter().map(length).sum());
    for Sums { gradient, figures } in sums {
        bytes.extend((figures.len() as u64).to_le_bytes());
        bytes.extend((gradient.len() as u64).to_le_bytes());
        bytes.extend(figures.iter().flat_map(|number| number.to_le_bytes()));
        let start = bytes.len();
        bytes.resize(start + 4 * gradient.len(), 0);
        let rows = bytes[start..].as_chunks_mut().0;
        rows.iter_mut().zip(gradient).for_each(|(row, number)| *row = number.to_le_bytes());
    }
    bytes
}

/// What [`to_bytes`] gave: figures and gradients.
fn read(mut bytes: &[u8]) -> impl Iterator<Item = (&[[u8; 8]], &[[u8; 4]])> {
    std::iter::from_fn(move || {
        let (figures, rest) = bytes.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk()?;
        let [figures, numbers] = [figures, numbers].map(|word| u64::from_le_bytes(*word) as usize);
        let (figures, rest) = rest.split_at_checked(8 * figures)?;
        let (numbers, rest) = rest.split_at_checked(4 * numbers)?;
        bytes = rest;
        Some((figures.as_chunks().0, numbers.as_chunks().0))
    })
}

/// What was received.
pub fn from_bytes(bytes: &[u8]) -> Vec<Sums> {
    let one = |(figures, gradient): (&[[u8; 8]], &[[u8; 4]])| Sums {
        gradient: gradient.iter().map(|number| f32::from_le_bytes(*number)).collect(),
        figures: figures.iter().map(|number| f64::from_le_bytes(*number)).collect(),
    };
    read(bytes).map(one).collect()
}

/// [`plus`] what was received.
pub fn plus_bytes(mut sums: Vec<Sums>, bytes: &[u8]) -> Vec<Sums> {
    for (sums, (figures, gradient)) in sums.iter_mut().zip(read(bytes)) {
        for (sum, other) in sums.gradient.iter_mut().zip(gradient) {
            *sum += f32::from_le_bytes(*other);
        }
        for (sum, other) in sums.figures.iter_mut().zip(figures) {
            *sum += f64::from_le_bytes(*other);
        }
    }
    sums
}
