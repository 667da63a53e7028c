# The ways to work on this project. `make` alone prints them.
.DEFAULT_GOAL := help
.PHONY: help run quick test check bench torture agents views fuzz dist clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# Its own profile: what the tuned release takes to build is for whoever serves, not for whoever tries.
run: ## build as quickly as may be, and serve a demo that needs nothing else: prints a curl line to paste
	cargo run --profile demo -- serve --demo

quick: ## the tests that need nothing but cargo: the first to see green
	cargo test --lib

# The stories wait for sockets more than they work.
test: ## unit tests, stories against the real binary, and the suites of tests/run.sh
	tests/setup.sh
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} cargo test
	@if [ -x tests/run.sh ]; then tests/run.sh; fi

check: ## formatting, lints and documentation, none of them with a warning
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

bench: ## billed requests against nginx with no billing: speed, rows, memory, start-up, size
	cargo build --release
	tests/bench/bench.sh target/release/coordinator

torture: ## kill, cut, starve and flood the real binary, then audit it
	cargo build --release
	python3 tests/torture/run.py --binary target/release/coordinator

agents: ## real programs (Claude Code, Codex, aider, LangChain, …) against the demo: what they send, are told and pay
	cargo build
	python3 tests/agents/run.py --binary target/debug/coordinator
	python3 tests/agents/run.py --binary target/debug/coordinator --imitate mlx-lm
	python3 tests/agents/run.py --binary target/debug/coordinator --mlx-lm claude_code codex
	IMITATE=mlx-lm tests/sdk/run.sh

views: ## every view of the pages, full and empty, on a phone and a desk, light and dark: pictures in target/screenshots
	cargo build
	tests/browser/setup.sh
	COORDINATOR_BIN=target/debug/coordinator node tests/browser/views.mjs

fuzz: ## any bytes through the translation of dialects, ten minutes a direction (nightly, cargo-fuzz)
	fuzz/run.sh

dist: ## what a release is made of, in dist/: a static binary, a .deb, an image's recipe, parts list, sums, install.sh
	packaging/dist.sh

clean: ## remove what was built and the demo's data
	cargo clean
	rm -rf demo-data
