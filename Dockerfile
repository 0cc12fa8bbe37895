# The image of kube-devops: one static program, built for the platform that the build runs on.
#
#   docker build --tag kube-devops .
#   buildah bud --tag kube-devops .

# Adds the crates of Cargo.lock to the SBOM that BuildKit attaches to the image.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

# The version of rust-toolchain.toml.
FROM docker.io/library/rust:1.95.0-bookworm AS build
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY rust-toolchain.toml ./
# x86_64-unknown-linux-musl or aarch64-unknown-linux-musl for the program, the other target for the checks and bundles.
RUN rustup target add wasm32-unknown-unknown "$(uname -m)-unknown-linux-musl"
COPY . .
# Only downloads are cached: cargo compares times of files, so that a cached target/ could be used for other sources.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    target="$(uname -m)-unknown-linux-musl" \
    && cargo build --release --locked --package kube-devops --target "$target" \
    && install -D "target/$target/release/kube-devops" /image/kube-devops \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /image/etc/passwd

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kube-devops" \
      org.opencontainers.image.description="Evaluates Kubernetes workloads against governance checks" \
      org.opencontainers.image.source="https://github.com/stochasticquant/kube-devops" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
USER 65532:65532
# watch, reconcile, webhook
EXPOSE 8080 9090 8443
ENTRYPOINT ["/kube-devops"]
