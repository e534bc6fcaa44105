//! Plans for kernels that are made up from real records.

use tracer_ebpf::{config, subkey::kind, symbols};

use super::*;
use crate::kernel::{
    arch::{Arch, s390x, x86},
    features::{DetectedBy, FEATURES, Presence},
    host::Version,
};

const KVM_EXIT: &str = include_str!("../../decode/testdata/kvm_exit-6.18.format");
const USERSPACE_EXIT: &str = include_str!("../../decode/testdata/kvm_userspace_exit-6.18.format");
const KVM_MSR: &str = include_str!("../../decode/testdata/kvm_msr-6.18.format");
const KVM_CR: &str = include_str!("../../decode/testdata/kvm_cr-6.18.format");
const KVM_FPU: &str = include_str!("../../decode/testdata/kvm_fpu-6.18.format");
const WAKEUP: &str = include_str!("../../decode/testdata/kvm_vcpu_wakeup-6.18.format");
const SCHED_SWITCH: &str = include_str!("../../decode/testdata/sched_switch-6.18.format");
const SCHED_WAKEUP: &str = include_str!("../../decode/testdata/sched_wakeup-6.18.format");
const SIE_EXIT: &str = include_str!("../../decode/testdata/kvm_s390_sie_exit-6.12.format");
const DIAG: &str = include_str!("../../decode/testdata/kvm_s390_handle_diag-6.12.format");
const SIGP: &str = include_str!("../../decode/testdata/kvm_s390_handle_sigp-6.12.format");
const INSTRUCTION: &str = include_str!("../../decode/testdata/kvm_s390_intercept_instruction-6.12.format");
const PROG: &str = include_str!("../../decode/testdata/kvm_s390_intercept_prog-6.12.format");

/// The record of an event: a real one, else one that has what the table of events asks for.
fn format(arch: &Arch, event: &str) -> String {
    match event {
        "kvm:kvm_exit" => return KVM_EXIT.to_owned(),
        "kvm:kvm_userspace_exit" => return USERSPACE_EXIT.to_owned(),
        "kvm:kvm_cr" => return KVM_CR.to_owned(),
        "kvm:kvm_msr" => return KVM_MSR.to_owned(),
        "kvm:kvm_fpu" => return KVM_FPU.to_owned(),
        "kvm:kvm_vcpu_wakeup" => return WAKEUP.to_owned(),
        "sched:sched_switch" => return SCHED_SWITCH.to_owned(),
        "sched:sched_wakeup" => return SCHED_WAKEUP.to_owned(),
        "kvm:kvm_s390_sie_exit" => return SIE_EXIT.to_owned(),
        "kvm:kvm_s390_handle_diag" => return DIAG.to_owned(),
        "kvm:kvm_s390_handle_sigp" => return SIGP.to_owned(),
        "kvm:kvm_s390_intercept_instruction" => return INSTRUCTION.to_owned(),
        "kvm:kvm_s390_intercept_prog" => return PROG.to_owned(),
        _ => {}
    }
    let mut hooks = arch.events().into_iter().filter(|hook| hook.event == event);
    let ways = hooks.next().map_or(&[][..], |hook| hook.ways);
    let fields = ways.iter().flat_map(|way| way.fields);
    let line = |field: &Field| {
        let (offset, size) = match field.source {
            Source::At(offset, size) => (offset, size),
            Source::Record(size) => (40, size),
            _ => (40, 4),
        };
        format!("\tfield:int {};\toffset:{offset};\tsize:{size};\n", field.name)
    };
    fields.map(line).collect()
}

/// A feature of which nothing is known.
const UNKNOWN: Presence = Presence { has: None, by: DetectedBy::Types };

/// A kernel that lacks these events. `types` are its constants from BTF; [`None`] if BTF gives none.
pub fn kernel(arch: &'static Arch, types: Option<&[(i32, u32)]>, lacks: &'static [&str]) -> Kernel {
    let of_kvm = types.map(<[_]>::to_vec).ok_or_else(|| "BTF has no type struct vcpu_svm".to_owned());
    let of_sched = types.map(|_| vec![(config::OFF_TASK_PID, 1000)]).ok_or_else(|| "no BTF".to_owned());
    Kernel {
        format: Box::new(|event| match lacks.contains(&event) {
            true => Err(Unsupported::new(format!("the kernel has no tracepoint {event}"), "")),
            false => Ok(format(arch, event)),
        }),
        kvm_types: of_kvm,
        sched_types: of_sched,
        type_id: Box::new(|_| Some(1)),
        cast: None,
        cpu_flags: Vec::new(),
        present: [UNKNOWN; FEATURES.len()],
        version: Version(6, 1),
        isa: (arch.isa)("AuthenticAMD"),
    }
}

