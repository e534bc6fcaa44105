//! Registers, memory and helpers.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, bail, ensure};
use tracer_ebpf::{
    abi::{ABSENT, Slot, Vcpu, vcpu_hint},
    config, symbols,
};

use super::program::Program;
use super::{LINE, Line};

/// Length of a region.
const REGION: u64 = 1 << 24;
/// Elements of a table.
const ELEMENTS: usize = 16;
const STACK: u64 = 0x3_0000_0000;
const STACK_LEN: usize = 512;
/// No path of an event is as long.
const MOST_STEPS: usize = 10_000;
/// Helpers by number (`include/uapi/linux/bpf.h`).
const LOOKUP: i32 = 1;
const CLOCK: i32 = 5;
const PROBE_READ: i32 = 113;
/// What every read of kernel memory gives.
const READ: u32 = 0x72;

struct Region {
    name: &'static str,
    base: u64,
    bytes: Vec<u8>,
    /// Of a map: the size of an element.
    element: Option<u64>,
}

/// A machine that runs one program at a time.
pub struct Machine {
    regions: Vec<Region>,
    given: HashMap<i32, u32>,
    hints: Option<u64>,
    /// What the clock says.
    pub now_ns: u64,
    /// The lines that were read or written, without those of the stack.
    pub touched: BTreeSet<Line>,
}

