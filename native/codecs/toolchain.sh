# Sourced by build.sh. Finds or fetches what turns this crate into WebAssembly, in a cache folder; nothing is installed
# into the system, except that rustup may add a target to its toolchain. Two ways, in this order:
#   rustup  the official compiler of the version below with its wasm32-unknown-unknown target
#   debian  Debian bookworm's rustc-web, unpacked and not installed, which builds std from its source
# VDCONV_WASM_TOOLCHAIN=rustup|debian asks for one of them. Exit status 77: neither can be had.

rust_version=1.95.0
debian_version='1.96.0+dfsg1-1~deb12u2'
wasm_pack_version=0.15.1
# As in Cargo.toml and Cargo.lock.
wasm_bindgen_version=0.2.130

say() { printf 'wasm: %s\n' "$*" >&2; }

# The rustup way: sets toolchain and remap.
use_rustup() {
  local bin
  command -v rustup >/dev/null || { say "there is no rustup"; return 1; }
  if [ "$("$(rustup which rustc 2>/dev/null)" --version 2>/dev/null | cut -d' ' -f2)" != "$rust_version" ]; then
    rustup toolchain install "$rust_version" --profile minimal >&2 || { say "rustup cannot fetch Rust $rust_version"; return 1; }
    export RUSTUP_TOOLCHAIN=$rust_version
  fi
  rustup target add wasm32-unknown-unknown >&2 || { say "rustup cannot fetch the target wasm32-unknown-unknown"; return 1; }
  # This compiler and its own cargo, whatever else is in PATH.
  bin=$(dirname "$(rustup which rustc)")
  export PATH=$bin:$PATH
  toolchain=rustup-$(rustc -vV | awk '/^release:/ {r = $2} /^host:/ {h = $2} END {print r "-" h}')
  # Where the component rust-src is installed, the compiler names its files instead of /rustc/COMMIT.
  remap=("$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(rustc -vV | awk '/^commit-hash:/ {print $2}')")
}

# apt-get with package lists of our own where the system's do not know the version: needs no root.
apt_download() {
  apt-get -qq download "$@" 2>/dev/null && return
  mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
  local private=(-qq -o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt")
  apt-get "${private[@]}" update >&2 && apt-get "${private[@]}" download "$@" >&2
}

# The Debian way: sets toolchain, remap and the environment of cargo.
use_debian() {
  local root="$cache/debian-$debian_version" work version
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || [ "$(dpkg --print-architecture)" != amd64 ]; then
    say "this is not Debian on amd64"
    return 1
  fi
  if [ ! -e "$root/complete" ]; then
    work=$(mktemp -d "$cache/debian.XXXXXX")
    chmod 755 "$work"
    version=$debian_version
    if ! (cd "$work" && apt_download "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-${version%%.0+*}=$version" \
      "rust-web-src=$version" libllvm22 lld-22 libz3-4); then
      rm -rf "$work"
      say "Debian's archive does not give rustc-web $version"
      return 1
    fi
    for package in "$work"/*.deb; do
      case $package in
        # Of the source only std: the rest is 400 MB.
        */rust-web-src*) dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work" --wildcards './usr/src/rustc-*/library' './usr/lib/rustlib' ;;
        *) dpkg-deb -x "$package" "$work" ;;
      esac
      rm "$package"
    done
    touch "$work/complete"
    rm -rf "$root"
    mv "$work" "$root"
  fi
  export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu RUSTC=$root/usr/bin/rustc
  export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$root/usr/lib/llvm-22/bin/wasm-ld
  "$RUSTC" --version >/dev/null || { say "Debian's rustc-web does not run here"; return 1; }
  # The cargo is the machine's own, and takes part in naming symbols.
  toolchain=debian-$debian_version-cargo-$(cargo --version | cut -d' ' -f2)
  remap=("$root=/toolchain")
}

# cargo install NAME VERSION, once.
cargo_tool() {
  [ -x "$cache/tools/bin/${3:-$1}" ] && "$cache/tools/bin/${3:-$1}" --version | grep -qF " $2" && return
  # Built without optimization: they have little to do, and it saves most of the minutes.
  # A registry that lacks one of the versions of the lock file is no reason to stop.
  (cd "$cache" && export CARGO_PROFILE_DEV_DEBUG=0 && {
    cargo install "$1" --version "$2" --debug --locked --root "$cache/tools" >&2 ||
      cargo install "$1" --version "$2" --debug --root "$cache/tools" >&2
  })
}

use_tools() {
  command -v cargo >/dev/null || { say "there is no cargo"; return 1; }
  cargo_tool wasm-pack "$wasm_pack_version" && cargo_tool wasm-bindgen-cli "$wasm_bindgen_version" wasm-bindgen ||
    { say "wasm-pack $wasm_pack_version and wasm-bindgen-cli $wasm_bindgen_version cannot be installed"; return 1; }
  export PATH=$cache/tools/bin:$PATH
}

use_toolchain() {
  mkdir -p "$cache"
  use_tools || exit 77
  case ${VDCONV_WASM_TOOLCHAIN:-} in
    rustup | debian) "use_$VDCONV_WASM_TOOLCHAIN" || exit 77 ;;
    '') use_rustup || use_debian || exit 77 ;;
    *) say "VDCONV_WASM_TOOLCHAIN is rustup or debian"; exit 2 ;;
  esac
  say "toolchain $toolchain"
}