pub fn preemptible(mut kernel: Kernel) -> Kernel {
    kernel.present = FEATURES.each_ref().map(|info| {
        let has = Some(info.feature == Feature::PreemptibleRaw);
        Presence { has, ..UNKNOWN }
    });
    kernel
}

/// The kernel of an AMD processor on which exits are reported before interrupts run, or after.
fn reporting(early: bool) -> Kernel {
    let mut kernel = kernel(&x86::ARCH, Some(AMD), &[]);
    kernel.present = FEATURES.each_ref().map(|info| {
        let has = Some(early && info.feature == Feature::ExitsBeforeInterrupts);
        Presence { has, ..UNKNOWN }
    });
    kernel
}

#[test]
fn exits_are_stamped_by_a_program_of_its_own_where_the_event_is_late() {
    let chosen = |kernel: &Kernel, attach, exit_stamp| {
        let wanted = Wanted { attach, exit_stamp, ..Wanted::default() };
        let plan = Plan::choose(kernel, &x86::ARCH, &wanted).unwrap();
        (programs(&plan).contains(&symbols::EXIT_STAMP), plan.exit_stamp())
    };
    for attach in [Attach::Raw, Attach::Tp] {
        let (late, early) = (reporting(false), reporting(true));
        assert_eq!(chosen(&late, attach, ExitStamp::Event), (false, "after interrupts"));
        assert_eq!(chosen(&late, attach, ExitStamp::IrqOff), (true, "before interrupts"));
        for exit_stamp in [ExitStamp::Event, ExitStamp::IrqOff] {
            assert_eq!(chosen(&early, attach, exit_stamp), (false, "before interrupts"));
            let intel = Kernel { isa: (x86::ARCH.isa)("GenuineIntel"), ..reporting(false) };
            assert_eq!(chosen(&intel, attach, exit_stamp), (false, "before interrupts"));
        }
    }
    // Exits of unknown threads are not stamped, so the stamps may come before the exits.
    let wanted = Wanted { exit_stamp: ExitStamp::IrqOff, ..Wanted::default() };
    let plan = Plan::choose(&reporting(false), &x86::ARCH, &wanted).unwrap();
    assert_eq!(programs(&plan).last(), Some(&symbols::RAW_EXIT));
    let elsewhere = Plan::choose(&kernel(&s390x::ARCH, None, &[]), &s390x::ARCH, &wanted);
    assert!(elsewhere.unwrap_err().what.contains("not known"));
}

fn programs(plan: &Plan) -> Vec<&'static str> {
    plan.attachments.iter().map(|attachment| attachment.way.program).collect()
}

fn choose(kernel: &Kernel, arch: &Arch) -> Plan {
    Plan::choose(kernel, arch, &Wanted::default()).unwrap()
}

pub const AMD: &[(i32, u32)] = &[
    (config::OFF_VCPU_ID, 36),
    (config::OFF_VCPU_KVM, 0),
    (config::OFF_SVM_VMCB, 6552),
    (config::OFF_SVM_CODE, 112),
    (config::KEEP_VMCB, 1),
];

#[test]
fn raw_tracepoints_where_the_types_say_where_the_reason_is() {
    let plan = choose(&kernel(&x86::ARCH, Some(AMD), &["kvm:kvm_nested_vmrun"]), &x86::ARCH);
    let expected = [
        symbols::LEFT_KVM,
        symbols::HALTED,
        symbols::ENTERED_KVM,
        symbols::TYPED_WAKEUP,
        symbols::TYPED_SWITCH,
        symbols::THREAD_EXIT,
        symbols::NESTED,
        symbols::RAW_ENTRY,
        symbols::RAW_EXIT,
    ];
    assert_eq!(programs(&plan), expected);
    let nested = plan.attachments.iter().find(|it| it.way.program == symbols::NESTED).unwrap();
    assert_eq!(nested.hook.event, "kvm:kvm_nested_vmenter", "the older name is not there");
    let mut constants = plan.constants();
    constants.sort_unstable();
    let mut expected = [AMD, &[(config::OFF_TASK_PID, 1000), (config::SCHED, 1)]].concat();
    expected.sort_unstable();
    assert_eq!(constants, expected, "nothing of Intel, and no offset in a record");
    assert_eq!((plan.path().as_str(), plan.missing.len()), ("raw tracepoints", 0));
    assert_eq!(plan.measured(), MeasuredParts::of(&Part::ALL));
}

