#!/usr/bin/env bash
# What the CUDA kernels compute and how fast, on the GPU that is here: builds, checks them against the reference on fresh
# random inputs, times them beside what the card can do, and writes gpu_bench.json and gpu_bench.md into OUT (default
# build/gpu). Needs a driver and nvcc; with torch in $PYTHON also the vendor's products of bytes and halves, with bitblas its
# product of 2-bit weights and bytes. Ends with 3 and a line that says so when there is no device. Options go to
# bitmill_gpu_bench.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD_DIR:-$root/build/release}
out=${OUT:-$root/build/gpu}
cd "$root"
if [ ! -f "$build/build.ninja" ]; then cmake --preset release -B "$build"; fi
cmake --build "$build" --target bitmill_gpu_bench
mkdir -p "$out"
"$build/bench/gpu/bitmill_gpu_bench" "$@" | tee "$out/gpu_bench.txt"
"${PYTHON:-python3}" bench/gpu/report.py "$out/gpu_bench.txt" --json "$out/gpu_bench.json" --markdown "$out/gpu_bench.md"
