#!/usr/bin/env bash
# Takes every result again and fills docs/evaluation.md: about an hour on a machine that does nothing else.
#
#   benchmarks/all.sh [PYTHON [OPTION…]]      options such as --rounds 3 go to every figure
#
# COMPILED=PYTHON names the interpreter of an environment with the compiled hot path (docs/decisions/0003); without it the
# results of that one stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${1:-python3}
shift || true
[[ -d peers/.installed ]] || peers/install.sh "$python"

"$python" floor_ratio.py "$@"
if [[ -n ${COMPILED:-} ]]; then
    "$COMPILED" floor_ratio.py --out results/floor-ratio-compiled.json "$@"
fi
"$python" fault_scalability.py "$@"
if [[ -n ${COMPILED:-} ]]; then
    "$COMPILED" fault_scalability.py --no-agreement --out results/fault-scalability-compiled.json "$@"
fi
"$python" breakdown.py "$@"
"$python" throughput_scalability.py "$@"
"$python" contention.py "$@"
"$python" combining.py "$@"
"$python" peers.py --durability disk "$@"
"$python" peers.py --durability memory "$@"
"$python" faults_timeline.py --durable
"$python" memory.py --million
"$python" evaluation.py
