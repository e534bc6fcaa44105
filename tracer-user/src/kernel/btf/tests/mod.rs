//! Files made by hand, and real ones cut down to what is asked of them.

mod builder;
mod format;
mod hostile;
mod kvm;
mod members;
