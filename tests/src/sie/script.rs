//! The records that the scripted SIE reads: one an exit. The layout is that of `struct rec` in
//! `xtask/lab/guest/sie.c`.

/// Length of a record.
pub const LEN: usize = 64;
/// 64-bit addressing, nothing enabled.
pub const PSW_PLAIN: u64 = 0x0000_0001_8000_0000;
/// Bits of the PSW mask: wait, external interrupts enabled.
pub const PSW_WAIT_ENABLED: u64 = 0x0102_0000_0000_0000;
/// Bit of the PSW mask: wait, no interrupts enabled.
pub const PSW_WAIT_DISABLED: u64 = 0x0002_0000_0000_0000;
/// Where the guest's last exit is.
pub const END: u64 = 0xdead;
/// Units of the TOD clock in a microsecond.
pub const TOD_PER_US: u32 = 4096;

const SET_PSW: u8 = 1;
const SET_REGISTERS: u8 = 2;
const FAULT: u8 = 4;

/// One exit, as the hardware would leave it in the control block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Intercept code.
    pub icptcode: u8,
    /// SIE ends by a fault of the host instead.
    pub fault: bool,
    /// The intercepted instruction's first two bytes.
    pub ipa: u16,
    /// The four bytes after them.
    pub ipb: u32,
    /// Program interruption code.
    pub iprcc: u16,
    /// External interruption code.
    pub eic: u16,
    /// Added to the mask of the guest's PSW.
    pub wait: u64,
    /// Registers 1 to 3.
    pub registers: [u64; 3],
}

impl Record {
    /// As the SIE reads it: after `ticks` of TOD time in the guest, with the guest at `address`.
    pub fn encode(&self, ticks: u32, address: u64) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let flags = SET_PSW | SET_REGISTERS | if self.fault { FAULT } else { 0 };
        put(0, &[self.icptcode, flags]);
        put(2, &self.ipa.to_be_bytes());
        put(4, &self.ipb.to_be_bytes());
        put(8, &self.iprcc.to_be_bytes());
        put(10, &self.eic.to_be_bytes());
        put(12, &ticks.to_be_bytes());
        put(16, &(PSW_PLAIN | self.wait).to_be_bytes());
        put(24, &address.to_be_bytes());
        for (number, register) in self.registers.iter().enumerate() {
            put(32 + 8 * number, &register.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_the_c_side_reads_them() {
        let record =
            Record { icptcode: 4, ipa: 0x8312, ipb: 0x0044_0000, registers: [1, 2, 3], ..Record::default() };
        let bytes = record.encode(0x1000, 0x1_0000);
        assert_eq!(bytes[..12], [4, 3, 0x83, 0x12, 0, 0x44, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..16], [0, 0, 0x10, 0]);
        assert_eq!(bytes[16..24], PSW_PLAIN.to_be_bytes());
        assert_eq!(bytes[24..32], [0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((bytes[39], bytes[47], bytes[55]), (1, 2, 3));
        assert_eq!(bytes[56..], [0; 8]);
        let fault = Record { fault: true, ..Record::default() };
        assert_eq!(fault.encode(0, 0)[1], 7);
    }
}
