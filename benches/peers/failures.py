"""How often do Stable-Baselines3's PPO and sb3-contrib's TRPO fail with the hyperparameters that rl-zoo3 has tuned for
them? Ten seeds of each beside ours, with the same number of steps and the same evaluation, as a table.

    benches/peers/run.sh failures [--seeds N]

The hyperparameters are read from the files of the package rl-zoo3; only `n_timesteps` is another one: the budget below,
rounded up to whole rollouts, where theirs is 100,000. Linear schedules end with the run. What each of these runs came
to is left below runs/failures as `trainer` leaves it, so its verbs work on it, and a run that is there is not
repeated. All of them took 34 minutes on two busy cores.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from importlib.metadata import distribution, version
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import seeds

# Gymnasium's name, and steps of a run.
TASKS = {"cartpole": ("CartPole-v1", 50_000), "pendulum": ("Pendulum-v1", 100_000)}
ALGORITHMS = ("ppo", "trpo")
EPISODES = 100
RUNS = Path("runs/failures")
JOBS = 2
PACKAGES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium")


def hyperparameters(algorithm: str, name: str) -> dict:
    """What rl-zoo3 gives the algorithm on this environment."""
    import yaml

    path = distribution("rl-zoo3").locate_file(f"rl_zoo3/hyperparams/{algorithm}.yml")
    return yaml.safe_load(Path(path).read_text())[name]


def schedule(value):
    """rl-zoo3's `lin_0.2`: from 0.2 to 0, a function of the share of the run that is left."""
    if isinstance(value, str) and value.startswith("lin_"):
        start = float(value.removeprefix("lin_"))
        return lambda left: start * left
    return value


def train(task: tuple[str, str, int]) -> None:
    """A run, and its last policy's greedy episodes."""
    environment, algorithm, seed = task
    directory = RUNS / environment / "zoo" / algorithm / str(seed)
    if (directory / "summary.json").exists():
        return
    import torch
    from sb3_contrib import TRPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    name, budget = TASKS[environment]
    settings = {key: schedule(value) for key, value in hyperparameters(algorithm, name).items()}
    environments = settings.pop("n_envs")
    settings.pop("n_timesteps")
    rollout = environments * settings["n_steps"]
    steps = -(-budget // rollout) * rollout
    training = make_vec_env(name, n_envs=environments, seed=seed)
    model = {"ppo": PPO, "trpo": TRPO}[algorithm](env=training, seed=seed, device="cpu", **settings)
    started = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - started
    assert model.num_timesteps == steps
    # Episodes that training has not seen.
    held_out = make_vec_env(name, n_envs=10, seed=1_000_000 + 1000 * seed)
    returns, lengths = evaluate_policy(model, held_out, EPISODES, deterministic=True, return_episode_rewards=True)
    returns = torch.tensor(returns, dtype=torch.float64)
    summary = {
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "seed": seed,
        "backend": "torch",
        "algorithm": algorithm,
        "environment": environment,
        "version": version("sb3-contrib" if algorithm == "trpo" else "stable-baselines3"),
        "eval": {
            "episodes": len(lengths),
            "mean_return": returns.mean().item(),
            "std_return": returns.std(correction=0).item(),
            "min_return": returns.min().item(),
            "max_return": returns.max().item(),
            "mean_length": sum(lengths) / len(lengths),
            "success_rate": None,
        },
    }
    directory.mkdir(parents=True, exist_ok=True)
    head = f'name = "zoo_{algorithm}_{environment}"\nseed = {seed}\n'
    (directory / "config.toml").write_text(
        f'{head}\n[env]\nname = "{environment}"\n\n[agent]\nalgorithm = "{algorithm}"\n'
    )
    (directory / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{environment} {algorithm} seed {seed}: {summary['eval']['mean_return']:.1f}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("trainer")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    # Of a network this small more threads make nothing faster.
    os.environ["OMP_NUM_THREADS"] = "1"
    numbers = range(1, arguments.seeds + 1)
    tasks = [(environment, algorithm, seed) for environment in TASKS for algorithm in ALGORITHMS for seed in numbers]
    # A process for each run: nothing is left of the one before.
    with multiprocessing.get_context("spawn").Pool(JOBS, maxtasksperchild=1) as pool:
        pool.map(train, tasks, chunksize=1)
    versions = ", ".join(f"{package} {version(package)}" for package in ("rl-zoo3", *PACKAGES))
    print(f"{versions}\n", f"| implementation {seeds.HEAD}", sep="\n")
    print("|---" * seeds.HEAD.count("|") + "|")
    for environment, (_, budget) in TASKS.items():
        ours = RUNS / environment / "backburn"
        seeds.sweep(arguments.trainer, environment, arguments.seeds, ours, f"total_steps={budget}")
        for name, directory in (("Backburn", ours), ("rl-zoo3's settings", RUNS / environment / "zoo")):
            for row in seeds.rows(arguments.trainer, directory, environment):
                print(f"| {name} {row}", flush=True)


if __name__ == "__main__":
    main()
