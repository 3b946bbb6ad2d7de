#!/usr/bin/env bash
# What serving costs: builds, measures echo, identity and the shipped 1-bit MLP side by side, prints
# a table with a verdict per bar and writes it into docs/benchmarks.md. Options go to the measuring
# program; --help lists them. Takes about 2 minutes when built.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD_DIR:-$root/build/release}
cd "$root"
if [ ! -f "$build/build.ninja" ]; then cmake --preset release -B "$build"; fi
cmake --build "$build" --target bitmill bitmill_echo_server
exec python3 bench/serving/measure.py --build "$build" "$@"
