# Every target sets up what it needs; nothing has to be installed by hand but Node and make (and Rust for the native engine).
.DEFAULT_GOAL := help
.PHONY: help demo test build check lint bench bench-scale images boot-test fuzz clean native oracles test-faults test-specimens test-oracle wasm wasm-check
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

CARGO := $(CURDIR)/native/Cargo.toml
CARGO_CODECS := $(CURDIR)/native/codecs/Cargo.toml
NPM_STAMP := node_modules/.package-lock.json
DIST_STAMP := dist/.built
NATIVE_STAMP := native/dist/.built
VENV_STAMP := .cache/venv/.built
TS := $(shell find src -name '*.ts' ! -name '*.test.ts' ! -path 'src/testing/*')
RS := $(shell find native \( -name target -o -name dist -o -name codecs \) -prune -o -type f \( -name '*.rs' -o -name 'Cargo.*' \) -print)
SPECIMENS ?= ../shared/specimens
ORACLE ?= ../shared/oracle

# True where the native engine can be built: cargo of at least this version, and a C compiler.
RUST_MIN := 1.88
have_rust = ( command -v cargo >/dev/null && command -v cc >/dev/null && \
  [ "$$(printf '%s\n' $(RUST_MIN) "$$(cargo --version | cut -d' ' -f2)" | sort -V | head -n1)" = $(RUST_MIN) ] )
no_rust = if ls native/dist/*.node >/dev/null 2>&1; then echo "no Rust found: the native engine stays as it was built"; \
  else echo "no Rust found (cargo $(RUST_MIN) or newer, and a C compiler): the portable engine will be used"; fi

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## convert a real VMDK to QCOW2 and show that the contents are identical (KEEP=1 keeps the result)
	@node test-images/demo.mjs

test: build ## all tests: vitest, and cargo test where Rust is
	@bin/vdconv.js --version --verbose | grep ^engine:
	@status=0; vitest run || status=1; \
	if $(have_rust); then \
	  cargo test --manifest-path $(CARGO) --workspace --locked --no-fail-fast || status=1; \
	  cargo test --manifest-path $(CARGO_CODECS) --locked --no-fail-fast || status=1; \
	else echo "no Rust found: cargo's tests did not run"; [ -z "$$CI" ] || status=1; fi; \
	exit $$status

build: $(DIST_STAMP) native ## the library and command (dist/) and, where Rust is, the native engine

check: $(NPM_STAMP) lint ## lint, types, rustfmt, clippy, rooms test
	tsc -p tsconfig.json --noEmit
	@if $(have_rust); then \
	  set -ex; cargo fmt --manifest-path $(CARGO) --all --check; \
	  cargo fmt --manifest-path $(CARGO_CODECS) --all --check; \
	  cargo clippy --manifest-path $(CARGO) --workspace --all-targets --locked -- -D warnings; \
	  cargo clippy --manifest-path $(CARGO_CODECS) --all-targets --locked -- -D warnings; \
	else echo "no Rust found: rustfmt and clippy did not run"; [ -z "$$CI" ]; fi
	vitest run src/rooms.test.ts

lint: $(NPM_STAMP) ## biome: lint and format
	biome check --error-on-warnings .

images: ## a bootable Debian disk of 8 GiB and its variants, once, in .cache/images (root; 10 minutes)
	@test-images/debian/make-images.sh .cache/images

boot-test: build images ## the Debian disk as VMDK becomes QCOW2, VHDX, VHD, VDI; each boots to its login prompt under QEMU
	@node test-images/debian/boot-test.mjs .cache/images

test-faults: build ## every system call of several conversions fails, in every way, by both engines (minutes)
	VDCONV_FAULTS=all vitest run src/ops/faults.test.ts

bench: build ## measure against qemu-img (options in test-images/bench/README.md: BENCH="--n 5 --pairs raw-qcow2")
	@node test-images/bench/bench.mjs $(BENCH)

bench-scale: build ## time and memory against size, data, fragments and threads
	@node test-images/bench/scale.mjs $(BENCH)

test-specimens: build ## third-party images, fetched once into .cache/specimens, held against their manifest
	@if [ ! -x $(SPECIMENS)/fetch.sh ]; then \
	  echo "no specimens: $(SPECIMENS)/fetch.sh is not there (SPECIMENS=DIR says where it is)"; [ -z "$$CI" ]; exit; fi; \
	if [ ! -f .cache/specimens/.fetched ]; then \
	  mkdir -p .cache/specimens && $(SPECIMENS)/fetch.sh "$$PWD/.cache/specimens" && touch .cache/specimens/.fetched || exit 1; fi; \
	VDCONV_SPECIMENS="$$PWD/.cache/specimens" VDCONV_SPECIMENS_MANIFEST="$$(realpath $(SPECIMENS)/manifest.tsv)" \
	  vitest run src/specimens.test.ts

test-oracle: build ## VirtualBox's own disk code and others, built once into .cache/oracle (root), read ours and we theirs
	@if [ ! -x $(ORACLE)/build.sh ]; then \
	  echo "no oracles: $(ORACLE)/build.sh is not there (ORACLE=DIR says where it is)"; [ -z "$$CI" ]; exit; fi; \
	export VDCONV_ORACLE="$${VDCONV_ORACLE:-$$PWD/.cache/oracle}" VDCONV_ORACLE_RUN="$$(realpath $(ORACLE)/run.sh)"; \
	$(ORACLE)/build.sh "$$VDCONV_ORACLE" && vitest run src/oracle/

fuzz: build ## mutated images for SECONDS=600, from another START each time; what is found is kept in .cache/fuzz
	@mkdir -p .cache/fuzz; VDCONV_FUZZ_SECONDS=$(or $(SECONDS),600) VDCONV_FUZZ_START=$(or $(START),$$(date +%s)) \
	  VDCONV_FUZZ_KEEP="$$PWD/.cache/fuzz" vitest run src/fuzz.test.ts

oracles: $(VENV_STAMP) ## the Python readers that tests compare with (qemu-img comes from the system)

wasm: ## rebuild native/codecs/pkg, the codecs of the portable engine (fetches its tools; native/codecs/README.md)
	@native/codecs/build.sh

wasm-check: ## rebuild it elsewhere and compare: is the committed package what its sources give?
	@status=0; native/codecs/check.sh || status=$$?; \
	case $$status in \
	  0) echo "wasm-check: passed";; \
	  77) echo "wasm-check: skipped: its toolchain cannot be had here";; \
	  *) echo "wasm-check: failed"; exit 1;; \
	esac

clean: ## everything that was built or fetched
	rm -rf dist native/dist native/target native/codecs/target .cache node_modules

native:
	@if ! $(have_rust); then $(no_rust); \
	else $(MAKE) --no-print-directory $(NATIVE_STAMP); fi

$(NPM_STAMP): package-lock.json package.json
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' || \
	  { echo "Node 20.19 or newer is needed, this is $$(node --version)"; exit 1; }
	npm ci --no-audit --no-fund
	@touch $@

$(DIST_STAMP): $(TS) $(wildcard native/codecs/pkg/*) build.mjs tsconfig.json tsconfig.build.json $(NPM_STAMP)
	@rm -rf dist
	npm run --silent build
	@touch $@

$(NATIVE_STAMP): $(RS) $(NPM_STAMP)
	npm run --silent build:native
	@touch $@

$(VENV_STAMP): src/testing/requirements.txt
	rm -rf .cache/venv
	python3 -m venv .cache/venv
	.cache/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
