//! Writes small perf.data recordings, as files and as streams, in either byte order: for what no lab records.
//! They are made up. The layouts are those of the kernel's `perf.data-file-format.txt` and `perf_event.h`.

/// IDENTIFIER, IP, TID, TIME, CPU, PERIOD, RAW: what `perf kvm stat record` asks for.
const SAMPLE_TYPE: u64 = 1 << 16 | 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 10;
/// Bytes of `struct perf_event_attr`.
const ATTR: usize = 128;
/// Bytes of a file's header.
const HEADER: usize = 104;
/// The id of the first event; the others follow.
const EVENT_ID: u64 = 11;
/// What the kernel says of its ring buffer's pages. perf wants it, exitlat does not.
const HEADER_PAGE: &str = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n";

/// A recording in the making.
#[derive(Clone, Debug)]
pub struct Builder {
    big_endian: bool,
    formats: Vec<(u16, String)>,
    facts: Vec<(u32, String)>,
    records: Vec<u8>,
}

impl Builder {
    /// An empty one.
    pub fn new(big_endian: bool) -> Self {
        Self { big_endian, formats: Vec::new(), facts: Vec::new(), records: Vec::new() }
    }

    /// One of a z/Architecture machine: big endian, with its tracepoints for leaving and entering SIE
    /// (`arch/s390/kvm/trace.h`), numbers 21 and 22.
    pub fn s390x() -> Self {
        let mut builder = Self::new(true);
        let common = [("int id", 8, 4), ("unsigned long pswmask", 16, 8), ("unsigned long pswaddr", 24, 8)];
        builder.tracepoint(21, "kvm_s390_sie_exit", &[&common[..], &[("u8 icptcode", 32, 1)]].concat());
        builder.tracepoint(22, "kvm_s390_sie_enter", &[&common[..], &[("int cpuflags", 32, 4)]].concat());
        builder.fact(9, "IBM,8561,703,T01,3.6,002f");
        builder.fact(6, "s390x");
        builder.fact(3, "mainframe");
        builder
    }

    /// One of an x86 machine, with its tracepoints, numbers 31 and 32.
    pub fn x86() -> Self {
        let mut builder = Self::new(false);
        let exit = [("unsigned int exit_reason", 8, 4), ("u32 isa", 24, 4), ("unsigned int vcpu_id", 28, 4)];
        builder.tracepoint(31, "kvm_exit", &exit);
        builder.fact(9, "AuthenticAMD,23,49,0");
        builder.fact(6, "x86_64");
        builder.tracepoint(32, "kvm_entry", &[("unsigned int vcpu_id", 8, 4)]);
        builder
    }

    /// Adds a tracepoint of system `kvm`: fields by declaration, offset, size.
    pub fn tracepoint(&mut self, id: u16, name: &str, fields: &[(&str, u32, u32)]) {
        let common = [
            ("unsigned short common_type", 0, 2),
            ("unsigned char common_flags", 2, 1),
            ("unsigned char common_preempt_count", 3, 1),
            ("int common_pid", 4, 4),
        ];
        let lines = |fields: &[(&str, u32, u32)]| {
            let line = |(declaration, offset, size): &(&str, u32, u32)| {
                format!("\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:0;\n")
            };
            fields.iter().map(line).collect::<String>()
        };
        let (common, fields) = (lines(&common), lines(fields));
        let text = format!("name: {name}\nID: {id}\nformat:\n{common}\n{fields}\nprint fmt: \"\"\n");
        self.formats.push((id, text));
    }

    /// Adds a feature section that is a string.
    pub fn fact(&mut self, feature: u32, text: &str) {
        self.facts.push((feature, text.to_owned()));
    }

    /// Adds a record. The kernel's own, but for samples, end with thread, time, CPU and event
    /// (`sample_id_all`).
    pub fn record(&mut self, kind: u32, misc: u16, body: &[u8]) {
        let trailer = if kind < 64 && kind != 9 { self.list(&[0, 0, 0, EVENT_ID]) } else { Vec::new() };
        self.framed(kind, misc, &[body, &trailer].concat());
    }

