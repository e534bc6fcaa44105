#!/bin/busybox sh
# The guest's first process: makes a usable system, loads KVM, runs one command, powers off.
#
# The host reads the serial port: everything between the two marks (a record separator, 036, starts each) is the
# command's output. /lab/env has the settings, /lab/cmd the command; without one there is a shell.
export PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/root TERM=linux
# A busybox of a foreign architecture could not be asked for its names before.
[ -e /bin/mount ] || /bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ip link set lo up
hostname lab

set -a
. /lab/env
set +a
stty rows "${LINES:-24}" cols "${COLUMNS:-80}" </dev/console

finish() {
    printf '\036LAB-END %d\n' "$1"
    sync
    # A serial port that is emulated down to the baud rate needs time to drain.
    [ "$LAB_CPU" = intel ] && sleep 3
    poweroff -f
}

# KVM on s390x wants page tables of its own kind in the process that makes a VM (page_table_allocate_pgste).
[ "$LAB_CPU" = s390x ] && echo 1 >/proc/sys/vm/allocate_pgste

# 125, as container tools do: the lab failed, not the command.
if ! grep -qw lab.nokvm /proc/cmdline; then
    while read -r module; do
        insmod "$module" || { echo "lab: cannot load $module"; printf '\036LAB-BEGIN\n'; finish 125; }
    done </lab/modules
fi

cd /root || finish 125
if [ ! -e /lab/cmd ]; then
    echo "This is the lab; kernel $(uname -r). Leave with exit, or Ctrl-A X to cut the power."
    setsid cttyhack sh
    poweroff -f
fi

printf '\036LAB-BEGIN\n'
if [ -n "$LAB_TTY" ]; then
    sh /lab/cmd </dev/null
    status=$?
else
    # A pipe, so that the command sees no terminal, as its output does not go to one on the host either.
    { sh /lab/cmd </dev/null 2>&1; echo $? >/run/status; } | cat
    status=$(cat /run/status)
fi
finish "$status"
