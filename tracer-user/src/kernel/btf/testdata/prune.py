#!/usr/bin/env python3
"""Cuts a kernel's BTF down to the types the tests ask for.

    prune.py DIR OUT    DIR and OUT hold vmlinux and, if there are any, kvm, kvm_intel, kvm_amd

Types stay in the file they were in, in order, under new numbers; a reference to a type that is not kept becomes void.
Structures keep all members with their names and places. See README.md.
"""
import os
import struct
import sys

FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
REFERS = {2, 7, 8, 9, 10, 11, 12, 18}
TYPEDEFS = {b"btf_trace_kvm_exit", b"btf_trace_kvm_entry"}
FUNCS = {b"__traceiter_kvm_exit", b"__traceiter_kvm_entry"}
STRUCTS = {b"vcpu_vmx", b"vcpu_vt", b"vcpu_svm", b"vmcb"}
# Members of structures whose types are kept; of other structures, those embedded directly.
FOLLOW = {b"kvm_vcpu": {b"vcpu_id"}, b"vmcb_control_area": {b"exit_code"}, b"vmcb": {b"control"},
          b"vcpu_svm": {b"vcpu", b"vmcb", b"vmcb01"}, b"kvm_vmcb_info": {b"ptr"}}


class File:
    def __init__(self, path, base):
        data = open(path, "rb").read()
        _, _, _, self.hdr, t, tl, s, sl = struct.unpack_from("<HBBIIIII", data)
        self.strings = data[self.hdr + s:self.hdr + s + sl]
        self.first_string = base.first_string + len(base.strings) if base else 0
        self.first = base.first + len(base.types) if base else 1
        self.base, self.types, at, end = base, [], self.hdr + t, self.hdr + t + tl
        while at < end:
            name, info, size = struct.unpack_from("<III", data, at)
            kind, vlen = info >> 24 & 0x7F, info & 0xFFFFFF
            n = FIXED.get(kind, 0) + EACH.get(kind, 0) * vlen
            self.types.append((name, info, size, list(struct.unpack_from(f"<{n // 4}I", data, at + 12))))
            at += 12 + n

    def get(self, i):
        return self.types[i - self.first] if i >= self.first else self.base.get(i)

    def name(self, off):
        if off < self.first_string:
            return self.base.name(off)
        off -= self.first_string
        return self.strings[off:self.strings.index(0, off)]


def refs(kind, body):
    """Places in a body that hold type ids, each with the place of the name that goes with it."""
    if kind in (4, 5):
        return [(i + 1, i) for i in range(0, len(body), 3)]
    if kind == 13:
        return [(i + 1, i) for i in range(0, len(body), 2)]
    return [(0, None), (1, None)] if kind == 3 else []


def keep(f, i, kept, depth):
    if i == 0 or i in kept or depth > 8:
        return
    name, info, size, body = f.get(i)
    kind = info >> 24 & 0x7F
    kept.add(i)
    if kind in REFERS or kind == 13:
        keep(f, size, kept, depth)
    follow = FOLLOW.get(f.name(name))
    for place, named in refs(kind, body):
        if kind in (4, 5):
            if follow is not None and f.name(body[named]) not in follow:
                continue
            # Through pointers only where named above.
            target = f.get(body[place]) if body[place] else (0, 0, 0, [])
            if follow is None and target[1] >> 24 & 0x7F in (2, 3):
                continue
            keep(f, body[place], kept, depth + (3 if follow is None else 0))
        else:
            keep(f, body[place], kept, depth)


def main(src, out):
    files, vmlinux = {}, File(f"{src}/vmlinux", None)
    files["vmlinux"] = vmlinux
    for module in ("kvm", "kvm_intel", "kvm_amd"):
        if os.path.exists(f"{src}/{module}"):
            files[module] = File(f"{src}/{module}", vmlinux)
    base_kept, module_kept = set(), {}
    for module, f in files.items():
        kept = set()
        for i, (name, info, _, _) in enumerate(f.types, f.first):
            wanted = {8: TYPEDEFS, 12: FUNCS, 4: STRUCTS | ({b"kvm_vcpu"} if module == "vmlinux" else set())}
            if f.name(name) in wanted.get(info >> 24 & 0x7F, ()):
                keep(f, i, kept, 0)
        base_kept |= {i for i in kept if i < vmlinux.first + len(vmlinux.types)}
        module_kept[module] = {i for i in kept if i >= f.first}
    module_kept["vmlinux"] = base_kept
    ids, texts = {0: 0}, {b"": 0}
    new_first_string = 1
    os.makedirs(out, exist_ok=True)
    for module, f in files.items():
        # A module's own numbers start over for each module; those of vmlinux stay.
        local_ids = dict(ids)
        local_texts = dict(texts)
        strings = b"\0"
        start = 0 if module == "vmlinux" else new_first_string

        def text(off):
            nonlocal strings
            s = f.name(off)
            if s not in local_texts:
                local_texts[s] = start + len(strings)
                strings += s + b"\0"
            return local_texts[s]

        for i in sorted(module_kept[module]):
            local_ids[i] = len(local_ids)
        types = b""
        for i in sorted(module_kept[module]):
            name, info, size, body = f.get(i)
            kind = info >> 24 & 0x7F
            body = list(body)
            for place, named in refs(kind, body):
                body[place] = local_ids.get(body[place], 0)
                if named is not None:
                    body[named] = text(body[named])
            if kind in REFERS or kind == 13:
                size = local_ids.get(size, 0)
            if kind in (6, 19):
                body, info = [], info & 0xFF000000
            types += struct.pack(f"<III{len(body)}I", text(name), info, size, *body)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        open(f"{out}/{module}", "wb").write(header + types + strings)
        if module == "vmlinux":
            ids, texts, new_first_string = local_ids, local_texts, len(strings)


main(*sys.argv[1:])
