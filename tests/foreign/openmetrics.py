"""Parses metrics with Prometheus' Python client and holds them against the JSON of the same dump.

Files that end in .om are OpenMetrics; others are in the text format 0.0.4, for which the client has a parser of
its own.
"""

import json
import sys
from collections import Counter, defaultdict
from decimal import Decimal

from prometheus_client import parser as text_format
from prometheus_client.openmetrics import parser as openmetrics


PARTS = ("guest", "kernel", "poll", "halt", "blocked", "runqueue", "user", "user_blocked", "stopped")


def key(labels):
    return labels["vm"], labels["pid"], labels["tid"], labels["isa"], labels["reason"], labels["idle"]


def plain(name):
    """A name as the metrics have it: control characters and direction marks written out."""
    marks = set("\u202e")
    return "".join(c.encode("unicode_escape").decode() if ord(c) < 32 else
                   "\\u{202e}" if c in marks else c for c in name)


def main(metrics, rows):
    counts, sums, buckets, losses = Counter(), defaultdict(int), defaultdict(Counter), Counter()
    parts, threads = Counter(), Counter()
    with open(rows, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["kind"] == "loss":
                losses[row["detail"]] += row["count"]
            into = {"exit": parts, "vcpu": threads}.get(row["kind"], {})
            for part in PARTS if row["kind"] in ("exit", "vcpu") else ():
                if row[f"{part}_ns"] is not None:
                    into[part] += row[f"{part}_ns"]
            if row["kind"] != "exit":
                continue
            name = (plain(row["vm"]), str(row["pid"]), str(row["tid"]), row["isa"], row["reason"],
                    str(row["idle"]).lower())
            counts[name] += row["count"]
            sums[name] += row["sum_ns"]
            for low, high, count in row["buckets"]:
                buckets[name][high] += count
    assert counts, "no rows at all"
    with open(metrics, encoding="utf-8") as text:
        text = text.read()
    is_open = metrics.endswith(".om")
    assert text.endswith("# EOF\n") == is_open
    form = openmetrics if is_open else text_format
    families = {family.name: family for family in form.text_string_to_metric_families(text)}
    exits = {key(s.labels): s.value for s in families["exitlat_exits"].samples}
    assert exits == counts, (set(exits) ^ set(counts))
    duration = families["exitlat_exit_duration_seconds"]
    assert (duration.type, duration.unit) == ("histogram", "seconds" if is_open else "")
    assert families["exitlat_exits"].type == "counter"
    seen = 0
    for sample in duration.samples:
        name = key(sample.labels)
        if sample.name.endswith("_count"):
            assert sample.value == counts[name]
        elif sample.name.endswith("_sum"):
            assert Decimal(str(sample.value)) == Decimal(sums[name]) / 10**9, (name, sample.value)
        elif sample.labels["le"] == "+Inf":
            assert sample.value == counts[name]
        else:
            limit = round(float(sample.labels["le"]) * 1e9)
            below = sum(n for high, n in buckets[name].items() if high is not None and high <= limit + 1)
            assert sample.value == below, (name, limit, sample.value, below)
            seen += 1
    assert seen == 28 * len(counts), seen
    for name, expected in (("exitlat_exit_part_seconds", parts), ("exitlat_vcpu_seconds", threads)):
        found = Counter()
        for sample in families[name].samples if name in families else ():
            found[sample.labels["part"]] += round(sample.value * 1e9)
        assert found == expected, (name, found, expected)
    lost = {s.labels["cause"]: s.value for s in families["exitlat_losses"].samples if s.value}
    assert lost == losses, (lost, losses)
    recording = families["exitlat_recording" if is_open else "exitlat_recording_info"]
    assert recording.type == ("info" if is_open else "gauge")
    assert recording.samples[0].labels["host"] == "node-17"
    print(f"samples: {sum(len(family.samples) for family in families.values())}")


main(*sys.argv[1:])
