#!/usr/bin/env bash
# Checks everything in deploy/ that can be checked without a container engine or a cluster. What
# needs a program that is not installed is skipped and named.
#
#   deploy/check.sh        promtool: apt install prometheus; PyYAML: apt install python3-yaml
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1 || { echo "skipped: $2 ($1 is not installed)"; return 1; }; }

if have promtool "Prometheus rules, their tests, scrape configuration"; then
  promtool check rules --lint=all --lint-fatal deploy/prometheus/*.yml
  promtool test rules deploy/prometheus/tests/*.yml
  # Debian builds Prometheus without Kubernetes discovery: scrape/kubernetes.yml is read below.
  promtool check config --syntax-only deploy/prometheus/scrape/compose.yml
fi
if have kubectl "rendering of deploy/kubernetes"; then
  for folder in deploy/kubernetes deploy/kubernetes-autoscale; do
    kubectl kustomize "$folder" | grep -c '^kind:' | sed "s|^|$folder: objects rendered: |"
  done
fi
if have hadolint "Dockerfile"; then hadolint Dockerfile; fi

python3 deploy/grafana/make_overview.py --check
python=""
for candidate in .venv/bin/python python3; do
  if "$candidate" -c 'import yaml' >/dev/null 2>&1; then python=$candidate; break; fi
done
if [ -n "$python" ]; then
  "$python" deploy/check_files.py
else
  echo "skipped: agreement of the files in deploy/ (PyYAML is not installed)"
fi
