#!/usr/bin/env bash
# From which size on is a GPU the faster backend? Updates a second of ppo_reach_large.toml on each backend,
# over network width and minibatch size.
#
#   benches/crossover.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --workspace
trainer="${CARGO_TARGET_DIR:-target}/release/trainer"
for width in 64 256; do
    for minibatch in 64 1024 8192; do
        echo "hidden [$width, $width], minibatches of $minibatch"
        # One pass over four minibatches.
        "$trainer" bench configs/ppo_reach_large.toml --set "network.hidden=[$width, $width]" \
            --set agent.epochs=1 --set agent.rollout_steps=4 --set "env.num_envs=$minibatch" \
            --set "agent.minibatch_size=$minibatch" | tail -n +4
    done
done
