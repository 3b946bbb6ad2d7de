# Bitmill in a container: one stage compiles, the other carries the program and the libraries it uses.
#
#   docker build -t bitmill:0.1.0 .
#   docker run --rm --read-only --cap-drop ALL --cpus 2 -p 127.0.0.1:8001:8001 -p 127.0.0.1:8002:8002 \
#     -v "$PWD/models/repository:/models:ro" bitmill:0.1.0
#
# The program picks its instruction set and sizes its thread pool from the container's CPU quota at
# start. It writes no file, so the root file system can be read-only. docs/deploy.md tells more.

FROM debian:bookworm-slim AS build
WORKDIR /src
# Packages first: they change less often than the sources.
COPY script/setup script/lib.sh script/
RUN script/setup --build-only && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DBITMILL_TESTS=OFF -DBITMILL_BENCH=OFF \
    && cmake --build build/release --target bitmill \
    && install -D --strip build/release/bitmill /out/usr/local/bin/bitmill

FROM debian:bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bitmill" \
      org.opencontainers.image.description="Inference server for binary models over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"

# The shared libraries that the program is linked with. Versions are those of the base's release.
# Nothing in the image needs a set-user-id program, and nobody can become another user through one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
       libabsl20220623 libcivetweb1 libdnnl2 libgrpc++1.51 libgrpc29 libpng16-16 \
       libprometheus-cpp-core1.0 libprotobuf32 libspdlog1.10 libtbb12 zlib1g \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && mkdir /models

COPY --from=build /out/ /
# A library that is missing fails here and not when the container starts.
RUN ["/usr/local/bin/bitmill", "--version"]

# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
# gRPC (inference and health) and Prometheus metrics.
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["bitmill", "probe", "--address", "127.0.0.1:8001", "--service", "readiness"]
ENTRYPOINT ["bitmill"]
CMD ["serve", "--model-repository", "/models", "--host", "0.0.0.0", "--grpc-port", "8001", "--metrics-port", "8002"]
