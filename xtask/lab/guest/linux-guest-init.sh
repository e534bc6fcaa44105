#!/bin/busybox sh
# The first process of Linux under QEMU in the lab. It says that it is up, and does what the lines on its serial port
# ask for. In between it is idle.
read -r cpuids </cpuids
echo "linux-guest: ready"
while read -r line; do
    case $line in
        # Nothing but the shell's own commands here: every other program of a C library executes CPUID at its start.
        cpuid) /bin/cpuid && echo "linux-guest: $cpuids CPUID" ;;
        both) /bin/busybox taskset 1 /bin/cpuid && /bin/busybox taskset 2 /bin/cpuid && echo "linux-guest: both" ;;
        *) echo "linux-guest: unknown request" ;;
    esac
done
