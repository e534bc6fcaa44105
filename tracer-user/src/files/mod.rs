//! Files as the commands see them: `-` is a stream, nothing is overwritten without being asked, an output appears whole.

pub mod atomic;
pub mod input;
pub mod rotating;
