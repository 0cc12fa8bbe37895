# The two main commands do not need just: `cargo run --release -- analyze -f examples/` and `cargo test --workspace`.

_default:
    @just --list

# Run all steps of the CI: formatting, lints and tests
ci:
    .ci/run

# Run all tests
test *ARGUMENTS:
    cargo test --workspace {{ARGUMENTS}}

# Check formatting and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Build policies/ and bundles/, or folders with custom checks, to target/policies/*.wasm
build-policies *FOLDERS:
    cargo run --release --quiet --package kube-devops-build-components --bin build-components -- {{FOLDERS}}

# Run all benchmarks, for docs/benchmarks.md
bench:
    cargo bench --workspace

# Evaluate the examples
examples:
    cargo run --release -- analyze -f examples/

# Run the whole platform with workloads and policies on a local control plane until Ctrl+C
demo:
    cargo run --package end-to-end --example demo

# Run a control plane with kwok nodes until Ctrl+C
control-plane:
    cargo run --package test-cluster --bin control-plane

# Update the generated pages of docs/ and the snapshots
docs:
    UPDATE_DOCS=1 INSTA_UPDATE=always cargo test --workspace

# Check advisories, licenses, bans and sources of dependencies (needs cargo-deny and network access to its advisory database)
deny:
    cargo deny check
