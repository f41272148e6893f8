"""What a step costs as a run grows: environments, minibatch and layers, one after the other, with one thread and with
two; in Markdown. Beside it the arithmetic limit of both cores, and a model of 16 cores.

    python3 benches/growth.py

It uses the release build's trainer, and takes about five minutes on two cores.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from bars import TRAINER, flop, peak  # noqa: E402

BATCH = 65_536
CHUNK = 128
ROUNDS = 3


def run(envs, minibatch, width, threads, scratch):
    """Median steps a second of training, and the most memory in MB."""
    path = scratch / "growth.toml"
    config = {
        "env": {"name": "cartpole", "num_envs": envs},
        "network": {"hidden": [width, width]},
        "agent": {"algorithm": "ppo", "rollout_steps": BATCH // envs, "epochs": 1, "minibatch_size": minibatch},
    }
    lines = []
    for table, keys in config.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    path.write_text("\n".join([*lines, "[eval]", "episodes = 1"]))
    iterations = 3 if width <= 256 else 1
    command = [TRAINER, "run", path, "--quiet", "--out", scratch / "run", "--overwrite"]
    command += ["--threads", str(threads), "--set", f"total_steps={iterations * BATCH}"]
    paces, memory = [], 0
    for _ in range(ROUNDS):
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, command
        memory = max(memory, usage.ru_maxrss / 1024)
        paces.append(json.loads((scratch / "run/summary.json").read_text())["steps_per_second"])
    return statistics.median(paces), memory, flop(config)


def model(one, two, minibatch, cores=16):
    """Steps a second with so many cores: what two threads share is shared by as many as there are pieces of a
    minibatch, actor's and critic's chunks; the rest stays with one."""
    first, second = 1 / one, 1 / two
    shared = max(2 * (first - second), 0)
    pieces = 2 * math.ceil(minibatch / CHUNK)
    return 1 / (first - shared + shared / min(cores, pieces))


def table(name, points, limit, scratch):
    print(f"\n| {name} | one thread | two | limit of two | 16 cores (model) | memory |\n|---|---|---|---|---|---|")
    for value, envs, minibatch, width in points:
        one, _, _ = run(envs, minibatch, width, 1, scratch)
        two, memory, operations = run(envs, minibatch, width, 2, scratch)
        sixteen = model(one, two, minibatch)
        pace = " | ".join(f"{x:,.0f}" for x in (one, two, limit / operations, sixteen))
        print(f"| {value:,} | {pace} | {memory:,.0f} MB |", flush=True)


def main():
    limit = peak()
    print(f"Both cores' peak: {limit / 1e9:.0f} GFLOP/s", file=sys.stderr)
    powers = lambda first, last: [4**i for i in range(20) if first <= 4**i <= last]  # noqa: E731
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        table("environments", [(n, n, 256, 64) for n in powers(1, BATCH)], limit, scratch)
        table("minibatch", [(n, 256, n, 64) for n in powers(64, BATCH)], limit, scratch)
        table("width of two layers", [(n, 256, 1024, n) for n in (64, 128, 256, 512, 1024)], limit, scratch)


if __name__ == "__main__":
    main()
