#!/usr/bin/env python3
"""Use up something of the machine until it is ended: a load that an experiment puts beside a server.

Usage:  hog.py spin                 a CPU
        hog.py stream [--mib N]     memory bandwidth: copies N MiB to and fro

Exit status: none of its own; it is ended by a signal.
"""

from __future__ import annotations

import argparse
import ctypes
import sys


def spin() -> None:
    """Compute for nothing."""
    while True:
        sum(range(100_000))


def stream(mib: int) -> None:
    """Copy a buffer into another one and back, larger than caches."""
    size = mib << 20
    one, other = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    while True:
        ctypes.memmove(one, other, size)
        ctypes.memmove(other, one, size)


def main(argv: list[str]) -> int:
    """Do what was asked for, without end."""
    parser = argparse.ArgumentParser(description="Use up something of the machine.")
    parser.add_argument("kind", choices=["spin", "stream"])
    parser.add_argument("--mib", type=int, default=256, help="of each of two buffers")
    options = parser.parse_args(argv)
    if options.kind == "spin":
        spin()
    else:
        stream(options.mib)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
