//! s390: which tracepoints tell of exits and their causes, which program is on which, and where its field is.

use tracer_ebpf::{config, symbols};

use crate::kernel::{Unsupported, tracefs};
use crate::tracepoint::fields::field;

/// The tracepoint of exits.
pub const EXIT: &str = "kvm_s390_sie_exit";

/// A program, its event, and the fields it reads: constant for the offset, name, size.
#[derive(Debug)]
pub struct Door {
    /// Name of the program.
    pub program: &'static str,
    /// Event of the group `kvm`.
    pub event: &'static str,
    fields: &'static [(i32, &'static str, u32)],
}

/// All plan in the order in which they are attached: entries first, exits last, so that no exit is seen whose
/// cause or entry is missed. The first and the last are needed, the others tell causes.
pub static DOORS: [Door; 10] = [
    door(symbols::SIE_ENTER, "kvm_s390_sie_enter", &[]),
    door(
        symbols::CAUSE_INSTRUCTION,
        "kvm_s390_intercept_instruction",
        &[(config::OFF_INSTRUCTION, "instruction", 8)],
    ),
    door(symbols::CAUSE_DIAG, "kvm_s390_handle_diag", &[(config::OFF_DIAG, "code", 2)]),
    door(symbols::CAUSE_SIGP, "kvm_s390_handle_sigp", &[(config::OFF_SIGP, "order_code", 1)]),
    door(symbols::CAUSE_SIGP_PEI, "kvm_s390_handle_sigp_pei", &[(config::OFF_SIGP_PEI, "order_code", 1)]),
    door(symbols::CAUSE_PROGRAM, "kvm_s390_intercept_prog", &[(config::OFF_PROGRAM, "code", 2)]),
    door(symbols::CAUSE_VALIDITY, "kvm_s390_intercept_validity", &[(config::OFF_VALIDITY, "viwhy", 2)]),
    door(symbols::CAUSE_OPERATION, "kvm_s390_handle_operexc", &[(config::OFF_OPERATION, "instruction", 8)]),
    door(symbols::CAUSE_SIE_FAULT, "kvm_s390_sie_fault", &[]),
    door(
        symbols::SIE_EXIT,
        EXIT,
        &[(config::OFF_SIE_ICPTCODE, "icptcode", 1), (config::OFF_SIE_VCPU, "id", 4)],
    ),
];

const fn door(
    program: &'static str,
    event: &'static str,
    fields: &'static [(i32, &'static str, u32)],
) -> Door {
    Door { program, event, fields }
}

impl Door {
    fn is_needed(&self) -> bool {
        matches!(self.program, symbols::SIE_ENTER | symbols::SIE_EXIT)
    }

    /// Where its fields are, by the constant that holds the offset.
    fn offsets(&self, format: &str) -> Result<Vec<(i32, u32)>, Unsupported> {
        let offset = |(constant, name, size): &(i32, &'static str, u32)| match field(format, name) {
            Some(found) if found.size == *size => Ok((*constant, found.offset)),
            _ => Err(Unsupported::new(
                format!("this kernel's {} record has no field `{name}` of {size} bytes", self.event),
                format!("please report it with the contents of events/kvm/{}/format", self.event),
            )),
        };
        self.fields.iter().map(offset).collect()
    }
}

/// What this kernel has.
#[derive(Debug, Default)]
pub struct Layout {
    /// The plan that can be opened.
    pub plan: Vec<&'static Door>,
    /// Offsets of their fields, by constant.
    pub offsets: Vec<(i32, u32)>,
    /// Events of causes that it lacks.
    pub absent: Vec<&'static str>,
}

/// Looks at all events.
///
/// # Errors
/// [`Unsupported`] if exits or entries cannot be seen.
pub fn layout() -> Result<Layout, Unsupported> {
    layout_from(tracefs::format_text)
}

fn layout_from(format: impl Fn(&str) -> Result<String, Unsupported>) -> Result<Layout, Unsupported> {
    let mut layout = Layout::default();
    for door in &DOORS {
        match format(door.event).and_then(|text| door.offsets(&text)) {
            Ok(offsets) => {
                layout.plan.push(door);
                layout.offsets.extend(offsets);
            }
            Err(missing) if door.is_needed() => return Err(missing),
            Err(_) => layout.absent.push(door.event),
        }
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../decode/testdata/kvm_s390_sie_exit-6.12.format");

    /// Formats with what each event needs, but for those left out.
    fn format(event: &str, left_out: &[&str]) -> Result<String, Unsupported> {
        if left_out.contains(&event) {
            return Err(Unsupported::new(event, "none"));
        }
        let door = DOORS.iter().find(|door| door.event == event).unwrap();
        let lines = door
            .fields
            .iter()
            .map(|(_, name, size)| format!("\tfield:int {name};\toffset:40;\tsize:{size};\n"));
        Ok(lines.collect())
    }

    #[test]
    fn offsets_are_those_of_a_real_record() {
        let exit = DOORS.last().unwrap();
        let offsets = exit.offsets(REAL).unwrap();
        assert_eq!(offsets, [(config::OFF_SIE_ICPTCODE, 32), (config::OFF_SIE_VCPU, 8)]);
        let wider = REAL.replace("offset:32;\tsize:1;", "offset:32;\tsize:4;");
        assert!(exit.offsets(&wider).is_err(), "a byte of a wider field would be the wrong one");
    }

    #[test]
    fn causes_may_be_missing_but_not_exits() {
        let all = layout_from(|event| format(event, &[])).unwrap();
        assert_eq!((all.plan.len(), all.offsets.len(), all.absent.len()), (DOORS.len(), 9, 0));
        let fewer = layout_from(|event| format(event, &["kvm_s390_handle_sigp_pei"])).unwrap();
        assert_eq!(fewer.absent, ["kvm_s390_handle_sigp_pei"]);
        assert!(!fewer.offsets.iter().any(|(offset, _)| *offset == config::OFF_SIGP_PEI));
        for needed in ["kvm_s390_sie_enter", "kvm_s390_sie_exit"] {
            assert!(layout_from(|event| format(event, &[needed])).is_err());
        }
    }
}
