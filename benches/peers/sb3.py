"""Trains Stable-Baselines3's PPO or sb3-contrib's TRPO with the settings of one of our own configuration files, on
Gymnasium's environments, reach.py and arm.py, and prints environment steps a second.

    sb3.py CONFIG.toml STEPS [--seed N] [--success EPISODES]

With --success it prints also the share of so many greedy episodes after training that end in a success. Otherwise an
iteration goes before the timed ones. The networks are separate for actor and critic, as ours are.
"""

import argparse
import functools
import math
import time
import tomllib

import torch
from sb3_contrib import TRPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import arm
import reach

ENVIRONMENTS = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1", "reach": reach.make}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def schedule(value):
    """A number, or a function of the share of the run that is left, as the peers take it."""
    if isinstance(value, dict):
        start, end = value["start"], value["end"]
        return lambda left: end + (start - end) * left
    return value


def components(env):
    """Numbers in an action, 1 for a choice. sb3-contrib's TRPO takes the mean of the KL over them, where the KL of a
    policy is their sum: its `target_kl` and `cg_damping` are ours divided by this."""
    return max(1, math.prod(env.action_space.shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config")
    parser.add_argument("steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--success", type=int, metavar="EPISODES")
    arguments = parser.parse_args()
    with open(arguments.config, "rb") as file:
        config = tomllib.load(file)
    agent, network = config["agent"], config.get("network", {})
    hidden = network.get("hidden", [64, 64])
    environments, name = config["env"]["num_envs"], config["env"]["name"]
    if name == "arm":
        make = functools.partial(arm.make, arguments.config, config["env"]["parameters"])
    else:
        make = ENVIRONMENTS[name]
    env = make_vec_env(make, n_envs=environments)
    normalized = config["env"].get("normalize_observations", False)
    if normalized:
        env = VecNormalize(env, norm_reward=False)
    common = {
        "policy": "MlpPolicy",
        "env": env,
        "n_steps": agent["rollout_steps"],
        "gamma": agent.get("gamma", 0.99),
        "gae_lambda": agent.get("gae_lambda", 0.95),
        "policy_kwargs": {
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": ACTIVATIONS[network.get("activation", "tanh")],
        },
        "seed": config["seed"] if arguments.seed is None else arguments.seed,
        "device": "cpu",
    }
    if agent["algorithm"] == "ppo":
        model = PPO(
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
        max_kl, count = schedule(agent.get("max_kl", 0.01)), components(env)
        model = TRPO(
            learning_rate=schedule(agent["critic_learning_rate"]),
            n_critic_updates=agent["critic_epochs"],
            batch_size=agent["critic_minibatch_size"],
            cg_max_steps=agent.get("cg_iterations", 10),
            cg_damping=agent.get("damping", 0.1) / count,
            target_kl=(max_kl(1.0) if callable(max_kl) else max_kl) / count,
            **common,
        )
    if not arguments.success:
        model.learn(agent["rollout_steps"] * environments)
    callback = None
    if agent["algorithm"] == "trpo" and callable(max_kl):
        # It takes no schedule, but a callback can follow one.
        def callback(*_):
            model.target_kl = max_kl(model._current_progress_remaining) / count
            return True

    started = time.perf_counter()
    model.learn(arguments.steps, callback=callback)
    print(f"{model.num_timesteps / (time.perf_counter() - started):.0f}")
    if arguments.success:
        observed = env.normalize_obs if normalized else lambda observation: observation
        print(f"{success(model, make(), observed, arguments.success):.2f}")


def success(model, env, observed, episodes):
    """The share of greedy episodes that end in a success."""
    solved = 0
    for seed in range(episodes):
        observation, _ = env.reset(seed=1_000_000 + seed)
        ended = False
        while not ended:
            action, _ = model.predict(observed(observation), deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        solved += info["is_success"]
    return solved / episodes


if __name__ == "__main__":
    main()
