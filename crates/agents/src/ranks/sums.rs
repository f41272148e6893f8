//! Sums over samples, and as messages.

/// Sums over some samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// The gradient of a network.
    pub gradient: Vec<f32>,
    /// Figures.
    pub figures: Vec<f64>,
}

impl Sums {
    /// These plus what other samples add to them.
    pub fn plus(mut self, other: &Sums) -> Sums {
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, other)| *sum += other);
        self.figures.iter_mut().zip(&other.figures).for_each(|(sum, other)| *sum += other);
        self
    }

    /// As a message: the number of figures, the figures, the gradient.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Sums { gradient, figures } = self;
        let mut bytes = Vec::with_capacity(8 + 8 * figures.len() + 4 * gradient.len());
        bytes.extend((figures.len() as u64).to_le_bytes());
        bytes.extend(figures.iter().flat_map(|number| number.to_le_bytes()));
        let start = bytes.len();
        bytes.resize(start + 4 * gradient.len(), 0);
        let rows = bytes[start..].as_chunks_mut().0;
        rows.iter_mut().zip(gradient).for_each(|(row, number)| *row = number.to_le_bytes());
        bytes
    }

    /// What was received.
    pub fn from_bytes(bytes: &[u8]) -> Sums {
        let (figures, gradient) = read(bytes);
        Sums {
            gradient: gradient.iter().map(|number| f32::from_le_bytes(*number)).collect(),
            figures: figures.iter().map(|number| f64::from_le_bytes(*number)).collect(),
        }
    }

    /// [`Sums::plus`] what was received.
    pub fn plus_bytes(mut self, bytes: &[u8]) -> Sums {
        let (figures, gradient) = read(bytes);
        for (sum, other) in self.gradient.iter_mut().zip(gradient) {
            *sum += f32::from_le_bytes(*other);
        }
        for (sum, other) in self.figures.iter_mut().zip(figures) {
            *sum += f64::from_le_bytes(*other);
        }
        self
    }
}

/// The figures and the gradient that [`Sums::to_bytes`] wrote.
fn read(bytes: &[u8]) -> (&[[u8; 8]], &[[u8; 4]]) {
    let (words, _) = bytes.as_chunks();
    let Some((count, words)) = words.split_first() else { return (&[], &[]) };
    let count = u64::from_le_bytes(*count) as usize;
    (&words[..count], bytes[8 + 8 * count..].as_chunks().0)
}