impl Machine {
    /// All memory is zero but for read-only data.
    pub fn new(program: &Program) -> Self {
        let map = |name, base, element: usize| Region {
            name,
            base,
            bytes: vec![0; element * ELEMENTS],
            element: Some(element as u64),
        };
        let data = |name: &'static str, base| Region {
            name,
            base,
            bytes: program.data.get(name).cloned().unwrap_or_default(),
            element: None,
        };
        let plain = |name, base, len| Region { name, base, bytes: vec![0; len], element: None };
        let regions = vec![
            map(symbols::VCPUS, 0x4_0000_0000, size_of::<Vcpu>()),
            map(symbols::SLOTS, 0x5_0000_0000, size_of::<Slot>()),
            data(".bss", 0x6_0000_0000),
            data(".rodata", 0x7_0000_0000),
            plain("context", super::CONTEXT, 64),
            plain("stack", STACK, STACK_LEN),
        ];
        let hints = program.variable("HINTS_BY_VCPU");
        Self { regions, given: HashMap::new(), hints, now_ns: 0, touched: BTreeSet::new() }
    }

    /// The numbers that the loader would put in; all others are absent.
    pub fn give(&mut self, given: &[(i32, u32)]) {
        self.given = given.iter().copied().collect();
    }

    fn region(&self, name: &str) -> Result<&Region> {
        self.regions.iter().find(|it| it.name == name).with_context(|| format!("no region {name}"))
    }

    fn element(&self, map: &str, index: usize) -> u64 {
        let region = self.region(map).expect("a map of the machine");
        region.base + index as u64 * region.element.expect("a map")
    }

    /// Writes an element of a map.
    pub fn put<T: Copy>(&mut self, map: &str, index: usize, value: &T) {
        let address = self.element(map, index);
        // SAFETY: any value can be seen as bytes; those of padding are never looked at.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) };
        self.bytes(address, bytes.len()).expect("in the map").copy_from_slice(bytes);
    }

    /// Reads the beginning of an element of a map.
    pub fn get<T: Copy>(&mut self, map: &str, index: usize) -> T {
        let address = self.element(map, index);
        let bytes = self.bytes(address, size_of::<T>()).expect("in the map");
        // SAFETY: types of the layout are integers only, any bytes are valid.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    }

    /// Notes the index of a vCPU's entry by its page.
    pub fn guess(&mut self, kvm_vcpu: u64, index: u32) {
        let hint = vcpu_hint(kvm_vcpu) as u64;
        let bss = self.region(".bss").expect("data").base;
        let address = bss + self.hints.expect("the guesses have a name") + hint * 4;
        self.bytes(address, 4).expect("in the data").copy_from_slice(&index.to_ne_bytes());
    }

    fn bytes(&mut self, address: u64, len: usize) -> Result<&mut [u8]> {
        let within = |it: &&mut Region| (it.base..it.base + REGION).contains(&address);
        let region =
            self.regions.iter_mut().find(within).with_context(|| format!("no memory at {address:#x}"))?;
        let at = (address - region.base) as usize;
        region.bytes.get_mut(at..at + len).with_context(|| format!("beyond {} by {at:#x}", region.name))
    }

    fn touch(&mut self, address: u64) {
        let within = |it: &&Region| (it.base..it.base + REGION).contains(&address);
        if let Some(region) = self.regions.iter().find(within).filter(|it| it.name != "stack") {
            self.touched.insert((region.name, (address - region.base) / LINE));
        }
    }

    fn load(&mut self, address: u64, size: usize) -> Result<u64> {
        self.touch(address);
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(self.bytes(address, size)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn store(&mut self, address: u64, size: usize, value: u64) -> Result<()> {
        self.touch(address);
        self.bytes(address, size)?.copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(())
    }

    /// Runs a program with these arguments of its event.
    ///
    /// # Errors
    /// If it calls another function, or uses what is not known here.
    pub fn run(&mut self, program: &Program, name: &str, context: u64, arguments: &[u64]) -> Result<()> {
        for (number, argument) in (0..).zip(arguments) {
            self.bytes(context + number * 8, 8)?.copy_from_slice(&argument.to_le_bytes());
        }
        let mut registers = [0_u64; 11];
        (registers[1], registers[10]) = (context, STACK + STACK_LEN as u64);
        let mut at = *program.entries.get(name).context("no such program")?;
        for _ in 0..MOST_STEPS {
            match self.step(program, at, &mut registers).with_context(|| format!("instruction {at}"))? {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
        bail!("it does not end")
    }

    /// One instruction; returns the number of the next, or none at the end.
    fn step(&mut self, program: &Program, at: usize, registers: &mut [u64; 11]) -> Result<Option<usize>> {
        let [code, both, offset_low, offset_high, immediate @ ..] = program.code[at];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        let offset = i16::from_le_bytes([offset_low, offset_high]);
        let number = i32::from_le_bytes(immediate);
        let value = if code & 8 == 0 { i64::from(number) as u64 } else { registers[from] };
        let place = |register: u64| register.wrapping_add_signed(offset.into());
        let mut next = at + 1;
        match code & 7 {
            // Loads and stores.
            0 if code == 0x18 => {
                let base = match program.targets.get(&at) {
                    Some(name) => self.region(name)?.base,
                    None => u64::from_le_bytes([
                        0,
                        0,
                        0,
                        0,
                        program.code[at + 1][4],
                        program.code[at + 1][5],
                        program.code[at + 1][6],
                        program.code[at + 1][7],
                    ]),
                };
                registers[to] = base.wrapping_add(u64::from(number as u32));
                next += 1;
            }
            1 => registers[to] = self.load(place(registers[from]), size(code))?,
            2 => self.store(place(registers[to]), size(code), i64::from(number) as u64)?,
            3 => self.store(place(registers[to]), size(code), registers[from])?,
            4 | 7 => {
                let wide = code & 7 == 7;
                let loaded = wide && code == 0xb7 && config::ALL.iter().any(|(mark, _)| *mark == number);
                let value = if loaded { self.constant(number) } else { value };
                let result = arithmetic(code, registers[to], value, wide)?;
                registers[to] = if wide { result } else { u64::from(result as u32) };
            }
            5 if code == 0x85 => registers[0] = self.call(number, registers)?,
            5 if code == 0x95 => return Ok(None),
            5 | 6 => {
                let wide = code & 7 == 5;
                let mark = code & 8 == 0 && config::ALL.iter().any(|(mark, _)| *mark == number);
                let jumps = if mark && wide {
                    (self.given.get(&number) == Some(&1)) == (code & 0xf0 == 0x10)
                } else if wide {
                    holds(code, registers[to], value)?
                } else {
                    holds(code, registers[to] as u32 as u64, value as u32 as u64)?
                };
                if jumps {
                    next = next.wrapping_add_signed(offset.into());
                }
            }
            _ => bail!("operation {code:#x} is not known"),
        }
        Ok(Some(next))
    }

    /// As it comes out of the instruction, which extends the sign.
    fn constant(&self, mark: i32) -> u64 {
        i64::from(*self.given.get(&mark).unwrap_or(&ABSENT) as i32) as u64
    }

    fn call(&mut self, helper: i32, registers: &[u64; 11]) -> Result<u64> {
        match helper {
            LOOKUP => {
                let index = self.load(registers[2], 4)?;
                let map = self.regions.iter().find(|it| it.base == registers[1]).context("no such map")?;
                let element = map.element.context("no map")?;
                ensure!(index < ELEMENTS as u64, "element {index}");
                Ok(map.base + index * element)
            }
            CLOCK => Ok(self.now_ns),
            PROBE_READ => {
                self.store(registers[1], registers[2] as usize, READ.into())?;
                Ok(0)
            }
            _ => bail!("function {helper}: the event left the usual path"),
        }
    }
}

fn size(code: u8) -> usize {
    [4, 2, 1, 8][usize::from(code >> 3 & 3)]
}

fn arithmetic(code: u8, to: u64, value: u64, wide: bool) -> Result<u64> {
    let by = value & if wide { 63 } else { 31 };
    let to_shift = if wide { to } else { u64::from(to as u32) };
    Ok(match code & 0xf0 {
        0x00 => to.wrapping_add(value),
        0x10 => to.wrapping_sub(value),
        0x20 => to.wrapping_mul(value),
        0x40 => to | value,
        0x50 => to & value,
        0x60 => to_shift << by,
        0x70 => to_shift >> by,
        0xa0 => to ^ value,
        0xb0 => value,
        _ => bail!("operation {code:#x} is not known"),
    })
}

fn holds(code: u8, to: u64, value: u64) -> Result<bool> {
    Ok(match code & 0xf0 {
        0x00 => true,
        0x10 => to == value,
        0x20 => to > value,
        0x30 => to >= value,
        0x40 => to & value != 0,
        0x50 => to != value,
        0xa0 => to < value,
        0xb0 => to <= value,
        _ => bail!("operation {code:#x} is not known"),
    })
}
