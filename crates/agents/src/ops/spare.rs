//! Work memory that is used again.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Buffers of a thread that nobody works with at present.
pub(super) type Spare<B> = RefCell<Vec<B>>;

/// Gives the work buffers that are kept between calls, so that nothing is allocated. While a thread waits
/// for another one it may begin other work: that gets buffers of its own.
pub(super) fn with_spare<B: Default, T>(
    spare: &'static LocalKey<Spare<B>>,
    work: impl FnOnce(&mut B) -> T,
) -> T {
    let mut buffers = spare.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut buffers);
    spare.with_borrow_mut(|spare| spare.push(buffers));
    result
}
