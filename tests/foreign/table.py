"""Reads the CSV strictly and holds it against the JSON of the same dump."""

import csv
import json
import sys


def main(table, rows):
    with open(rows, encoding="utf-8") as lines:
        objects = [json.loads(line) for line in lines]
    assert objects[0]["kind"] == "header" and objects[0]["schema"] == "exitlat.export/1"
    with open(table, encoding="utf-8", newline="") as text:
        text = text.read()
    assert text.count("\r\n") == text.count("\n"), "RFC 4180 wants CRLF, and no name may break a line"
    records = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    assert len(records) == len(objects) - 1, (len(records), len(objects))
    kinds = set()
    for record, row in zip(records, objects[1:]):
        assert None not in record and None not in record.values(), record
        kinds.add(row["kind"])
        for name, text in record.items():
            assert not text.startswith(("=", "+", "-", "@", "\t", "\r")), (name, text)
            value = row[name]
            if name == "vm":
                continue
            if value is None:
                assert text == "", (name, text)
            elif isinstance(value, bool):
                assert text == str(value).lower(), (name, text)
            elif isinstance(value, float):
                assert abs(float(text) - value) < 0.001, (name, text, value)
            else:
                assert text == str(value), (name, text, value)
    assert {"exit", "open", "loss"} <= kinds, kinds
    print(f"lines: {len(records)}")


main(*sys.argv[1:])
