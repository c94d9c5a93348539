# The operator's image. For a reproducible build, or to use another registry, set the base images by
# digest:
#
#   docker build --build-arg BUILD_IMAGE=rust@sha256:… --build-arg BASE_IMAGE=…@sha256:… .
#
# BUILD_IMAGE needs Rust (rust-version in Cargo.toml), a C compiler and CA certificates; BASE_IMAGE
# needs glibc (the same version or newer) and libgcc_s.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Only Cargo.toml and Cargo.lock, with empty sources. The layer that compiles the dependencies copies
# from this stage, so it stays cached until a dependency changes.
FROM ${BUILD_IMAGE} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path './benches/*' -delete \
    && find . -name '*.rs' -exec sh -c 'echo "fn main() { }" >"$1"' sh {} ';' \
    && find . -name Cargo.toml -exec sh -c 'cd "${1%/*}" && mkdir -p src && touch src/lib.rs \
        && echo "fn main() { }" >src/main.rs' sh {} ';'

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY --from=manifests /src .
# Compile the dependencies, then remove what was built from the empty sources: the real ones may have
# older timestamps, and Cargo would not rebuild. Crates that only the tests use stay empty: see
# .dockerignore.
RUN cargo build --release --locked --package auth0-rotator \
    && cargo clean --release --package auth0-rotator --package auth0-client \
        --package leader-election --package rotation \
    && rm -r crates/auth0-client/src crates/leader-election/src crates/rotation/src src
COPY . .
RUN cargo build --release --locked --package auth0-rotator \
    && install -D "${CARGO_TARGET_DIR:-target}/release/auth0-rotator" \
        /out/usr/local/bin/auth0-rotator \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
    && install -D -m 644 LICENSE /out/licenses/auth0-rotator/LICENSE \
    && sh deploy/image/licenses.sh /out/licenses

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="auth0-rotator" \
      org.opencontainers.image.description="Rotates Auth0 client secrets without a failed login" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/auth0-rotator/auth0-rotator" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out /
# glibc returns buffers of this size or more to the system at once; without a fixed threshold it would
# raise it after the first large list. Few arenas keep freed memory in one place.
ENV MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_ARENA_MAX=2
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/auth0-rotator"]
CMD ["run"]
