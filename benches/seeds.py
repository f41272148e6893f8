"""How often do the configurations fail? Sweeps of PPO and TRPO over many seeds, as a table.

    python3 benches/seeds.py target/release/trainer

The last policy of every run counts: no seed and no checkpoint is chosen. docs/results.md has what came of it.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

SEEDS = 100
# What every seed must reach, in the mean of 100 greedy episodes.
FLOORS = {"cartpole": 500.0, "cliff": -13.0, "pendulum": -180.0}


def row(trial: Path, floor: float) -> str:
    """A row of the table: the runs of one algorithm, a directory for each seed."""
    seeds = sorted(path for path in trial.iterdir() if path.is_dir())
    summaries = [json.loads((seed / "summary.json").read_text()) for seed in seeds]
    returns = sorted(summary["eval"]["mean_return"] for summary in summaries)
    quarter = len(returns) // 4
    figures = [
        returns[0],
        returns[len(returns) // 20],
        statistics.median(returns),
        statistics.mean(returns[quarter : len(returns) - quarter]),
    ]
    failed = sum(x < floor for x in returns)
    steps = summaries[0]["steps"]
    cells = [summaries[0]["algorithm"], f"{steps:,}", *(f"{x:.1f}" for x in figures)]
    return " | ".join([*cells, f"{failed} of {len(returns)} below {floor:g}"])


def main() -> None:
    trainer = sys.argv[1]
    print("| environment | algorithm | steps | worst | 5 % quantile | median | interquartile mean | failed |")
    print("|---|---|---|---|---|---|---|---|")
    for environment, floor in FLOORS.items():
        sweep = Path("runs") / f"seeds_{environment}"
        command = [trainer, "run", f"configs/compare_ppo_trpo_{environment}.toml", "--out", sweep]
        settings = ["--set", f"sweep.seeds={SEEDS}", "--set", "eval.every_steps=0"]
        subprocess.run([*command, "--overwrite", "--quiet", *settings], check=True)
        for trial in sorted((sweep / "trials").iterdir()):
            print(f"| `{environment}` | {row(trial, floor)} |")


if __name__ == "__main__":
    main()
