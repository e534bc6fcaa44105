//! Files made by hand, and real ones cut down to what is asked of them.

mod builder;
mod format;
mod hostile;
mod kvm;
mod members;

impl super::Types {
    /// Types of a kernel that has structures with one member of 8 bytes each.
    pub(crate) fn of_structures(structures: &[(&str, &str)]) -> Self {
        let mut file = builder::Builder::new();
        let long = file.int("long", 8);
        for (name, member) in structures {
            file.strukt(name, 8, &[(member, long, 0)]);
        }
        Self { vmlinux: std::sync::Arc::new(file.btf()), kvm: None, intel: None, amd: None }
    }
}
