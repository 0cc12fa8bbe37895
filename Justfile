# The two commands that matter need no just: `cargo run --release -- analyze -f examples/` and `cargo test --workspace`.

_default:
    @just --list

# Formatting, lints and all tests, as the CI runs them
ci:
    .ci/run

# All tests
test *ARGUMENTS:
    cargo test --workspace {{ARGUMENTS}}

# Formatting and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Build policies/ and bundles/, or a folder of custom rules, to target/policies/*.wasm
build-policies *FOLDERS:
    cargo run --release --quiet --package kube-devops-build-components --bin build-components -- {{FOLDERS}}

# All benchmarks; numbers for docs/benchmarks.md
bench:
    cargo bench --workspace

# Judge the examples
demo:
    cargo run --release -- analyze -f examples/

# A real control plane with kwok nodes to play with, until Ctrl+C
control-plane:
    cargo run --package test-cluster --bin control-plane

# Write the generated pages of docs/ and the snapshots anew
docs:
    UPDATE_DOCS=1 INSTA_UPDATE=always cargo test --workspace

# Licences, bans and sources of dependencies (needs cargo-deny; its advisory database comes over the network)
deny:
    cargo deny check
