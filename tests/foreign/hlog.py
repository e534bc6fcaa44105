"""Reads an interval log with HdrHistogram's Python port and holds it against the JSON of the same dump."""

import json
import math
import sys
from collections import defaultdict
from urllib.parse import unquote

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

QUANTILES = (50.0, 90.0, 99.0, 99.9, 100.0)


def merged(rows):
    """Count, sum, extremes and buckets of several rows."""
    buckets = defaultdict(int)
    for row in rows:
        for low, high, count in row["buckets"]:
            buckets[low, math.inf if high is None else high] += count
    return {
        "count": sum(row["count"] for row in rows),
        "min": min((row["min_ns"] for row in rows), default=0),
        "max": max((row["max_ns"] for row in rows), default=0),
        "buckets": sorted(buckets.items()),
    }


def bucket_of(expected, percentile):
    """The bucket that holds a percentile, of the rank that the port rounds it to."""
    rank, seen = max(1, int(percentile / 100 * expected["count"] + 0.5)), 0
    for bounds, count in expected["buckets"]:
        seen += count
        if seen >= rank:
            return bounds
    raise AssertionError("no such rank")


def check(histogram, expected, what):
    assert histogram.get_total_count() == expected["count"], what
    if not expected["count"]:
        return
    for percentile in QUANTILES:
        found = histogram.get_value_at_percentile(percentile)
        low, high = bucket_of(expected, percentile)
        # The port answers with the end of its own cell, a thousandth wide.
        assert low <= found * 1.001 + 1 and found <= high * 1.001 + 1, (what, percentile, found, low, high)
    for name, found in (("min", histogram.get_min_value()), ("max", histogram.get_max_value())):
        assert abs(found - expected[name]) <= expected[name] / 1000 + 1, (what, name, found, expected[name])


def main(log, rows):
    by_tag, by_interval, intervals = defaultdict(list), defaultdict(list), {}
    with open(rows, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["kind"] != "exit":
                continue
            intervals[row["interval"]] = row
            by_tag[row["interval"], f"{row['vm']}[{row['pid']}]", row["reason"]].append(row)
            if not row["idle"]:
                by_interval[row["interval"]].append(row)
    assert by_tag, "no rows at all"
    reader = HistogramLogReader(log, HdrHistogram(1, 3_600_000_000_000, 3))
    number, read = 0, 0
    while histogram := reader.get_next_interval_histogram():
        tag = histogram.get_tag()
        if tag is None:
            number += 1
            check(histogram, merged(by_interval[number]), number)
            row = intervals[number]
            end = histogram.get_end_time_stamp()
            # Whole milliseconds on both sides.
            assert abs(end - row["end_unix_ms"]) <= 2, (end, row["end_unix_ms"])
        else:
            vm, reason = map(unquote, tag.split("/"))
            check(histogram, merged(by_tag.pop((number, vm, reason))), tag)
        read += 1
    assert number == len(intervals), (number, len(intervals))
    assert not by_tag, list(by_tag)[:3]
    print(f"histograms: {read}")


main(*sys.argv[1:])
