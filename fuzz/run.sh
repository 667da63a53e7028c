#!/bin/sh
# Fuzzes both directions of the translation, SECONDS each (600): make fuzz [FUZZ_SECONDS=60].
# Needs a nightly compiler and cargo-fuzz (cargo install cargo-fuzz). Seeds are what servers and agents sent.
set -eu
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-600}
wire=../tests/fixtures/wire
mkdir -p corpus/to_chat corpus/from_chat
cargo +nightly fuzz run to_chat corpus/to_chat ../tests/fixtures/agents -- -max_total_time="$seconds" -timeout=10
cargo +nightly fuzz run from_chat corpus/from_chat $wire/llama-server $wire/vllm $wire/mlx $wire/ollama $wire/sglang \
    $wire/lmstudio $wire/llama-cpp-python -- -max_total_time="$seconds" -timeout=10
