//! Backburn's trainer with the built-in environments.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A minibatch's tensors are many and small: the system's allocator takes up to a tenth of an update.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    trainer::main(envs::Environments::default())
}
