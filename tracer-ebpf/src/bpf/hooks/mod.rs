//! The programs: each turns one kernel event into plain values, and hands them to `event` or `entries`.
//! Nothing else knows where an event has its fields.
//!
//! Every program on a tracepoint returns 1: a program that returns 0 there keeps the event from every other
//! user of the tracepoint, `perf kvm stat` for instance (`perf_trace_run_bpf_submit`, kernel/events/core.c).

mod activity;
mod kvm_run;
mod s390;
mod sched;
mod synthetic;
mod threads;
mod x86_causes;
mod x86_raw;
mod x86_stamp;
mod x86_tp;
