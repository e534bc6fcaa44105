//! Program interruption codes, seen in `kvm_s390_intercept_prog`.
//!
//! Mirrors `icpt_prog_codes` of `arch/s390/include/uapi/asm/sie.h`.

use super::Label;

/// Set beside a code when a PER event came with it (`PGM_PER`, `arch/s390/include/asm/kvm_host.h`).
pub const PER: u32 = 0x80;

/// The codes that have a name.
pub static CODES: &[Label] = &[
    (0x0001, "Prog Operation"),
    (0x0002, "Prog Privileged Operation"),
    (0x0003, "Prog Execute"),
    (0x0004, "Prog Protection"),
    (0x0005, "Prog Addressing"),
    (0x0006, "Prog Specification"),
    (0x0007, "Prog Data"),
    (0x0008, "Prog Fixedpoint overflow"),
    (0x0009, "Prog Fixedpoint divide"),
    (0x000a, "Prog Decimal overflow"),
    (0x000b, "Prog Decimal divide"),
    (0x000c, "Prog HFP exponent overflow"),
    (0x000d, "Prog HFP exponent underflow"),
    (0x000e, "Prog HFP significance"),
    (0x000f, "Prog HFP divide"),
    (0x0010, "Prog Segment translation"),
    (0x0011, "Prog Page translation"),
    (0x0012, "Prog Translation specification"),
    (0x0013, "Prog Special operation"),
    (0x0015, "Prog Operand"),
    (0x0016, "Prog Trace table"),
    (0x0017, "Prog ASNtranslation specification"),
    (0x001c, "Prog Spaceswitch event"),
    (0x001d, "Prog HFP square root"),
    (0x001f, "Prog PCtranslation specification"),
    (0x0020, "Prog AFX translation"),
    (0x0021, "Prog ASX translation"),
    (0x0022, "Prog LX translation"),
    (0x0023, "Prog EX translation"),
    (0x0024, "Prog Primary authority"),
    (0x0025, "Prog Secondary authority"),
    (0x0026, "Prog LFXtranslation exception"),
    (0x0027, "Prog LSXtranslation exception"),
    (0x0028, "Prog ALET specification"),
    (0x0029, "Prog ALEN translation"),
    (0x002a, "Prog ALE sequence"),
    (0x002b, "Prog ASTE validity"),
    (0x002c, "Prog ASTE sequence"),
    (0x002d, "Prog Extended authority"),
    (0x002e, "Prog LSTE sequence"),
    (0x002f, "Prog ASTE instance"),
    (0x0030, "Prog Stack full"),
    (0x0031, "Prog Stack empty"),
    (0x0032, "Prog Stack specification"),
    (0x0033, "Prog Stack type"),
    (0x0034, "Prog Stack operation"),
    (0x0039, "Prog Region first translation"),
    (0x003a, "Prog Region second translation"),
    (0x003b, "Prog Region third translation"),
    (0x0040, "Prog Monitor event"),
    (0x0080, "Prog PER event"),
    (0x0119, "Prog Crypto operation"),
];
