"""bench/history.json: the ratios of past comparisons, so that a slow-down is seen.

A list of records, oldest first: {"date", "cpu", "isa", "version", "peers": {NAME: VERSION},
"ratios": {"ITEM / PEER FORM": median ratio}, "ours_ms": {"ITEM": median}}.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from comparison import Measured, Spread

WORSE = 0.9  # of the last ratio: a slow-down


def read(path: Path) -> list[dict]:
    """Return the records; none when there is no file."""
    return json.loads(path.read_text()) if path.exists() else []


def record_of(machine: dict, cpu: str, peers: dict[str, str], results: list[Measured]) -> dict:
    """Return a run's record."""
    ratios = {f"{result.item.key} / {peer} {form}": round(result.ratio((peer, form)).median, 3)
              for result in results for peer, form in result.peers}
    ours = {result.item.key: round(Spread.of(result.ours).median, 5) for result in results}
    return {"date": time.strftime("%Y-%m-%d"), "cpu": cpu, "isa": machine["isa"],
            "version": machine["version"], "peers": peers, "ratios": ratios, "ours_ms": ours}


def slow_downs(records: list[dict], new: dict) -> list[str]:
    """Return a line for each ratio below 0.9 of its last one on the same CPU."""
    lines = []
    for key, ratio in new["ratios"].items():
        past = [record for record in records
                if record["cpu"] == new["cpu"] and record["isa"] == new["isa"]
                and key in record["ratios"]]
        if past and ratio < WORSE * past[-1]["ratios"][key]:
            lines.append(f"worse: {key}: {ratio:.2f}, was {past[-1]['ratios'][key]:.2f} on "
                         f"{past[-1]['date']}")
    return lines


def append(path: Path, record: dict) -> None:
    """Add a record to the end."""
    path.write_text(json.dumps([*read(path), record], indent=1) + "\n")
