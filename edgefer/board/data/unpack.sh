#!/bin/sh
# unpack.sh ARCHIVES ROOT HOST: lay out the packages of the board in ROOT, and those of its emulator in HOST.
# Nothing that a package would run at its installation is run; what a board has no use for is left out.
set -eu
archives=$1 root=$2 host=$3

for directory in bin sbin lib; do # Debian's merged /usr
  mkdir -p "$root/usr/$directory"
  ln -s "usr/$directory" "$root/$directory"
done
mkdir -p "$host"

for package in "$archives"/*.deb; do
  case $(dpkg-deb --field "$package" Package Architecture) in
    *perl*) continue ;;
    *"Architecture: arm64") into=$root ;;
    *"Architecture: all") continue ;;
    *) into=$host ;;
  esac
  dpkg-deb --fsys-tarfile "$package" | tar --extract --directory="$into" --keep-directory-symlink --no-same-owner \
    --exclude=./usr/share/man --exclude=./usr/share/locale --exclude=./usr/share/doc \
    --exclude='./usr/bin/qemu-[!a]*' --exclude='./var/*' --exclude='./dev/*'
done
ln -sf dash "$root/usr/bin/sh"
