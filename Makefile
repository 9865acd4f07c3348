# Two commands do all the set-up on a fresh Debian 12 machine with Rust:
#   make demo          the main job, shown; stays up. With ONCE=1 it ends after the call.
#   make test          everything, ending in a line "N passed, N failed, N skipped"

SHELL := /bin/bash
BINARY = $${CARGO_TARGET_DIR:-target}/debug/tandem
WEB = . .ci/node && cd web &&

.PHONY: demo test lint deny web sipp-selftest fuzz bench install-demo install-test

demo: install-demo web
	cargo build --locked --features demo
	exec $(BINARY) demo $(if $(filter-out 0,$(ONCE)),--once)

test: install-test
	.ci/test

lint: web
	cargo fmt --check
	cargo clippy --locked --features demo --all-targets -- -D warnings
	$(WEB) npm run lint

# Licences, advisories and sources of every dependency; needs cargo-deny and the network.
deny:
	cargo deny --all-features check

# The pages; the binary embeds them.
web: web/node_modules/.package-lock.json
	$(WEB) npm run build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	$(WEB) npm ci --no-audit --no-fund

# The SIPp scenarios against SIPp itself.
sipp-selftest:
	sip-tests/selftest/run

# Each target by chance for FUZZ_SECONDS (default 600); a finding is printed with its seed and its file. With a nightly
# compiler and cargo-fuzz: cargo +nightly fuzz run sip_message
fuzz:
	cargo run --locked --features demo --example mutate -- $(TARGETS)

# What signalling costs, beside rsipstack: a table, and target/bench/signalling.json.
bench:
	cd benches/signaling && cargo run --release --locked

install-demo:
	.ci/install demo

install-test:
	.ci/install test
