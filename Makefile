# Two commands do all the set-up on a fresh Debian 12 machine with Rust:
#   make demo          the main job, shown; stays up. With ONCE=1 it ends after the call.
#   make test          everything, ending in a line "N passed, N failed, N skipped"

SHELL := /bin/bash
BINARY = $${CARGO_TARGET_DIR:-target}/debug/tandem
WEB = . .ci/node && cd web &&

.PHONY: demo test lint deny web sipp-selftest install-demo install-test

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

install-demo:
	.ci/install demo

install-test:
	.ci/install test