#[test]
fn tracepoints_where_the_types_do_not_and_why() {
    let plan = choose(&kernel(&x86::ARCH, None, &[]), &x86::ARCH);
    let expected = [
        symbols::LEFT_KVM,
        symbols::HALTED,
        symbols::ENTERED_KVM,
        symbols::TP_WAKEUP,
        symbols::TP_SWITCH,
        symbols::THREAD_EXIT,
        symbols::TP_ENTRY,
        symbols::TP_EXIT,
    ];
    assert_eq!(programs(&plan), expected);
    let of = |constant| plan.constants().into_iter().find(|(known, _)| *known == constant).map(|(_, at)| at);
    assert_eq!(
        [config::OFF_EXIT_REASON, config::OFF_EXIT_ISA, config::OFF_EXIT_VCPU].map(of),
        [Some(8), Some(24), Some(56)]
    );
    // A state of 8 bytes, of which the lower half is read.
    let state = if cfg!(target_endian = "big") { 36 } else { 32 };
    assert_eq!(
        [config::OFF_SWITCH_PREV, config::OFF_SWITCH_STATE, config::OFF_SWITCH_NEXT, config::OFF_WAKEUP_PID]
            .map(of),
        [Some(24), Some(state), Some(56), Some(24)]
    );
    assert_eq!(plan.path(), "tracepoints, because BTF has no type struct vcpu_svm");
    let wanted = Wanted { attach: Attach::Raw, ..Wanted::default() };
    let refused = Plan::choose(&kernel(&x86::ARCH, None, &[]), &x86::ARCH, &wanted).unwrap_err();
    assert!(refused.to_string().contains("struct vcpu_svm; use --attach tp"), "{refused}");
}

#[test]
fn preemptible_programs_leave_the_breakdown_to_tracepoints() {
    let plan = choose(&preemptible(kernel(&x86::ARCH, Some(AMD), &[])), &x86::ARCH);
    let breakdown: Vec<_> = programs(&plan).into_iter().take(3).collect();
    assert_eq!(breakdown, [symbols::TP_LEFT_KVM, symbols::TP_HALTED, symbols::TP_ENTERED_KVM]);
    assert!(
        programs(&plan).contains(&symbols::TP_THREAD_EXIT) && programs(&plan).contains(&symbols::RAW_EXIT)
    );
    assert!(!programs(&plan).contains(&symbols::NESTED));
    let [missing] = plan.missing.as_slice() else { panic!("{:?}", plan.missing) };
    assert!(missing.why.contains("skip") && missing.effect.contains("VMCB") && !missing.is_loss);
}

#[test]
fn a_function_where_the_event_misleads() {
    let mut with_mpx = kernel(&x86::ARCH, Some(AMD), &[]);
    with_mpx.cpu_flags = vec!["fpu".to_owned(), "mpx".to_owned()];
    let mut plan = choose(&with_mpx, &x86::ARCH);
    assert!(programs(&plan).contains(&symbols::ENTERED_KVM_PROBE));
    assert!(!programs(&plan).contains(&symbols::ENTERED_KVM));
    plan.give_up(symbols::ENTERED_KVM_PROBE, "no kprobes".to_owned());
    assert!(!programs(&plan).contains(&symbols::ENTERED_KVM_PROBE));
    assert!(
        plan.breakdown().contains("KVM_RUN entry not traced: the return into KVM"),
        "{}",
        plan.breakdown()
    );
}

#[test]
fn the_scheduler_is_followed_whole_or_not_at_all() {
    let plan = choose(&kernel(&x86::ARCH, Some(AMD), &["sched:sched_wakeup"]), &x86::ARCH);
    assert!(!programs(&plan).contains(&symbols::TYPED_SWITCH));
    assert_eq!(plan.missing.len(), 2);
    assert!(plan.breakdown().contains("no tracepoint sched:sched_wakeup"), "{}", plan.breakdown());
    assert_ne!(plan.measured(), MeasuredParts::of(&Part::ALL));
    let wanted = Wanted { sched: false, ..Wanted::default() };
    let off = Plan::choose(&kernel(&x86::ARCH, Some(AMD), &[]), &x86::ARCH, &wanted).unwrap();
    assert!(!off.constants().contains(&(config::SCHED, 1)));
    assert!(off.breakdown().contains("the scheduler not at all (turned off)"), "{}", off.breakdown());
}

