#!/bin/bash
# Runs as init of a user-mode Linux: mounts the gateway's tree by the kernel's own client and works in it.
# Words on the kernel's command line: address= and gateway= and port= of the network, work= which part, repo= this checkout.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir -p /run/m/lib /mnt/nfs
ln -s /usr/lib/uml/modules /run/m/lib/modules
modprobe -d /run/m nfs
modprobe -d /run/m nfsv3
for word in $(cat /proc/cmdline); do
    case $word in address=* | gateway=* | port=* | work=* | repo=* | options=*) declare "${word%%=*}=${word#*=}" ;; esac
done
ip link set lo up
ip addr add "$address/24" dev vec0
ip link set vec0 up
echo 1 >/proc/sys/vm/overcommit_memory
mount -t nfs -o "vers=3,nolock,proto=tcp,port=$port,mountport=$port,mountproto=tcp,$options" "$gateway:/x" /mnt/nfs ||
    { echo "RESULT no mount"; poweroff -f; }
cd /mnt/nfs || poweroff -f

drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }

work_git() {
    git config --global user.email a@b.c && git config --global user.name n && git config --global init.defaultBranch m
    git init -q repo && cp -r "$repo/src/fivefold/gateways" "$repo/tests/unit" repo/ && cd repo &&
        git add . && git commit -qm one && cd .. && git clone -q repo clone && drop_caches &&
        git -C clone fsck --strict --no-progress && diff -r repo/gateways clone/gateways && rm -rf repo clone
}

work_tar() {
    tar -C "$repo" --exclude=__pycache__ -cf /run/in.tar src/fivefold docs/how-to docs/concepts && mkdir in &&
        tar -xf /run/in.tar -C in && drop_caches && tar -C in -cf /run/out.tar src docs && mkdir /run/in /run/out &&
        tar -xf /run/in.tar -C /run/in && tar -xf /run/out.tar -C /run/out && diff -r /run/in /run/out && rm -r in
}

work_postmark() {
    mkdir mark && printf 'set location mark\nset number 60\nset transactions 200\nset size 500 20000\nrun\nquit\n' |
        postmark >/run/mark.log && ! grep -i error /run/mark.log && rm -r mark
}

work_dbench() { mkdir bench && timeout 60 dbench -D bench -t 4 2 >/run/bench.log 2>&1 && rm -r bench; }

# Bounded by operations, not by time: over a network each takes milliseconds, and each stressor tidies up after itself.
work_stress() {
    mkdir stress || return 1
    for words in "dentry 1 --dentries 32 --dentry-ops 64" "dir 1 --dir-dirs 64 --dir-ops 64" "rename 1 --rename-ops 50" \
        "chmod 1 --chmod-ops 20" "utime 1 --utime-ops 50" "touch 1 --touch-ops 50"; do
        echo "STRESSOR $words"
        # shellcheck disable=SC2086
        stress-ng --temp-path stress --timeout 20 --$words >/run/stress.log 2>&1 || { cat /run/stress.log; return 1; }
        ! grep -i -E 'fail|errno' /run/stress.log || return 1
    done
    rm -r stress
}

# These two make 8192 links each, however little they are asked for.
work_links() {
    mkdir links || return 1
    for stressor in link symlink; do
        echo "STRESSOR $stressor"
        stress-ng --temp-path links --timeout 5 "--$stressor" 1 >/run/stress.log 2>&1 || { cat /run/stress.log; return 1; }
        ! grep -i -E 'fail|errno' /run/stress.log || return 1
    done
    rm -r links
}

# Another client does the same at the same time; of each name just one of the two may succeed.
work_race() {
    touch ready
    until [[ -e go ]]; do sleep 0.05; done
    set -o noclobber
    for i in $(seq 30); do
        mkdir "d$i" 2>/dev/null && echo "WON mkdir $i"
        { true >"f$i"; } 2>/dev/null && echo "WON create $i"
        ln source "l$i" 2>/dev/null && echo "WON link $i"
        mv "m$i" "kernel$i" 2>/dev/null && echo "WON rename $i"
    done
    true
}

for part in ${work//,/ }; do
    echo "PART $part"
    "work_$part"
    status=$?
    cd /mnt/nfs || status=1
    [[ $status == 0 ]] || break
done
cd /
umount /mnt/nfs || status=$?
dmesg | grep -i -E 'nfs.*(error|not responding)|I/O error' && status=1
echo "RESULT $status"
poweroff -f
