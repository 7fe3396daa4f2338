# One word per chore. `make demo` and `make test` do all set-up themselves.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-builtin-rules

SLUICE_CACHE ?= $(HOME)/.cache/sluice
# In CI the clone is thrown away, so what was built is kept outside it.
export CARGO_TARGET_DIR ?= $(if $(CI),$(SLUICE_CACHE)/target,$(CURDIR)/target)
export SLUICE_CACHE
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 600
BENCH_REPETITIONS ?= 3

# One profile, so that every crate is built once.
CARGO := cargo --locked
SLUICE := $(CARGO_TARGET_DIR)/release/sluice

.PHONY: help setup build test test-stores demo bench bench-s3 bench-stages bench-scale fuzz lint deny install

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed 's/:[^#]*## */\t/' | expand -t 16

setup: ## install what this machine lacks (a C compiler, the pinned Rust)
	@.ci/setup

# All members at once, here as in the tests: with fewer, dependencies would be built again with fewer features.
build: setup ## the command: target/release/sluice
	$(CARGO) build --release --workspace --bins

test: setup ## every test that needs no cluster
	$(CARGO) test --release --workspace

test-stores: setup ## the store conformance suite against moto and Ceph RGW
	tests/stores/run.sh

demo: build ## back up, change, interrupt, resume, verify, restore, compare
	@.ci/setup mkfs.ext4=e2fsprogs python3=python3
	tests/demo/run.sh

bench: build ## side by side with other tools: tests/bench/README.md
	@.ci/setup python3=python3
	tests/bench/run.sh $(BENCH_REPETITIONS)

bench-s3: build ## what S3 costs over loopback, beside a folder
	@.ci/setup python3=python3
	python3 tests/bench/s3.py $(SLUICE) $(CARGO_TARGET_DIR)/release/s3-server $${BENCH_PEERS:-$$HOME/.cache/sluice-bench}/data/img/db.img $(BENCH_REPETITIONS)

bench-stages: setup ## bytes per second of each stage, beside the bare primitive
	$(CARGO) bench --workspace --bench stages

bench-scale: build ## what 1,000 changed extents cost on 10 GiB to 1 TiB, and the peak of memory
	@.ci/setup python3=python3
	python3 tests/bench/scale.py $(SLUICE)

fuzz: ## every parser, FUZZ_SECONDS each
	@.ci/setup c++=g++
	fuzz/run.sh $(FUZZ_SECONDS)

lint: setup ## formatting, clippy, docs: warnings denied
	cargo fmt --check
	$(CARGO) clippy --release --workspace --all-targets --all-features -- --deny warnings
	$(CARGO) clippy --release --package repository --no-default-features -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items --all-features

deny: setup ## dependencies: bans, licences, sources, advisories
	.ci/deny

install: build ## the command, its man pages and completions, into PREFIX
	install -D -m 755 $(SLUICE) $(DESTDIR)$(PREFIX)/bin/sluice
	$(SLUICE) man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(SLUICE) completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sluice
	$(SLUICE) completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sluice
	$(SLUICE) completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sluice.fish
