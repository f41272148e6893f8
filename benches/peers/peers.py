"""Trains a peer with the settings of one of our own configuration files, and prints steps per second.

    peers.py CONFIG.toml [--peer sb3|sbx] [--steps N]

Stable-Baselines3 or sbx for PPO, sb3-contrib for TRPO, on Gymnasium's environments and on reach.py;
`run.sh` beside this file installs them. The networks are separate for actor and critic, as ours are.
"""

import argparse
import sys
import time
import tomllib

import gymnasium
from stable_baselines3.common.env_util import make_vec_env

import reach

ENVIRONMENTS = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1", "reach": reach.make}


def schedule(value):
    """A number, or a function of the share of the run that is left, as the peers take it."""
    if isinstance(value, dict):
        start, end = value["start"], value["end"]
        return lambda left: end + (start - end) * left
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--peer", choices=["sb3", "sbx"], default="sb3")
    parser.add_argument("--steps", type=int, help="instead of the configuration's total_steps")
    arguments = parser.parse_args()
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)
    agent, network = config["agent"], config.get("network", {})
    activation = network.get("activation", "tanh")
    if arguments.peer == "sbx":
        import flax.linen
        import jax
        from sbx import PPO

        versions = f"jax {jax.__version__}"
        activation = {"tanh": flax.linen.tanh, "relu": flax.linen.relu}[activation]
    else:
        import torch
        from sb3_contrib import TRPO
        from stable_baselines3 import PPO

        versions = f"torch {torch.__version__}"
        activation = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]
    hidden = network.get("hidden", [64, 64])
    arch = hidden if arguments.peer == "sbx" else {"pi": hidden, "vf": hidden}
    policy = {"net_arch": arch, "activation_fn": activation}
    common = {
        "n_steps": agent["rollout_steps"],
        "gamma": agent.get("gamma", 0.99),
        "gae_lambda": agent.get("gae_lambda", 0.95),
        "policy_kwargs": policy,
        "seed": config["seed"],
        "device": "cpu",
    }
    env = make_vec_env(ENVIRONMENTS[config["env"]["name"]], n_envs=config["env"]["num_envs"])
    if agent["algorithm"] == "ppo":
        model = PPO(
            "MlpPolicy",
            env,
            learning_rate=schedule(agent["learning_rate"]),
            n_epochs=agent["epochs"],
            batch_size=agent["minibatch_size"],
            clip_range=schedule(agent.get("clip_range", 0.2)),
            clip_range_vf=agent.get("value_clip_range"),
            ent_coef=agent.get("entropy_coef", 0.0),
            vf_coef=agent.get("value_coef", 0.5),
            max_grad_norm=agent.get("max_grad_norm", 0.5),
            target_kl=agent.get("target_kl"),
            **common,
        )
    else:
        model = TRPO(
            "MlpPolicy",
            env,
            learning_rate=schedule(agent["critic_learning_rate"]),
            n_critic_updates=agent["critic_epochs"],
            batch_size=agent["critic_minibatch_size"],
            cg_max_steps=agent.get("cg_iterations", 10),
            cg_damping=agent.get("damping", 0.1),
            target_kl=agent.get("max_kl", 0.01),
            **common,
        )
    steps = arguments.steps or config["total_steps"]
    if arguments.peer == "sbx":
        model.learn(2 * agent["rollout_steps"] * config["env"]["num_envs"])  # XLA compiles
    started = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - started
    print(f"{model.num_timesteps / seconds:.0f}")
    print(f"{arguments.peer}, {versions}, gymnasium {gymnasium.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
