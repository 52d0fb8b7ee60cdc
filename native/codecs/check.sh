#!/usr/bin/env bash
# Is pkg/ what the sources give? Rebuilds into a temporary folder and compares.
# Exit status: 0 the same; 1 it differs; 77 cannot be told here, and why.
#
# The text files are the same whatever the toolchain. WebAssembly is not, so SHA256SUMS notes its digest by toolchain
# (build.sh writes it); the first line is that of pkg/ itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

sum() { sha256sum "$1" | cut -d' ' -f1; }
noted() { awk -v name="$1/vdconv_codecs_bg.wasm" '$2 == name {print $1}' "$here/SHA256SUMS"; }
same=0
compare() { # WHAT EXPECTED FOUND
  if [ "$2" = "$3" ]; then echo "same     $3  $1"; else echo "DIFFERS  $3  $1 (expected $2)"; same=1; fi
}

maker=$(awk 'NR == 1 {sub("/.*", "", $2); print $2}' "$here/SHA256SUMS")
compare "pkg/vdconv_codecs_bg.wasm, as noted for $maker" "$(noted "$maker")" "$(sum "$here/pkg/vdconv_codecs_bg.wasm")"

built=0
"$here/build.sh" "$fresh" || built=$?
if [ "$built" != 0 ]; then exit "$((same ? same : built))"; fi
toolchain=$(cat "$fresh/toolchain")
for file in vdconv_codecs.js vdconv_codecs.d.ts vdconv_codecs_bg.wasm.d.ts; do
  compare "$file, rebuilt" "$(sum "$here/pkg/$file")" "$(sum "$fresh/$file")"
done
if [ -n "$(noted "$toolchain")" ]; then
  compare "vdconv_codecs_bg.wasm, rebuilt by $toolchain" "$(noted "$toolchain")" "$(sum "$fresh/vdconv_codecs_bg.wasm")"
elif [ "$same" = 0 ]; then
  echo "wasm: SHA256SUMS has no digest for $toolchain, which is what can be had here" >&2
  exit 77
fi
exit "$same"
