# The trainer in a small image.
#
#   docker build -t backburn .
#   docker build -t backburn-mpi --build-arg FEATURES=backburn-trainer/mpi .
#   docker run --rm -v "$PWD:/work" backburn run configs/ppo_cartpole.toml
#
# With the feature `mpi` the image has Open MPI, too. A GPU needs the driver's Vulkan in the container.

FROM rust:1.95-bookworm AS build
ARG FEATURES=""
ARG COMMIT=""
WORKDIR /source
# hadolint ignore=DL3008
RUN if [ -n "$FEATURES" ]; then \
        apt-get update && \
        apt-get install -y --no-install-recommends libopenmpi-dev libclang-dev && \
        rm -rf /var/lib/apt/lists/*; \
    fi
COPY . .
RUN BACKBURN_COMMIT="$COMMIT" \
    cargo build --release --locked --workspace --bin trainer --features "$FEATURES" && \
    strip --strip-debug target/release/trainer

FROM debian:bookworm-slim
ARG FEATURES=""
# hadolint ignore=DL3008
RUN if [ -n "$FEATURES" ]; then \
        apt-get update && \
        apt-get install -y --no-install-recommends openmpi-bin && \
        rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /source/target/release/trainer /usr/local/bin/trainer
USER 1000
WORKDIR /work
ENTRYPOINT ["trainer"]