#[test]
fn what_is_needed_is_demanded() {
    for event in ["kvm:kvm_exit", "kvm:kvm_entry", "kvm:kvm_userspace_exit", "sched:sched_process_exit"] {
        let kernel = kernel(
            &x86::ARCH,
            None,
            match event {
                "kvm:kvm_exit" => &["kvm:kvm_exit"],
                "kvm:kvm_entry" => &["kvm:kvm_entry"],
                "kvm:kvm_userspace_exit" => &["kvm:kvm_userspace_exit"],
                _ => &["sched:sched_process_exit"],
            },
        );
        let refused = Plan::choose(&kernel, &x86::ARCH, &Wanted::default()).unwrap_err();
        assert!(refused.what.contains(event), "{refused}");
    }
    let mut wider = kernel(&s390x::ARCH, None, &[]);
    wider.format = Box::new(|event| {
        Ok(format(&s390x::ARCH, event).replace("offset:32;\tsize:1;", "offset:32;\tsize:4;"))
    });
    let refused = Plan::choose(&wider, &s390x::ARCH, &Wanted::default()).unwrap_err();
    assert!(refused.what.contains("`icptcode` of 1 bytes"), "a byte of a wider field would be the wrong one");
}

#[test]
fn records_may_lack_fields_that_others_have() {
    let mut older = kernel(&x86::ARCH, None, &[]);
    older.format = Box::new(|event| {
        let lines = format(&x86::ARCH, event);
        Ok(lines.lines().filter(|line| !line.contains("vcpu_id")).map(|line| format!("{line}\n")).collect())
    });
    let plan = choose(&older, &x86::ARCH);
    let exit = plan.attachments.last().unwrap();
    assert_eq!(exit.without, ["vCPUs are shown by thread, and one vCPU of each"]);
    assert!(plan.constants().iter().all(|(constant, _)| *constant != config::OFF_EXIT_VCPU));
}

#[test]
fn causes_of_s390x_may_be_missing() {
    let all = choose(&kernel(&s390x::ARCH, None, &[]), &s390x::ARCH);
    let own = |plan: &Plan| plan.attachments.iter().filter(|it| it.hook.event.contains("s390")).count();
    assert_eq!((own(&all), all.missing.len()), (10, 0));
    assert!(all.constants().contains(&(config::CAUSES, 1)));
    let at = |plan: &Plan, constant| plan.constants().into_iter().find(|(known, _)| *known == constant);
    assert_eq!(at(&all, config::OFF_SIE_ICPTCODE), Some((config::OFF_SIE_ICPTCODE, 32)));
    assert_eq!(at(&all, config::OFF_SIE_VCPU), Some((config::OFF_SIE_VCPU, 8)));
    assert_eq!(programs(&all).last(), Some(&symbols::SIE_EXIT));
    assert_eq!(all.path(), "tracepoints");
    let fewer = choose(&kernel(&s390x::ARCH, None, &["kvm:kvm_s390_handle_sigp_pei"]), &s390x::ARCH);
    assert_eq!(fewer.missing[0].hook.event, "kvm:kvm_s390_handle_sigp_pei");
    assert_eq!(at(&fewer, config::OFF_SIGP_PEI), None);
    let wanted = Wanted { attach: Attach::Raw, ..Wanted::default() };
    let refused = Plan::choose(&kernel(&s390x::ARCH, None, &[]), &s390x::ARCH, &wanted).unwrap_err();
    assert!(refused.what.contains("not used on s390x"));
}

#[test]
fn causes_are_asked_for_by_name() {
    let parse = |list| Causes::parse(list, &s390x::ARCH);
    assert_eq!(parse("none"), Ok(Causes::Only(Vec::new())));
    assert_eq!(parse("diag,sigp"), Ok(Causes::Only(vec![kind::DIAG, kind::SIGP])));
    assert!(parse("diag,hlt").unwrap_err().contains("instruction, diag, sigp,"));
    let wanted = Wanted { causes: parse("sigp").unwrap(), ..Wanted::default() };
    let plan = Plan::choose(&kernel(&s390x::ARCH, None, &[]), &s390x::ARCH, &wanted).unwrap();
    let causes: Vec<_> = programs(&plan).into_iter().filter(|name| name.starts_with("cause")).collect();
    assert_eq!(causes, [symbols::CAUSE_SIGP, symbols::CAUSE_SIGP_PEI]);
    let none = Wanted { causes: parse("none").unwrap(), ..Wanted::default() };
    let plan = Plan::choose(&kernel(&s390x::ARCH, None, &[]), &s390x::ARCH, &none).unwrap();
    assert!(!plan.constants().contains(&(config::CAUSES, 1)));
}

