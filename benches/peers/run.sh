#!/usr/bin/env bash
# Backburn beside other implementations: installs and builds both sides, then compares their speed at the same settings
# (bars.py), or how often they fail, each at its own (failures.py).
#
#   benches/peers/run.sh [--rounds N] [CONFIGURATION...]
#   benches/peers/run.sh failures [--seeds N]
#
# For Debian with two cores and nothing else to do; speeds take about ten minutes after the builds. PEERS names the
# virtual environment that the peers are installed into.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers="${PEERS:-$HOME/.cache/backburn-peers}"

missing=()
for package in g++ libopenblas-dev python3-venv; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
    ((EUID == 0)) && as_root=() || as_root=(sudo)
    "${as_root[@]}" apt-get update --quiet=2
    "${as_root[@]}" apt-get install --quiet=2 --yes "${missing[@]}"
fi
[[ -x "$peers/bin/python" ]] || python3 -m venv "$peers"
# gymnax 1.0.1 imports six without saying so.
"$peers/bin/pip" install --quiet --disable-pip-version-check stable-baselines3==2.9.2 sb3-contrib==2.9.2 \
    jax==0.10.2 gymnax==1.0.1 optax==0.2.8 six==1.17.0 rltools==2.2.1 mujoco==4.0.0 pyyaml==6.0.4
# Its hyperparameters are wanted, and not what it needs to train.
"$peers/bin/pip" install --quiet --disable-pip-version-check --no-deps rl-zoo3==2.9.2

packages="$("$peers/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
g++ -std=c++17 -Ofast -march=native -DRL_TOOLS_BACKEND_ENABLE_OPENBLAS \
    -I "$packages/rltools/external/rl_tools/include" \
    -o "$peers/rltools_pendulum" benches/peers/rltools_pendulum.cpp -lopenblas
if ! nm -D "$peers/rltools_pendulum" | grep -q ' U cblas_sgemm'; then
    echo "run.sh: RLtools does not call BLAS: its figure would be ten times too low" >&2
    exit 1
fi

cargo build --release --workspace
if [[ "${1:-}" == failures ]]; then
    exec "$peers/bin/python" benches/peers/failures.py "${CARGO_TARGET_DIR:-target}/release/trainer" "${@:2}"
fi
"$peers/bin/python" benches/peers/bars.py "$@"
