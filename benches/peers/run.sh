#!/usr/bin/env bash
# Backburn beside Stable-Baselines3 and sb3-contrib: the same settings, one after the other, five times.
#
#   benches/peers/run.sh [CONFIG.toml...]
#
# PEERS names the virtual environment that the peers are installed into.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers="${PEERS:-$HOME/.cache/backburn-peers}"
if [[ ! -x "$peers/bin/python" ]]; then
    python3 -m venv "$peers"
    "$peers/bin/pip" install --quiet stable-baselines3==2.9.2 sb3-contrib==2.9.2
fi
cargo build --release --workspace
trainer="${CARGO_TARGET_DIR:-target}/release/trainer"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
(($# > 0)) || set -- configs/ppo_cartpole_cleanrl.toml configs/ppo_cartpole_sb3.toml \
    benches/peers/trpo_cartpole_zoo.toml configs/ppo_pendulum.toml
for config in "$@"; do
    for _ in 1 2 3 4 5; do
        "$trainer" run "$config" --quiet --out "$scratch/run" --overwrite
        grep -h '"steps_per_second"' "$scratch/run/summary.json"
        "$peers/bin/python" benches/peers/peers.py "$config" --steps 20480
    done
done
