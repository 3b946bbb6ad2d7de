"""The sections of docs/benchmarks.md that programs write, and the machine's name."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path


def cpu_name() -> str:
    """Return the processor's name as the system gives it, with what tells its generation."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.processor() or "unknown CPU")
    return f"{name} (family {facts.get('cpu family', '?')} model {facts.get('model', '?')})"


def machine_section(what: str) -> tuple[str, str]:
    """Return marker and title of this machine's section: each processor keeps its own."""
    slug = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    return f"{what.lower()} {slug}", f"{what} on {cpu_name()}"


def write_section(path: Path, name: str, text: str, title: str = "") -> None:
    """Replace what stands between the markers of section `name`, or add it to the end."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text() if path.exists() else "# Benchmarks\n"
    section = f"{begin}\n{text.strip()}\n{end}"
    start, stop = old.find(begin), old.find(end)
    if 0 <= start < stop:
        new = old[:start] + section + old[stop + len(end):]
    else:
        new = f"{old.rstrip()}\n\n## {title or name.capitalize()}\n\n{section}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(new)
