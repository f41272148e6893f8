"""Backburn and other implementations at the same settings, one after the other on two cores, several rounds: medians of
environment steps a second of training, in Markdown. What each round brought goes to stderr.

    run.sh [--rounds N] [CONFIGURATION...]

A configuration is named as its file, without the extension; all of them if none is named.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TRAINER = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release/trainer"
SB3 = (sys.executable, HERE / "sb3.py")
JAX = (sys.executable, HERE / "jax_ppo.py")
RLTOOLS = (Path(sys.prefix) / "rltools_pendulum",)
PACKAGES = ["stable-baselines3", "sb3-contrib", "torch", "gymnasium", "mujoco", "jax", "gymnax", "rltools"]
# Numbers of an observation, and outputs of the policy's network.
ENVIRONMENTS = {"cartpole": (4, 2), "pendulum": (3, 1), "reach": (10, 2), "arm": (27, 7)}


class Peer(NamedTuple):
    name: str
    program: tuple
    # That it may use. PyTorch is often faster with one.
    threads: int
    # Enough for its pace to be steady; the slow ones run few.
    steps: int


class Setting(NamedTuple):
    config: str
    # Of ours.
    steps: int
    peers: list[Peer]


def sb3(name, steps):
    return [Peer(name, SB3, threads, steps) for threads in (1, 2)]


SETTINGS = [
    Setting("benches/peers/ppo_pendulum_rltools.toml", 1_228_800, [Peer("RLtools", RLTOOLS, 1, 1_228_800)]),
    Setting(
        "configs/ppo_cartpole_cleanrl.toml",
        500_000,
        [Peer("PureJaxRL's loop", JAX, 2, 500_000), *sb3("Stable-Baselines3", 10_240)],
    ),
    Setting("configs/ppo_cartpole_sb3.toml", 204_800, sb3("Stable-Baselines3", 6_144)),
    Setting("benches/peers/trpo_cartpole_zoo.toml", 204_800, sb3("sb3-contrib", 10_240)),
    Setting("configs/ppo_pendulum.toml", 409_600, sb3("Stable-Baselines3", 10_240)),
    Setting("configs/ppo_reach.toml", 204_800, sb3("Stable-Baselines3", 20_480)),
    Setting("configs/ppo_panda_reach.toml", 204_800, sb3("Stable-Baselines3", 12_288)),
    Setting("configs/trpo_panda_reach.toml", 204_800, sb3("sb3-contrib", 12_288)),
]


def ours(config, steps, threads, scratch):
    command = [TRAINER, "run", config, "--quiet", "--out", scratch / "run", "--overwrite"]
    command += ["--threads", str(threads), "--set", f"total_steps={steps}", "--set", "eval.episodes=1"]
    subprocess.run(command, check=True)
    return json.loads((scratch / "run/summary.json").read_text())["steps_per_second"]


def theirs(config, peer):
    threads = str(peer.threads)
    # What OpenBLAS is told otherwise is taken away: it knows its kernels by the processor.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    environment |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [*peer.program, config, str(peer.steps)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def peak():
    """The floating-point operations a second of each core, both measured at once by `benches/kernels.rs`, together."""
    bench = ["cargo", "bench", "--quiet", "--workspace", "--bench", "kernels"]
    subprocess.run([*bench, "--no-run"], check=True)
    running = [
        subprocess.Popen(
            [*bench, "--", "peak", "--min-time", "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}),
        )
        for core in os.sched_getaffinity(0)
    ]
    total = 0.0
    for process in running:
        output, _ = process.communicate()
        # The first column is the fastest sample.
        number, prefix = re.search(r"([\d.]+) ([GT])item/s", output).groups()
        total += float(number) * {"G": 1e9, "T": 1e12}[prefix]
    return total


def flop(config):
    """Floating-point operations of PPO for each environment step: a product and a sum for each weight.

    Acting and the value take a forward pass of actor and critic. Each epoch takes one again and a backward pass of
    twice that, less the derivatives of the observations, which nobody needs.
    """
    inputs, actions = ENVIRONMENTS[config["env"]["name"]]
    hidden = config.get("network", {}).get("hidden", [64, 64])
    forward, first = 0, 0
    for outputs in (actions, 1):
        sizes = [inputs, *hidden, outputs]
        forward += sum(2 * rows * columns for rows, columns in zip(sizes, sizes[1:]))
        first += 2 * sizes[0] * sizes[1]
    return forward + config["agent"]["epochs"] * (3 * forward - first)


def measure(setting, rounds, scratch):
    """Median steps a second of each contender: ours by their number of threads, and the peers."""
    # An early stop would make the work depend on what was learned; both sides look for it, and never do it.
    path = scratch / Path(setting.config).name
    text = re.sub(r"(?m)^target_kl = [\d.e-]+", "target_kl = 1e9", Path(setting.config).read_text())
    # A robot's file is found from where the configuration is.
    path.write_text(re.sub(r'(?m)^urdf = "', f'urdf = "{Path(setting.config).parent.resolve()}/', text))
    contenders = {2: lambda: ours(path, setting.steps, 2, scratch)}
    contenders |= {peer: lambda peer=peer: theirs(path, peer) for peer in setting.peers}
    contenders[1] = lambda: ours(path, setting.steps, 1, scratch)
    figures = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, run in contenders.items():
            figures[contender].append(run())
    for contender, values in figures.items():
        name, threads = ("Backburn", contender) if isinstance(contender, int) else (contender.name, contender.threads)
        print(path.stem, name, threads, *(f"{value:.0f}" for value in values), sep="\t", file=sys.stderr)
    return {contender: statistics.median(values) for contender, values in figures.items()}


def main():
    names = [Path(setting.config).stem for setting in SETTINGS]
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("configurations", nargs="*", metavar="CONFIGURATION", help=", ".join(names))
    arguments = parser.parse_args()
    chosen = arguments.configurations or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no configuration {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error("two cores are needed, and this process may use one")
    os.sched_setaffinity(0, cores)
    peak_of_both = peak()
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    print(f"{processor}, two cores, together {peak_of_both / 1e9:.0f} GFLOP/s at most; {versions}\n")

    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, setting in zip(names, SETTINGS):
            if name in chosen:
                results[name] = setting, measure(setting, arguments.rounds, Path(scratch))
    print("| configuration | peer | threads | steps/s | Backburn, two threads | ratio | one thread | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (setting, figures) in results.items():
        for peer in setting.peers:
            row = [f"`{name}`", peer.name, peer.threads, f"{figures[peer]:,.0f}"]
            for threads in (2, 1):
                row += [f"{figures[threads]:,.0f}", f"{figures[threads] / figures[peer]:.2f}"]
            print("|", " | ".join(map(str, row)), "|")
    print("\n| configuration | two threads | one thread | two over one | share of both cores' peak |")
    print("|---|---|---|---|---|")
    for name, (setting, figures) in results.items():
        with open(setting.config, "rb") as file:
            config = tomllib.load(file)
        share = ""
        if config["agent"]["algorithm"] == "ppo":
            share = f"{100 * figures[2] * flop(config) / peak_of_both:.0f} %"
        ratio = figures[2] / figures[1]
        print(f"| `{name}` | {figures[2]:,.0f} | {figures[1]:,.0f} | {ratio:.2f} | {share} |")


if __name__ == "__main__":
    main()
