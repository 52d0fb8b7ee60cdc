#!/usr/bin/env bash
# DIR/disk.raw in every format that qemu-img writes, plain and compressed; what is there already stays.
#   make-variants.sh DIR
set -euo pipefail
dir=${1:?usage: make-variants.sh DIR}

# write NAME QEMU-IMG-ARGUMENTS…
write() {
  [ ! -f "$dir/$1" ] || return 0
  echo "building $1"
  qemu-img convert -W -m 16 "${@:2}" -f raw "$dir/disk.raw" "$dir/$1.part"
  mv "$dir/$1.part" "$dir/$1"
}
write disk.qcow2 -O qcow2
write disk-zlib.qcow2 -c -O qcow2
write disk-zstd.qcow2 -c -O qcow2 -o compression_type=zstd
write disk.vmdk -O vmdk
write disk-stream.vmdk -O vmdk -o subformat=streamOptimized
write disk.vhd -O vpc -o force_size=on
write disk.vhdx -O vhdx
write disk.vdi -O vdi
