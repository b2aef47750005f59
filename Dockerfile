# The image holds the binary and nothing else: no shell, no package manager, a user without privileges.
FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin portcullis

# The same Debian release as above, so that both have the same C library.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/portcullis /usr/local/bin/portcullis
# Mount gateway.yaml and the files that it names here, read-only. Its listeners must not be on loopback, or nothing
# outside the container reaches them; the admin listener may be.
WORKDIR /etc/portcullis
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s \
    CMD ["/usr/local/bin/portcullis", "status", "--ready", "--config", "/etc/portcullis/gateway.yaml"]
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["serve", "--config", "/etc/portcullis/gateway.yaml"]
