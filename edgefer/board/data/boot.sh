#!/bin/sh
# boot.sh SHARED ROOT CPU root|user: be the first process of an emulated board, in namespaces of its own.
#
# Whoever brings the board up holds the other end of standard input, and writes a line to it once the board answers.
# If they are gone before that, so is the board.  The exit codes are explained in edgefer/board/running.py.
set -u
shared=$1 root=$2 cpu=$3
case $4 in
  root) login='' groups=--clear-groups ;;
  user) login='unshare --user --map-user=1000 --map-group=1000 --keep-caps' groups=--keep-groups ;; # from 0, its root
esac
register=$root/proc/sys/fs/binfmt_misc/register

exec 3<&0 </dev/null

{
  mount --make-rprivate / &&
    mount --bind "$shared/usr" "$root/usr" && mount -o remount,bind,ro "$root/usr" &&
    mount -t proc proc "$root/proc" && mount --bind "$root/etc/board/cpuinfo" "$root/proc/cpuinfo" &&
    mount -t tmpfs -o mode=755 dev "$root/dev" && mkdir -m 1777 "$root/dev/shm" && mkdir "$root/dev/pts" &&
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" &&
    ln -s pts/ptmx "$root/dev/ptmx" && ln -s /proc/self/fd "$root/dev/fd" &&
    for device in null zero full random urandom tty; do
      : >"$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device" || exit 10
    done
} || exit 10
hostname raspberrypi

run_on_board() { env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin QEMU_CPU="$cpu" $login chroot "$root" "$@"; }

# The registration lives as long as this mount, or as the host's own where there is one.
mount -t binfmt_misc binfmt_misc "${register%/register}"
if ! run_on_board /usr/bin/true; then
  magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf ':edgefer-aarch64:M::%s:%s:%s:F' "$magic" "$mask" "$shared/qemu" >"$register" || exit 11
  run_on_board /usr/bin/true || exit 12
fi

cd "$root" || exit 10
run_on_board /usr/bin/setpriv --reuid=1000 --regid=1000 "$groups" --inh-caps=-all --ambient-caps=-all \
  /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config &
sshd=$!
{ read -r answered <&3 || kill "$sshd"; } &
wait "$sshd"
exit 13
