#!/usr/bin/env bash
# The latencies of Debian's nfs-ganesha (VFS) for docs/evaluation.md: by benchmarks/nfs.py, in a network of its own, as root.
#   apt-get install nfs-ganesha nfs-ganesha-vfs rpcbind iproute2; benchmarks/nfs_ganesha.sh .venv/bin/python
set -euo pipefail
python=${1:-python3}
scratch=$(mktemp -d)
space=ffganesha$$
mkdir "$scratch/tree"
cat >"$scratch/conf" <<CONF
NFS_CORE_PARAM { NFS_Port=20499; MNT_Port=20498; Protocols=3; Enable_NLM=false; Enable_RQUOTA=false; }
EXPORT_DEFAULTS { Access_Type=RW; Squash=No_Root_Squash; SecType=sys; Transports=TCP; Protocols=3; }
EXPORT { Export_Id=1; Path=$scratch/tree; Pseudo=/tree; FSAL { Name=VFS; } }
CONF
ip netns add "$space"
finish() {
    for process in $(ip netns pids "$space"); do kill "$process" || true; done
    ip netns del "$space"
    rm -rf "$scratch"
}
trap finish EXIT
ip netns exec "$space" ip link set lo up
ip netns exec "$space" rpcbind -f -w &
sleep 1
ip netns exec "$space" ganesha.nfsd -F -f "$scratch/conf" -L "$scratch/log" -p "$scratch/pid" &
for _ in $(seq 100); do
    ip netns exec "$space" ss -ltn | grep -q :20499 && break
    sleep 0.2
done
ip netns exec "$space" "$python" "$(dirname "$0")/nfs.py" --server "20499:20498:$scratch/tree"
