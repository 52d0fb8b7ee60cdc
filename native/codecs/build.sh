#!/usr/bin/env bash
# Builds the package.
#   native/codecs/build.sh          into pkg/, and notes its digest in SHA256SUMS
#   native/codecs/build.sh --note   changes only SHA256SUMS: adds the digest that this toolchain gives (see check.sh)
#   native/codecs/build.sh FOLDER   into FOLDER, with the toolchain's name in FOLDER/toolchain
# Needs cargo, and the network the first time (toolchain.sh). Exit status 77: the toolchain cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
cache=${VDCONV_CACHE:-.cache}/wasm
case $cache in /*) ;; *) cache=$root/$cache ;; esac
target=${1:-pkg}
case $target in pkg | --note) ;; *) target=$(realpath -m "$target") ;; esac
. "$here/toolchain.sh"
use_toolchain

cd "$here"
export CARGO_TARGET_DIR=$cache/target-$toolchain
cargo fetch --locked >&2
# No path of this machine may reach the output: panic messages name source files.
flags="-Ctarget-feature=+simd128"
for map in "$here=/codecs" "${remap[@]}" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  case $map in *=*) ;; *) map=${map%/}=/cargo ;; esac
  flags+=$'\x1f'--remap-path-prefix=$map
done
export CARGO_ENCODED_RUSTFLAGS=$flags
fresh=$(mktemp -d "$cache/pkg.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
wasm-pack build --release --target web --mode no-install --no-pack --no-opt --out-dir "$fresh" --out-name vdconv_codecs . \
  -- --locked >&2

# pkg/package.json is written by hand: wasm-pack's has no exports.
text="vdconv_codecs.js vdconv_codecs.d.ts vdconv_codecs_bg.wasm.d.ts"
line="$(sha256sum "$fresh/vdconv_codecs_bg.wasm" | cut -d' ' -f1)  $toolchain/vdconv_codecs_bg.wasm"
case $target in
  pkg)
    # Digests of other toolchains stay only where this one's has not changed.
    others=
    if grep -qxF "$line" SHA256SUMS 2>/dev/null; then others=$(grep -vxF "$line" SHA256SUMS || true); fi
    printf '%s\n' "$line" ${others:+"$others"} >SHA256SUMS
    for file in $text vdconv_codecs_bg.wasm; do install -m 644 "$fresh/$file" "pkg/$file"; done
    ;;
  --note)
    for file in $text; do
      cmp "$fresh/$file" "pkg/$file" || { say "pkg/ is not of these sources: run build.sh first"; exit 1; }
    done
    grep -vF "  $toolchain/" SHA256SUMS >"$fresh/sums" || true
    { cat "$fresh/sums"; echo "$line"; } >SHA256SUMS
    ;;
  *)
    mkdir -p "$target"
    for file in $text vdconv_codecs_bg.wasm; do install -m 644 "$fresh/$file" "$target/$file"; done
    echo "$toolchain" >"$target/toolchain"
    ;;
esac
