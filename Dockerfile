# The operator's image. Other bases can be given where no registry is reached.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package auth0-rotator

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="auth0-rotator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/release/auth0-rotator /usr/local/bin/auth0-rotator
COPY LICENSE /licenses/LICENSE
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/auth0-rotator"]
CMD ["run"]
