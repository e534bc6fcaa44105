//! A tiny VMM whose guests make an exactly known number of VM exits: the oracle of the lab tests.
//!
//! [`plan`] says what a guest does and how many exits that makes, [`code`] turns it into machine code,
//! [`guest`] holds the guest's memory and registers, [`vm`] puts a virtual machine together, [`run`] is the
//! loop around `KVM_RUN`, [`crate::stats`] reads KVM's own counters, [`process`] is one virtual machine as a
//! process and [`fleet`] starts several of these and collects their results.
//! [`kick`] makes vCPUs wait for their VMM. [`cli`] is the command line. x86-64 only.
//!
//! # Exits, exactly
//! Every vCPU runs its steps in order, once per round. One iteration makes:
//!
//! | step      | guest code              | SVM                         | VMX                              | to the VMM |
//! |-----------|-------------------------|-----------------------------|----------------------------------|------------|
//! | `cpuid=N` | CPUID, leaf 0           | CPUID                       | CPUID                            | no         |
//! | `msr=N`   | RDMSR IA32_MCG_STATUS   | MSR                         | MSR_READ                         | no         |
//! | `wrmsr=N` | WRMSR IA32_MCG_STATUS   | MSR                         | MSR_WRITE                        | no         |
//! | `io=N`    | OUT to port 0x80        | IOIO                        | IO_INSTRUCTION                   | yes        |
//! | `mmio=N`  | 4-byte load, no memslot | NPF                         | EPT_MISCONFIG, see below         | yes        |
//! | `hlt=N`   | HLT, no interrupts      | HLT                         | HLT                              | yes        |
//! | `khlt=N`  | arm timer, HLT, EOI     | MSR, HLT (sleeps), MSR      | MSR_WRITE, HLT (sleeps), MSR_WRITE | no       |
//! | `vmrun=N` | enter a guest of its own, which does CPUID and calls back | VMRUN, CPUID, VMMCALL | not supported | no |
//! | `cr=N`    | MOV from CR4, MOV to CR4 that changes VME | CR4 read, CR4 write | CR_ACCESS (the write) | no |
//! | `spin=U`  | compute for U µs        | none of its own             | none of its own                  | no         |
//!
//! `vmrun` also writes an MSR once a round, and makes nested page faults whose number is not predicted.
//!
//! And every vCPU makes, once, however many rounds there are:
//! - [`plan::STARTUP_FAULTS`] nested page faults (NPF, or EPT_VIOLATION) when it starts: its three page
//!   tables and its code page, none of which it shares with another vCPU;
//! - on VMX, if it uses `mmio`, an EPT_VIOLATION in place of the first EPT_MISCONFIG (N touches are N - 1
//!   EPT_MISCONFIG and one EPT_VIOLATION, over all rounds together);
//! - one port exit to the "done" port ([`code::DONE_PORT`]), its last. `KVM_RUN` is not called again after
//!   it: this exit has no entry after it, so each vCPU leaves exactly one exit unpaired. With
//!   `--triple-fault` it is a shutdown instead, which is in neither list.
//!
//! Beside these there are only exits that the host makes: an external interrupt (SVM INTR, VMX
//! EXTERNAL_INTERRUPT) whenever one arrives while the guest runs, also the one that a signal to the vCPU
//! thread causes. Their number is not predicted; with them, too, a vCPU has as many entries as exits.
//!
//! Limits of the prediction:
//! - a host so slow that the timer of a `khlt` fires before its HLT (see `--khlt-us`) makes one
//!   interrupt-window exit more in that iteration (SVM VINTR, VMX INTERRUPT_WINDOW), and that halt does not
//!   sleep; or, where QEMU lets the interrupt in before the HLT, one MSR exit more, which is counted
//!   ([`code`]);
//! - with virtualised APIC (APICv, AVIC) the EOI of `khlt` does not exit;
//! - without nested paging (shadow page tables) there are page fault exits instead of the nested ones, and
//!   others.

pub mod cli;
pub mod code;
pub mod fleet;
pub mod guest;
pub mod kick;
pub mod plan;
pub mod process;
pub mod run;
pub mod sys;
pub mod vm;