    /// Adds a record as it is.
    fn framed(&mut self, kind: u32, misc: u16, body: &[u8]) {
        let mut record = self.number(u64::from(kind), 4);
        record.extend(self.number(u64::from(misc), 2));
        record.extend(self.number(8 + body.len() as u64, 2));
        record.extend_from_slice(body);
        self.records.extend(record);
    }

    /// Adds a record of words of eight bytes.
    pub fn words(&mut self, kind: u32, misc: u16, words: &[u64]) {
        let body = self.list(words);
        self.record(kind, misc, &body);
    }

    /// Adds the kernel's record of lost events: the event and how many, then the process, thread, time and
    /// CPU of the record.
    pub fn lost(&mut self, event: u64, count: u64, (pid, tid): (u32, u32), time_ns: u64, cpu: u64) {
        let mut body = self.list(&[event, count]);
        body.extend([pid, tid].iter().flat_map(|number| self.number(u64::from(*number), 4)));
        body.extend(self.list(&[time_ns, cpu, event]));
        self.framed(2, 0, &body);
    }

    /// Adds the name of a process.
    pub fn comm(&mut self, pid: u32, name: &str) {
        let mut body = self.number(u64::from(pid), 4);
        body.extend(self.number(u64::from(pid), 4));
        body.extend_from_slice(name.as_bytes());
        body.resize(8 + 16, 0);
        self.record(3, 0, &body);
    }

    /// Adds the end of a thread.
    pub fn death(&mut self, pid: u32, tid: u32, time_ns: u64) {
        let mut body: Vec<u8> =
            [pid, 1, tid, 1].iter().flat_map(|number| self.number(u64::from(*number), 4)).collect();
        body.extend(self.number(time_ns, 8));
        self.record(4, 0, &body);
    }

    /// Adds a sample of a tracepoint: its number, then fields by offset, value, size.
    pub fn sample(&mut self, pid: u32, tid: u32, time_ns: u64, id: u16, fields: &[(usize, u64, usize)]) {
        let mut raw = vec![0; 36];
        for &(offset, value, size) in [(0, u64::from(id), 2)].iter().chain(fields) {
            raw[offset..offset + size].copy_from_slice(&self.number(value, size));
        }
        let event = self.formats.iter().position(|(known, _)| *known == id).expect("a tracepoint of ours");
        let mut body = self.list(&[EVENT_ID + event as u64, 0]);
        body.extend([pid, tid].iter().flat_map(|number| self.number(u64::from(*number), 4)));
        body.extend(self.list(&[time_ns, 0, 1]));
        body.extend(self.number(raw.len() as u64, 4));
        body.extend(raw);
        self.record(9, 0, &body);
    }

    /// Adds the mark that ends a round.
    pub fn finished_round(&mut self) {
        self.record(68, 0, &[]);
    }

