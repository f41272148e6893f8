#!/usr/bin/env bash
# Backburn beside Stable-Baselines3, sb3-contrib and sbx: the same settings, one after the other, five
# times; a line a configuration with the medians in environment steps a second.
#
#   benches/peers/run.sh [CONFIG.toml...]
#
# PEERS names the virtual environment that the peers are installed into.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers="${PEERS:-$HOME/.cache/backburn-peers}"
if [[ ! -x "$peers/bin/python" ]]; then
    python3 -m venv "$peers"
    "$peers/bin/pip" install --quiet stable-baselines3==2.9.2 sb3-contrib==2.9.2 sbx-rl==0.28.0
fi
cargo build --release --workspace
trainer="${CARGO_TARGET_DIR:-target}/release/trainer"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
(($# > 0)) || set -- configs/ppo_cartpole_cleanrl.toml configs/ppo_cartpole_sb3.toml \
    benches/peers/trpo_cartpole_zoo.toml configs/ppo_pendulum.toml configs/ppo_reach.toml

ours() {
    "$trainer" run "$1" --quiet --out "$scratch/run" --overwrite --set "total_steps=$2" \
        --set eval.episodes=1
    sed -n 's/.*"steps_per_second": \([0-9]*\).*/\1/p' "$scratch/run/summary.json"
}
theirs() {
    "$peers/bin/python" benches/peers/peers.py "$1" --peer "$2" --steps "$3" 2>/dev/null
}
median() { sort -n "$1" | sed -n 3p; }

printf '%-42s %10s %10s %7s %10s %7s\n' configuration Backburn SB3 ratio sbx ratio
for config in "$@"; do
    rm -f "$scratch"/{ours,sb3,sbx}
    # The peers are slow; their pace is steady from the first iterations on.
    case "$config" in *reach*) steps=(409600 40960) ;; *) steps=(204800 10240) ;; esac
    for _ in 1 2 3 4 5; do
        ours "$config" "${steps[0]}" >>"$scratch/ours"
        theirs "$config" sb3 "${steps[1]}" >>"$scratch/sb3"
        [[ "$config" == *trpo* ]] || theirs "$config" sbx "${steps[1]}" >>"$scratch/sbx"
    done
    [[ -s "$scratch/sbx" ]] || printf 'nan\nnan\nnan\n' >"$scratch/sbx"
    awk -v name="$config" -v a="$(median "$scratch/ours")" -v b="$(median "$scratch/sb3")" \
        -v c="$(median "$scratch/sbx")" \
        'BEGIN { printf "%-42s %10d %10d %7.1f %10d %7.1f\n", name, a, b, a / b, c, a / c }'
done
