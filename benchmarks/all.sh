#!/usr/bin/env bash
# Takes every result again and fills docs/evaluation.md: about an hour on a machine that does nothing else.
#
#   benchmarks/all.sh [PYTHON [OPTION…]]      options such as --rounds 3 go to every figure taken by turns
#
# NATIVE=PYTHON names the interpreter of an environment with the native path (docs/decisions/0022), DEBIAN=PYTHON that of
# one of Debian's own Python; without them their results stay as they are.
set -euo pipefail
# Absolute, since we leave the directory: .venv/bin/python must stay that one. A link is not followed, it is the environment.
absolute() {
    local found
    found=$(type -P "$1") || { echo "all.sh: $1 is not a program" >&2; return 1; }
    (cd "$(dirname "$found")" && echo "$PWD/$(basename "$found")")
}
python=$(absolute "${1:-python3}")
shift || true
for name in NATIVE DEBIAN; do
    [[ -z ${!name:-} ]] || declare "$name=$(absolute "${!name}")"
done
cd "$(dirname "${BASH_SOURCE[0]}")"
[[ -d peers/.installed ]] || peers/install.sh "$python"

"$python" floor_ratio.py "$@"
if [[ -n ${NATIVE:-} ]]; then
    "$NATIVE" floor_ratio.py --out results/floor-ratio-native.json "$@"
    "$NATIVE" peers.py --durability disk --peers etcd --out results/peers-disk-native.json "$@"
fi
if [[ -n ${DEBIAN:-} ]]; then
    "$DEBIAN" floor_ratio.py --out results/floor-ratio-debian.json "$@"
    "$DEBIAN" peers.py --durability disk --peers etcd --out results/peers-disk-debian.json "$@"
fi
"$python" fault_scalability.py "$@"
if [[ -n ${NATIVE:-} ]]; then
    "$NATIVE" fault_scalability.py --no-agreement --rounds 15 --out results/fault-scalability-native.json "$@"
fi
"$python" breakdown.py "$@"
"$python" throughput_scalability.py "$@"
"$python" contention.py "$@"
"$python" combining.py "$@"
"$python" peers.py --durability disk "$@"
"$python" peers.py --durability memory "$@"
"$python" faults_timeline.py --durable
"$python" memory.py --million
"$python" nfs.py
"$python" play_page.py # needs chromium, and the extra `browser`
"$python" evaluation.py