#[test]
fn control_registers_are_told_on_demand() {
    let kernel = kernel(&x86::ARCH, Some(AMD), &[]);
    assert!(!programs(&choose(&kernel, &x86::ARCH)).contains(&symbols::CAUSE_CR));
    let wanted = Wanted { causes: Causes::parse("cr", &x86::ARCH).unwrap(), ..Wanted::default() };
    let plan = Plan::choose(&kernel, &x86::ARCH, &wanted).unwrap();
    let constants = plan.constants();
    for constant in [(config::OFF_CR_RW, 8), (config::OFF_CR_NUMBER, 12), (config::CAUSES, 1)] {
        assert!(constants.contains(&constant), "{constants:?}");
    }
    let last: Vec<_> = programs(&plan).into_iter().rev().take(2).collect();
    assert_eq!(last, [symbols::RAW_EXIT, symbols::CAUSE_CR], "causes are attached before exits");
}

#[test]
fn msrs_are_told_on_demand() {
    let kernel = kernel(&x86::ARCH, Some(AMD), &[]);
    assert!(!programs(&choose(&kernel, &x86::ARCH)).contains(&symbols::CAUSE_MSR));
    let wanted = Wanted { causes: Causes::parse("cr,msr", &x86::ARCH).unwrap(), ..Wanted::default() };
    let plan = Plan::choose(&kernel, &x86::ARCH, &wanted).unwrap();
    let constants = plan.constants();
    for constant in [(config::OFF_MSR_WRITE, 8), (config::OFF_MSR_NUMBER, 12), (config::CAUSES, 1)] {
        assert!(constants.contains(&constant), "{constants:?}");
    }
    let last: Vec<_> = programs(&plan).into_iter().rev().take(3).collect();
    assert_eq!(last, [symbols::RAW_EXIT, symbols::CAUSE_MSR, symbols::CAUSE_CR]);
}

/// A kernel whose exit record has a code of `size` bytes.
fn with_reason_of(size: u32, types: Option<&[(i32, u32)]>) -> Kernel {
    let arch = &x86::ARCH;
    let mut kernel = kernel(arch, types, &[]);
    kernel.format = Box::new(move |event| {
        let text = format(arch, event);
        Ok(match event {
            "kvm:kvm_exit" => text.replace(
                "exit_reason;\toffset:8;\tsize:4;",
                &format!("exit_reason;\toffset:8;\tsize:{size};"),
            ),
            _ => text,
        })
    });
    kernel
}

#[test]
fn a_wider_exit_code_is_read_by_its_lower_half() {
    for size in [4, 8] {
        let plan = choose(&with_reason_of(size, None), &x86::ARCH);
        assert!(programs(&plan).contains(&symbols::TP_EXIT));
        let upper = if cfg!(target_endian = "big") { size - 4 } else { 0 };
        assert!(plan.constants().contains(&(config::OFF_EXIT_REASON, 8 + upper)), "{size}");
    }
    let refused = Plan::choose(&with_reason_of(2, None), &x86::ARCH, &Wanted::default()).unwrap_err();
    assert!(refused.what.contains("`exit_reason` of 4 or 8 bytes"), "{refused}");
    let raw = choose(&with_reason_of(2, Some(AMD)), &x86::ARCH);
    assert!(programs(&raw).contains(&symbols::RAW_EXIT), "raw tracepoints have no record");
}

#[test]
fn a_tracepoint_that_is_refused_has_a_raw_one_in_its_place() {
    let mut plan = choose(&preemptible(kernel(&x86::ARCH, Some(AMD), &[])), &x86::ARCH);
    assert!(!plan.is_breakdown_in_doubt());
    let refused = |plan: &Plan, program: &str| {
        let attachment = plan.attachments.iter().find(|it| it.way.program == program).unwrap();
        attachment.hook.raw_without_fields(attachment.way)
    };
    let raw = refused(&plan, symbols::TP_LEFT_KVM).unwrap();
    plan.replace(symbols::TP_LEFT_KVM, raw);
    assert!(programs(&plan).contains(&symbols::LEFT_KVM) && !programs(&plan).contains(&symbols::TP_LEFT_KVM));
    assert!(plan.is_breakdown_in_doubt());
    // A program with constants that the loader writes can only be chosen before loading.
    assert!(refused(&plan, symbols::TYPED_SWITCH).is_none());
    let by_record = choose(&kernel(&x86::ARCH, None, &[]), &x86::ARCH);
    assert!(refused(&by_record, symbols::TP_EXIT).is_none());
}
