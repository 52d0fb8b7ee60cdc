#!/usr/bin/env bash
# Builds what `make bench` and `make boot-test` read: a bootable Debian disk (GPT; FAT with syslinux, kernel and initrd; ext4
# root), raw and in every format that qemu-img writes. Files are deleted from the root at the end, so free space is not all
# zeros. Needs root, Debian's mmdebstrap, fdisk, dosfstools, mtools, e2fsprogs, syslinux, syslinux-common, qemu-utils, and the
# machine's own Debian mirror; mounts nothing.
#   make-images.sh DIR [SIZE_GIB]      about 8 minutes and 9 GB; what is there already stays
set -euo pipefail
dir=$(realpath -m "${1:?usage: make-images.sh DIR [SIZE_GIB]}")
size=${2:-8}
if [ -f "$dir/disk.raw" ]; then exec "$(dirname "$0")/make-variants.sh" "$dir"; fi
for tool in mmdebstrap sfdisk mkfs.vfat mcopy mke2fs debugfs syslinux qemu-img; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: see the head of $0"; exit 1; }
done
gptmbr=/usr/lib/syslinux/mbr/gptmbr.bin
mkdir -p "$dir"
work=$dir/work root=$dir/work/root disk=$dir/disk.raw
rm -rf "$work" "$dir"/disk*
mkdir -p "$root"

echo "Debian packages into $root"
mmdebstrap --quiet --variant=important --aptopt='Apt::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --include=linux-image-cloud-amd64,systemd-sysv,udev,dbus,openssh-server,build-essential,gdb,git,cmake,clang,llvm,python3-numpy,default-jre-headless,golang-go,perl-doc,vim,tmux \
  --customize-hook='echo vdconv-test >"$1/etc/hostname"' \
  --customize-hook='printf "LABEL=root / ext4 defaults 0 1\n" >"$1/etc/fstab"' \
  --customize-hook='chroot "$1" passwd -d root >/dev/null' \
  bookworm "$root"

echo "file systems"
free=$root/var/tmp/deleted
mkdir -p "$free"
# To be deleted: compressible and not.
for i in $(seq 24); do seq "$((i * 1000000))" "$((i * 1000000 + 900000))" >"$free/numbers-$i"; done
for i in $(seq 24); do openssl enc -aes-128-ctr -nosalt -pass "pass:$i" -in /dev/zero 2>/dev/null | head -c 6M >"$free/noise-$i" || true; done
boot_mib=256
root_mib=$((size * 1024 - boot_mib - 2))
truncate -s "${boot_mib}M" "$work/boot"
mkfs.vfat -F 32 -n BOOT "$work/boot" >/dev/null
cat >"$work/syslinux.cfg" <<CFG
DEFAULT debian
PROMPT 0
SERIAL 0 115200
LABEL debian
  KERNEL /vmlinuz
  APPEND initrd=/initrd root=LABEL=root ro console=ttyS0,115200 quiet
CFG
mcopy -i "$work/boot" "$root"/boot/vmlinuz-* ::/vmlinuz
mcopy -i "$work/boot" "$root"/boot/initrd.img-* ::/initrd
mcopy -i "$work/boot" "$work/syslinux.cfg" ::/syslinux.cfg
syslinux --install "$work/boot"
truncate -s "${root_mib}M" "$work/ext4"
mke2fs -q -t ext4 -L root -d "$root" "$work/ext4"
(cd "$free" && for name in *; do echo "rm /var/tmp/deleted/$name"; done) | debugfs -w -f - "$work/ext4" >/dev/null 2>&1

echo "disk"
truncate -s "${size}G" "$disk.part"
sfdisk --quiet "$disk.part" <<TABLE
label: gpt
start=2048, size=${boot_mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, attrs=LegacyBIOSBootable, name=boot
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root, size=$((root_mib - 1))MiB
TABLE
truncate -s "$((root_mib - 1))M" "$work/ext4.cut"
e2fsck -fy "$work/ext4" >/dev/null 2>&1 || true
resize2fs "$work/ext4" "$((root_mib - 1))M" >/dev/null 2>&1
dd if="$work/boot" of="$disk.part" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/ext4" of="$disk.part" bs=1M seek=$((1 + boot_mib)) count=$((root_mib - 1)) conv=notrunc,sparse status=none
dd if="$gptmbr" of="$disk.part" bs=440 count=1 conv=notrunc status=none
mv "$disk.part" "$disk"
rm -rf "$work"

"$(dirname "$0")/make-variants.sh" "$dir"
