//! Sweeps: many experiments that the table `[sweep]` of one file means.

mod collect;
mod command;
mod draw;
mod plan;
mod progress;
mod prune;
mod ranking;
mod run;
mod space;
mod trial;

pub use collect::collect;
pub use command::{Cores, check, is_at, part, prepare, resume, share, start};
pub use plan::{Shard, Sweep};
