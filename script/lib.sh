# Shared by the scripts in this folder: progress lines, and the root of the project as $root.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started=$(date +%s)

# A progress line; when the script ends it says how long each step took.
steps=()
step() {
  steps+=("$(date +%s) $*")
  printf '\n\033[1m[%4ds] %s\033[0m\n' "$(($(date +%s) - started))" "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi
}
step_times() {
  local i next
  [ ${#steps[@]} -gt 1 ] || return 0
  printf '\nseconds of each step:'
  for i in "${!steps[@]}"; do
    next=${steps[$((i + 1))]:-$(date +%s)}
    printf ' %s %d,' "${steps[$i]#* }" "$((${next%% *} - ${steps[$i]%% *}))"
  done
  printf ' together %d\n' "$(($(date +%s) - started))"
}
trap step_times EXIT
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
jobs() { nproc; }

# A second checkout of the same sources finds the compiler's results of the first.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1
# What ccache asks for where headers are precompiled.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}
