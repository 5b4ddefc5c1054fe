# Two stages: build with the pinned toolchain, run without it and without root.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && cp target/release/ams /usr/local/bin/ams

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 ams \
    && useradd --uid 10001 --gid ams --home-dir /data --shell /usr/sbin/nologin ams \
    && install -d -o ams -g ams -m 0750 /data /secrets \
    && install -d -o ams -g ams -m 0755 /scrape
COPY --from=build /usr/local/bin/ams /usr/local/bin/ams
COPY deploy/ingest-secret.sh deploy/scrape-user.sh /usr/local/libexec/ams/
USER ams
VOLUME /data
EXPOSE 8443 9464 9465
STOPSIGNAL SIGTERM
# No credentials in the image: the admin's token and the CA are made in /data at the first start.
# The metrics listener is off loopback here, so it asks for a user's token.
ENTRYPOINT ["ams"]
CMD ["--data", "/data", "--listen", "0.0.0.0:8443", "--metrics-listen", "0.0.0.0:9464"]
