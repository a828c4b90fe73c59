# Sluice and its demo application in one small image; see docs/containers.md.
ARG BASE=debian:12

FROM ${BASE} AS build
WORKDIR /src
# The packages first: they change rarely, so their layer is kept while the code changes.
COPY tests/support/setup.sh tests/support/setup.sh
RUN bash tests/support/setup.sh build
COPY . .
RUN meson setup /build -Db_lto=true -Dstrip=true && ninja -C /build proxy/sluice backends/c/sluice-demo

FROM ${BASE}
COPY tests/support/setup.sh /tmp/setup.sh
RUN bash /tmp/setup.sh runtime && rm -rf /tmp/setup.sh /var/lib/apt/lists/*
# /run/sluice is shared with the application's container and holds its socket.
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin sluice \
    && mkdir /run/sluice && chown sluice: /run/sluice
COPY --from=build /build/proxy/sluice /build/backends/c/sluice-demo /usr/local/bin/

USER sluice
EXPOSE 4433/udp 8080/tcp
# The address of the admin listener, for the health check as well as for the command below.
ENV SLUICE_ADMIN_PORT=8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/$SLUICE_ADMIN_PORT && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["--listen", ":4433", "--cert", "auto", "--app", "unix:/run/sluice/app.sock", "--admin", "0.0.0.0:8080"]
