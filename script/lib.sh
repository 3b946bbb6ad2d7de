# Shared by the scripts in this folder: progress lines, and the root of the project as $root.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started=$(date +%s)

step() { printf '\n\033[1m[%4ds] %s\033[0m\n' "$(($(date +%s) - started))" "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
jobs() { nproc; }

# A second checkout of the same sources finds the compiler's results of the first.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1
# What ccache asks for where headers are precompiled.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}
