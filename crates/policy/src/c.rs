//! Functions for C, as include/backburn_policy.h declares them.
#![allow(unsafe_code)] // C hands over pointers.

use crate::{Action, Policy};
use core::ffi::c_char;
use std::boxed::Box;
use std::string::ToString;

/// Reads a policy; null where it is none, with the reason in `message`, which has room for `size` characters.
///
/// # Safety
/// `bytes` points at `length` bytes, `message` at `size` ones or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backburn_policy_read(
    bytes: *const u8,
    length: usize,
    message: *mut c_char,
    size: usize,
) -> *mut Policy {
    let bytes = match bytes.is_null() {
        true => &[],
        false => unsafe { std::slice::from_raw_parts(bytes, length) },
    };
    match Policy::read(bytes) {
        Ok(policy) => Box::into_raw(Box::new(policy)),
        Err(error) => {
            if !message.is_null() && size > 0 {
                let text = error.to_string();
                let count = text.len().min(size - 1);
                unsafe {
                    std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), count);
                    *message.add(count) = 0;
                }
            }
            std::ptr::null_mut()
        }
    }
}

/// Numbers in an observation.
///
/// # Safety
/// `policy` is one of [`backburn_policy_read`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backburn_policy_observation_width(policy: *const Policy) -> usize {
    unsafe { &*policy }.observation_width()
}

/// Numbers in an action: 1 where it is a choice.
///
/// # Safety
/// As [`backburn_policy_observation_width`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backburn_policy_action_width(policy: *const Policy) -> usize {
    let policy = unsafe { &*policy };
    if policy.is_discrete() { 1 } else { policy.action_width() }
}

/// The action for an observation; of a choice its index. Returns 0, or a number that the header explains; `action` is
/// left as it is then.
///
/// # Safety
/// `policy` is one of [`backburn_policy_read`] that no other thread uses meanwhile; `observation` and `action` point at
/// as many numbers as the policy says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backburn_policy_act(
    policy: *mut Policy,
    observation: *const f32,
    action: *mut f32,
) -> i32 {
    let policy = unsafe { &mut *policy };
    let observation =
        unsafe { std::slice::from_raw_parts(observation, policy.observation_width()) };
    match policy.act(observation) {
        Ok(Action::Discrete(index)) => unsafe { *action = index as f32 },
        Ok(Action::Continuous(numbers)) => unsafe {
            std::ptr::copy_nonoverlapping(numbers.as_ptr(), action, numbers.len());
        },
        Err(crate::ActError::Overflow) => return 2,
        Err(_) => return 1,
    }
    0
}

/// Frees a policy; null is nothing to free.
///
/// # Safety
/// `policy` is one of [`backburn_policy_read`], or null, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backburn_policy_free(policy: *mut Policy) {
    if !policy.is_null() {
        drop(unsafe { Box::from_raw(policy) });
    }
}
