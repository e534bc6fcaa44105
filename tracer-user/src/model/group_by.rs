//! What a row stands for: the dimensions of a grouping.

use std::{fmt, str::FromStr};

/// Which of host, VM, vCPU, reason and part tell rows apart. A vCPU implies its VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// A row for each host of a merged recording.
    pub host: bool,
    /// A row for each VM.
    pub vm: bool,
    /// A row for each vCPU.
    pub vcpu: bool,
    /// A row for each exit reason.
    pub reason: bool,
    /// A row for each part: of the vCPUs' time or, with `reason`, of the exits' time.
    pub part: bool,
}

impl GroupBy {
    /// A row for each exit reason, whatever the VM.
    pub const REASON: Self = Self { host: false, vm: false, vcpu: false, reason: true, part: false };
}

/// The dimension that becomes columns, for a table of rates by two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// A column for each exit reason.
    Reason,
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut by = Self { host: false, vm: false, vcpu: false, reason: false, part: false };
        for word in text.split(',') {
            match word.trim() {
                "host" => by.host = true,
                "vm" => by.vm = true,
                "vcpu" => (by.vm, by.vcpu) = (true, true),
                "reason" => by.reason = true,
                "part" => by.part = true,
                other => {
                    return Err(format!(
                        "`{other}` is no dimension; use host, vm, vcpu, reason, part or a list like vm,reason"
                    ));
                }
            }
        }
        Ok(by)
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            ("host", self.host),
            ("vm", self.vm && !self.vcpu),
            ("vcpu", self.vcpu),
            ("reason", self.reason),
            ("part", self.part),
        ];
        let chosen: Vec<_> = words.iter().filter(|(_, on)| *on).map(|(word, _)| *word).collect();
        f.write_str(&chosen.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        for text in
            ["reason", "vm", "vcpu", "vm,reason", "vcpu,reason", "host", "host,vm", "part", "vm,reason,part"]
        {
            assert_eq!(text.parse::<GroupBy>().unwrap().to_string(), text);
        }
        assert!("cpu".parse::<GroupBy>().unwrap_err().contains("vm,reason"));
    }
}
