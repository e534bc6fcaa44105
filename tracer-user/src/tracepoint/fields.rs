//! The `format` file of a tracepoint: where a field is in its record.

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

/// Finds a field by name. Lines look like `field:unsigned int exit_reason;\toffset:8;\tsize:4;\tsigned:0;`
/// (`Documentation/trace/events.rst` of the kernel).
///
/// ```
/// # use tracer_user::tracepoint::fields::{Field, field};
/// let text = "format:\n\tfield:u32 isa;\toffset:24;\tsize:4;\tsigned:0;\n\nprint fmt: \"\"\n";
/// assert_eq!(field(text, "isa"), Some(Field { offset: 24, size: 4 }));
/// assert_eq!(field(text, "fmt"), None);
/// ```
pub fn field(format: &str, name: &str) -> Option<Field> {
    format.lines().find_map(|line| {
        let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
        let declaration = parts.next()?;
        // An array's length follows its name: `char comm[16]`.
        let declared = declaration.rsplit([' ', '*']).next()?.split('[').next()?;
        if declared != name {
            return None;
        }
        let number = |part: Option<&str>, key: &str| part?.strip_prefix(key)?.parse().ok();
        Some(Field { offset: number(parts.next(), "offset:")?, size: number(parts.next(), "size:")? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../decode/testdata/kvm_exit-6.18.format");

    #[test]
    fn fields_of_a_real_record() {
        assert_eq!(field(REAL, "exit_reason"), Some(Field { offset: 8, size: 4 }));
        assert_eq!(field(REAL, "isa"), Some(Field { offset: 24, size: 4 }));
        assert_eq!(field(REAL, "vcpu_id"), Some(Field { offset: 56, size: 4 }));
        assert_eq!(field(REAL, "exit"), None);
    }

    #[test]
    fn damaged_lines_are_no_fields() {
        assert_eq!(field("field:int a; offset:x; size:4;", "a"), None);
        assert_eq!(field("field:int a;", "a"), None);
        assert_eq!(field("field:;", ""), None);
    }
}
