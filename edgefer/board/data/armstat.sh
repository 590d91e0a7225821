#!/bin/sh
# armstat PROGRAM ARGS...: run PROGRAM on the emulated board and count the ARM instructions that it executes.
# JSON lines go to $INSN_OUT, or to standard error; edgefer/board/instructions.py says what they hold.
home=/usr/lib/armstat
[ $# -gt 0 ] || { echo "usage: armstat PROGRAM ARGS..." >&2; exit 2; }
program=$(command -v "$1") || { echo "armstat: $1: not found" >&2; exit 127; }
shift
exec "$home/ld.so" --library-path "$home" "$home/qemu" -0 "$program" -plugin "$home/insn.so" \
  "$(readlink -f "$program")" "$@"
