#!/usr/bin/env bash
# run_acceptance.sh PROGRAM SUITE_DIR: runs the black-box protocol and bad-input suites against the
# shipped 1-bit network. Extensions that this server does not announce are named as optional.
set -euo pipefail
program=$(realpath "$1"); suite=$(realpath "$2")
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
"$program" serve --model-repository "$root/models/repository" --host 127.0.0.1 --grpc-port 0 --metrics-port 0 \
  --model-control-mode explicit --load-model '*' --ready-file "$folder/ready.json" 2>"$folder/log" &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do [ -e "$folder/ready.json" ] && break; sleep 0.1; done
port=$("$root/.venv/bin/python" -c 'import json,sys; print(json.load(open(sys.argv[1]))["grpc_port"])' "$folder/ready.json")
cd "$folder"
for model in fmnist_tfc_w1a1 fmnist_wide_fp32; do
  echo "acceptance: $model"
  ACCEPT_ADDR=127.0.0.1:$port ACCEPT_MODEL=$model \
    ACCEPT_OPTIONAL=cuda_shared_memory,system_shared_memory,trace,logging \
    "$root/.venv/bin/python" -m pytest -q -p no:cacheprovider "$suite/test_protocol.py" "$suite/test_bad_input.py"
done