    /// Packs the records so far as `perf record -z` does, in pieces of `size` bytes, each a block that is not
    /// compressed. Marks of rounds are never packed.
    pub fn pack(&mut self, size: usize) {
        // A window of 64 KiB.
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 6 << 3];
        let mut plain = Self { records: Vec::new(), ..self.clone() };
        let (mut rest, mut run) = (&self.records[..], Vec::new());
        while !rest.is_empty() {
            let length = self.read(&rest[6..8]);
            let (record, after) = rest.split_at(length);
            rest = after;
            let mark = self.read(&record[..4]) == 68;
            if !mark {
                run.extend_from_slice(record);
            }
            if mark || rest.is_empty() {
                for piece in run.chunks(size) {
                    packed.extend(&((piece.len() as u32) << 3).to_le_bytes()[..3]);
                    packed.extend_from_slice(piece);
                    plain.framed(81, 0, &std::mem::take(&mut packed));
                }
                run.clear();
            }
            if mark {
                plain.finished_round();
            }
        }
        *self = plain;
    }

    fn read(&self, bytes: &[u8]) -> usize {
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    /// The recording as a file.
    pub fn file(&self) -> Vec<u8> {
        let mut sections: Vec<(u32, Vec<u8>)> = vec![(1, self.tracing_data())];
        sections.extend(self.facts.iter().map(|(feature, text)| (*feature, self.string(text))));
        sections.sort_by_key(|(feature, _)| *feature);
        let events = self.formats.len() as u64;
        let attrs = HEADER as u64 + 8 * events;
        let size = (ATTR as u64 + 16) * events;
        let data = attrs + size;
        let after = data + self.records.len() as u64;
        let mut map = [0u64; 4];
        sections.iter().for_each(|(feature, _)| map[*feature as usize / 64] |= 1 << (feature % 64));

        let magic: &[u8; 8] = if self.big_endian { b"2ELIFREP" } else { b"PERFILE2" };
        let mut out = magic.to_vec();
        out.extend(self.list(&[HEADER as u64, ATTR as u64 + 16, attrs, size]));
        out.extend(self.list(&[data, self.records.len() as u64, 0, 0]));
        out.extend(self.list(&map));
        (0..events).for_each(|event| out.extend(self.list(&[EVENT_ID + event])));
        for (event, (id, _)) in (0..).zip(&self.formats) {
            out.extend(self.attr(*id));
            out.extend(self.list(&[HEADER as u64 + 8 * event, 8]));
        }
        out.extend(&self.records);
        let mut place = after + 16 * sections.len() as u64;
        for (_, section) in &sections {
            out.extend(self.list(&[place, section.len() as u64]));
            place += section.len() as u64;
        }
        sections.into_iter().for_each(|(_, section)| out.extend(section));
        out
    }

    /// The recording as a stream.
    pub fn stream(&self) -> Vec<u8> {
        let mut head = Self { records: Vec::new(), ..self.clone() };
        for (event, (id, _)) in (0..).zip(&self.formats) {
            let body = [self.attr(*id), self.list(&[EVENT_ID + event])].concat();
            head.record(64, 0, &body);
        }
        for (feature, text) in &self.facts {
            let body = [self.number(u64::from(*feature), 8), self.string(text)].concat();
            head.record(80, 0, &body);
        }
        let mut formats = self.tracing_data();
        formats.resize(formats.len().next_multiple_of(8), 0);
        head.record(66, 0, &self.number(formats.len() as u64, 4));

        let magic: &[u8; 8] = if self.big_endian { b"2ELIFREP" } else { b"PERFILE2" };
        let mut out = magic.to_vec();
        out.extend(self.list(&[16]));
        out.extend(head.records);
        out.extend(formats);
        out.extend(&self.records);
        out
    }

    fn attr(&self, id: u16) -> Vec<u8> {
        // `sample_id_all`. On a big-endian machine bit fields begin with the highest bit.
        let flags = if self.big_endian { (1u64 << 18).reverse_bits() } else { 1 << 18 };
        let mut attr = self.number(2, 4);
        attr.extend(self.number(ATTR as u64, 4));
        attr.extend(self.list(&[u64::from(id), 1, SAMPLE_TYPE, 0, flags]));
        attr.resize(ATTR, 0);
        attr
    }

    fn tracing_data(&self) -> Vec<u8> {
        let mut out = b"\x17\x08\x44tracing0.6\0".to_vec();
        out.extend([u8::from(self.big_endian), 8]);
        out.extend(self.number(4096, 4));
        for (name, text) in [("header_page\0", HEADER_PAGE), ("header_event\0", "")] {
            out.extend_from_slice(name.as_bytes());
            out.extend(self.number(text.len() as u64, 8));
            out.extend_from_slice(text.as_bytes());
        }
        out.extend(self.number(0, 4));
        out.extend(self.number(1, 4));
        out.extend_from_slice(b"kvm\0");
        out.extend(self.number(self.formats.len() as u64, 4));
        for (_, text) in &self.formats {
            out.extend(self.number(text.len() as u64, 8));
            out.extend_from_slice(text.as_bytes());
        }
        // No symbols, no strings of printk, no saved command names.
        out.extend([0; 4 + 4 + 8]);
        out
    }

    fn string(&self, text: &str) -> Vec<u8> {
        let mut out = self.number(64, 4);
        out.extend_from_slice(text.as_bytes());
        out.resize(4 + 64, 0);
        out
    }

    fn list(&self, words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| self.number(*word, 8)).collect()
    }

    fn number(&self, value: u64, size: usize) -> Vec<u8> {
        if self.big_endian {
            value.to_be_bytes()[8 - size..].to_vec()
        } else {
            value.to_le_bytes()[..size].to_vec()
        }
    }
}
