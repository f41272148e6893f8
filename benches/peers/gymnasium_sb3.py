"""Trains Stable-Baselines3's PPO or sb3-contrib's TRPO on the environment of one of our own configurations with
`env.name = "process"`, with its settings, and evaluates it as we do: greedy episodes, returns of the environment's own
rewards.

    gymnasium_sb3.py CONFIG.toml SEED

Prints a line of JSON: steps a second of the whole training, and the mean return of the evaluation.
"""

import json
import sys
import time
import tomllib

import gymnasium
import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3 import components, schedule


def main():
    path, seed = sys.argv[1], int(sys.argv[2])
    with open(path, "rb") as file:
        config = tomllib.load(file)
    torch.set_num_threads(1)  # more make networks of this size slower
    agent, env = config["agent"], config["env"]
    name = env["parameters"]["command"][3]
    envs = make_vec_env(name, n_envs=env["num_envs"], seed=seed)
    is_normalized = env.get("normalize_observations", False)
    if is_normalized:
        envs = VecNormalize(envs, gamma=agent["gamma"])
    hidden = config.get("network", {}).get("hidden", [64, 64])
    common = {
        "policy": "MlpPolicy", "env": envs, "n_steps": agent["rollout_steps"], "gamma": agent["gamma"],
        "gae_lambda": agent["gae_lambda"], "seed": seed, "device": "cpu",
        "policy_kwargs": {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.Tanh},
    }
    if agent["algorithm"] == "ppo":
        model = PPO(
            learning_rate=schedule(agent["learning_rate"]), n_epochs=agent["epochs"],
            batch_size=agent["minibatch_size"], clip_range=agent["clip_range"],
            clip_range_vf=agent.get("value_clip_range"), ent_coef=agent["entropy_coef"],
            vf_coef=agent["value_coef"], max_grad_norm=agent["max_grad_norm"], **common,
        )
    else:
        model = TRPO(
            learning_rate=agent["critic_learning_rate"], n_critic_updates=agent["critic_epochs"],
            batch_size=agent["critic_minibatch_size"], cg_max_steps=agent["cg_iterations"],
            cg_damping=agent["damping"] / components(envs), target_kl=agent["max_kl"] / components(envs), **common,
        )
    steps = config["total_steps"]
    # Whole iterations only, as ours.
    steps -= steps % (agent["rollout_steps"] * env["num_envs"])
    started, used = time.perf_counter(), time.process_time()
    model.learn(steps)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used

    single, returns = gymnasium.make(name), []
    for episode in range(config["eval"]["episodes"]):
        observation, _ = single.reset(seed=10_000 + 1000 * seed + episode)
        total, is_over = 0.0, False
        while not is_over:
            if is_normalized:
                observation = envs.normalize_obs(observation)
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = single.step(action)
            total, is_over = total + float(reward), terminated or truncated
        returns.append(total)
    print(json.dumps({
        "config": path, "seed": seed, "steps": steps, "steps_per_second": steps / seconds,
        "steps_per_cpu_second": steps / cpu, "mean_return": float(np.mean(returns)),
    }))


if __name__ == "__main__":
    main()
