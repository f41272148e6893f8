"""How often do the configurations fail? Sweeps of PPO and TRPO over many seeds, as a table.

    python3 benches/seeds.py target/release/trainer [--seeds N] [ENVIRONMENT...]

The last policy of every run counts: no seed and no checkpoint is chosen. docs/results.md has what came of it.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple


class Task(NamedTuple):
    seeds: int
    # What every seed must reach in its 100 greedy episodes: a mean return, or a success rate.
    flag: str
    floor: float


TASKS = {
    "cartpole": Task(100, "--threshold", 500.0),
    "cliff": Task(100, "--threshold", -13.0),
    "pendulum": Task(100, "--threshold", -180.0),
    "reach": Task(20, "--success-threshold", 0.99),
}
HEAD = "| environment | algorithm | steps | worst | 5 % quantile | median | interquartile mean | below the floor | seeds |"


def rows(trainer: str, directory: Path, environment: str) -> list[str]:
    """Rows of the table: one for each algorithm that there are runs of below the directory."""
    _, flag, floor = TASKS[environment]
    command = [trainer, "compare", directory, f"{flag}={floor}", "--json"]
    compared = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    summaries = [json.loads(path.read_text()) for path in directory.rglob("summary.json")]
    metric, digits = ("mean_return", 1) if flag == "--threshold" else ("success_rate", 2)
    lines = []
    for row in compared["rows"]:
        runs = [summary for summary in summaries if summary["algorithm"] == row["algorithm"]]
        values = sorted(run["eval"][metric] for run in runs)
        assert len(values) == len(row["seeds"]), f"{directory} holds unfinished runs"
        quarter = len(values) // 4
        figures = [
            values[0],
            values[len(values) // 20],
            statistics.median(values),
            statistics.mean(values[quarter : len(values) - quarter]),
        ]
        seeds = row["failed"]["seeds"]
        low, high = (100 * end for end in row["failed"]["share"]["interval"])
        cells = [f"`{environment}`", row["algorithm"], f"{runs[0]['steps']:,}"]
        cells += [f"{figure:.{digits}f}" for figure in figures]
        cells += [f"{len(seeds)} of {len(values)} below {floor:g}: {low:.1f} to {high:.1f} %"]
        cells += [", ".join(map(str, seeds)) or "none"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def sweep(trainer: str, environment: str, seeds: int, directory: Path, *settings: str) -> None:
    """Trains both algorithms with seeds 1 to `seeds`."""
    for algorithm in ("ppo", "trpo"):
        config = f"configs/{algorithm}_{environment}.toml"
        command = [trainer, "run", config, "--out", directory / algorithm]
        for setting in (f"sweep.seeds={seeds}", "eval.every_steps=0", *settings):
            command += ["--set", setting]
        subprocess.run([*command, "--overwrite", "--quiet"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("trainer")
    parser.add_argument("--seeds", type=int, help="instead of as many as there are in the table")
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help=", ".join(TASKS))
    # The environments may stand behind an option.
    arguments = parser.parse_intermixed_args()
    environments = arguments.environments or list(TASKS)
    if unknown := set(environments) - set(TASKS):
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n")
    for environment in environments:
        directory = Path("runs") / f"seeds_{environment}"
        sweep(arguments.trainer, environment, arguments.seeds or TASKS[environment].seeds, directory)
        print(*rows(arguments.trainer, directory, environment), sep="\n", flush=True)


if __name__ == "__main__":
    main()
