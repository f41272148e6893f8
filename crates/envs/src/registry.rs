//! Environments by name.

use crate::{CartPole, Cliff, Environment, Pendulum, Reach};

/// One registered environment.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name that `env.name` gives in a configuration.
    pub name: &'static str,
    /// One line for `trainer list`.
    pub description: &'static str,
    make: fn() -> Box<dyn Environment>,
}

impl Entry {
    /// An entry for the environment type `E`, made by its `Default`.
    #[must_use]
    pub fn of<E: Environment + Default + 'static>(
        name: &'static str,
        description: &'static str,
    ) -> Entry {
        Entry { name, description, make: || Box::new(E::default()) }
    }

    /// Makes one copy of the environment.
    #[must_use]
    pub fn make(&self) -> Box<dyn Environment> {
        (self.make)()
    }
}

/// The environments that can be asked for by name.
#[derive(Clone, Debug)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Default for Registry {
    /// The built-in environments: one line each.
    fn default() -> Self {
        Registry { entries: Vec::new() }
            .with(Entry::of::<CartPole>(
                "cartpole",
                "keep a pole upright on a cart (Gymnasium's CartPole-v1)",
            ))
            .with(Entry::of::<Pendulum>(
                "pendulum",
                "swing a pendulum up and hold it (Gymnasium's Pendulum-v1)",
            ))
            .with(Entry::of::<Reach>(
                "reach",
                "move a two-link arm's gripper to an object and grasp it",
            ))
            .with(Entry::of::<Cliff>(
                "cliff",
                "the 4x12 cliff walk of Sutton and Barto, one-hot observations",
            ))
    }
}

impl Registry {
    /// The registry with one more environment; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, entry: Entry) -> Registry {
        self.entries.retain(|known| known.name != entry.name);
        self.entries.push(entry);
        self
    }

    /// All entries, in the order of registration.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.name == name).copied()
    }
}
