#!/usr/bin/env bash
# Makes the disk of `make demo`: 64 MiB, GPT, a FAT EFI partition and an ext4 root with ordinary files, as two VMDK images
# written by qemu-img. Needs Debian's fdisk, dosfstools, mtools, e2fsprogs, qemu-utils; no root, no mounts.
#
#   make-demo-disk.sh DIR [REPOSITORY]     writes DIR/demo-disk.vmdk and DIR/demo-disk-stream.vmdk
#
# The files come from this repository and from counting, so the project's licence covers all of them. Times and ids are
# fixed; what still differs between two runs is what mke2fs takes from the clock and qemu-img's random content id.
set -euo pipefail
dir=${1:?usage: make-demo-disk.sh DIR [REPOSITORY]}
repo=${2:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1735689600 E2FSPROGS_FAKE_TIME=1735689600 MTOOLS_SKIP_CHECK=1
stamp() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

# The root file system: text, a table of numbers, bytes that do not compress, a sparse file, many small files, links.
root=$work/root
mkdir -p "$root"/{boot,etc,home/user/notes,usr/share/doc/vdconv,var/lib,var/log,tmp}
printf 'demo\n' >"$root/etc/hostname"
printf 'NAME="vdconv demo disk"\nID=demo\n' >"$root/etc/os-release"
printf 'LABEL=demo-root / ext4 defaults 0 1\nLABEL=EFI /boot/efi vfat umask=0077 0 2\n' >"$root/etc/fstab"
cp "$repo/LICENSE" "$root/usr/share/doc/vdconv/"
for ((i = 1; i <= 60; i++)); do
  printf 'Note %d\n\n%s\n' "$i" "$(seq -s ' ' "$i" $((i + 40)))" >"$root/home/user/notes/note-$i.txt"
done
seq 1 2500 | awk '{ printf "2025-01-01T%02d:%02d:%02dZ demo service[%d]: request %d took %d ms\n", $1 / 3600 % 24, $1 / 60 % 60, $1 % 60, $1 % 7 + 100, $1, $1 * 37 % 911 }' \
  >"$root/var/log/service.log"
python3 - "$root/var/lib/random.bin" <<'PY'
import hashlib, sys
with open(sys.argv[1], "wb") as f:
    for i in range(3072):  # 96 KiB that no codec makes smaller
        f.write(hashlib.sha256(b"vdconv demo %d" % i).digest())
PY
truncate -s 8M "$root/var/lib/sparse.bin"
printf 'in the middle of a hole\n' | dd of="$root/var/lib/sparse.bin" bs=1 seek=4194304 conv=notrunc status=none
ln -s ../usr/share/doc "$root/home/doc"
ln "$root/etc/hostname" "$root/etc/hostname.link"
stamp "$root"

# GPT: 1 MiB gap, 8 MiB EFI, 54 MiB root, 1 MiB for the second table.
disk=$work/disk.raw
truncate -s 64M "$disk"
sfdisk --quiet "$disk" <<'TABLE'
label: gpt
label-id: 7D0C0A11-0000-4000-8000-00000000D15C
start=2048, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI", uuid=7D0C0A11-0000-4000-8000-000000000001
start=18432, size=110592, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root", uuid=7D0C0A11-0000-4000-8000-000000000002
TABLE

truncate -s 8M "$work/efi"
mkfs.fat --invariant -i D15C0001 -n EFI "$work/efi" >/dev/null
mkdir -p "$work/boot/EFI/BOOT"
printf 'This is where a boot loader would be.\r\n' >"$work/boot/EFI/BOOT/README.TXT"
stamp "$work/boot"
mcopy -s -m -i "$work/efi" "$work/boot/EFI" ::

truncate -s 54M "$work/ext4"
mke2fs -q -t ext4 -b 4096 -N 256 -J size=4 -L demo-root -U 7d0c0a11-0000-4000-8000-0000000000e4 -E hash_seed=7d0c0a11-0000-4000-8000-0000000000e5,root_owner=0:0 \
  -d "$root" "$work/ext4"

dd if="$work/efi" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/ext4" of="$disk" bs=1M seek=9 conv=notrunc,sparse status=none

mkdir -p "$dir"
qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse "$disk" "$dir/demo-disk.vmdk"
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$disk" "$dir/demo-disk-stream.vmdk"
sha256sum "$disk" | sed "s#$disk#content of both#"
ls -l "$dir"/demo-disk*.vmdk
