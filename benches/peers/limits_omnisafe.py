"""Trains OmniSafe 0.5.0 on `budget` or on `reach` with a zone, and prints what its final policy earns and costs.

    limits_omnisafe.py budget|reach ALGORITHM STEPS SEED [tuned]

ALGORITHM is one of OmniSafe's, such as PPOLag. Without `tuned` every setting is its default but the number of steps, the
limit and the discount, which is our configuration's; with `tuned` they are those of TUNED. Return and cost are means over
sampled episodes of the final policy, undiscounted, with the cost's standard error.

What installs beside PyTorch, without all of what OmniSafe's own package asks for:

    pip install --no-deps omnisafe==0.5.0 gymnasium==0.28.1 jax-jumpy farama-notifications
    pip install "numpy<2" cloudpickle tensorboard rich typer moviepy==1.0.3 imageio==2.31.1 seaborn matplotlib gdown joblib pandas pyyaml xmltodict
"""

import argparse
import sys
import tempfile
import time
from unittest import mock

import numpy as np
import torch
from gymnasium.spaces import Box

# It imports this package, which wants an older Python, for environments that are not used here.
sys.modules["safety_gymnasium"] = mock.MagicMock()

import omnisafe
from omnisafe.envs.core import CMDP, env_register

LIMITS = {"budget": 2.0, "reach": 0.8}


class Copies(CMDP):
    """Copies of an environment side by side, which reset themselves; `state` has a row a copy."""

    need_time_limit_wrapper = False
    need_auto_reset_wrapper = False

    def __init__(self, env_id, num_envs=1, device=None, **_):
        self._num_envs = num_envs
        self.rng = np.random.default_rng(0)
        self._metadata = {}
        self.begin()

    def begin(self):
        self.state = self.first(self._num_envs)
        self.length = np.zeros(self._num_envs, int)

    def set_seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self, seed=None, options=None):
        self.begin()
        return self.rows(self.observed()), {}

    def rows(self, numbers):
        numbers = torch.as_tensor(np.asarray(numbers), dtype=torch.float32)
        # Of one copy it knows no rows.
        return numbers if self._num_envs > 1 else numbers[0]

    def step(self, action):
        action = action.detach().numpy().reshape(self._num_envs, -1).astype(float)
        action = np.clip(action, self._action_space.low, self._action_space.high)
        reward, cost, terminated = self.advance(action)
        self.length += 1
        truncated = ~terminated & (self.length >= self.longest)
        has_ended = terminated | truncated
        ended = np.flatnonzero(has_ended)
        info = {}
        if len(ended):
            info["final_observation"] = self.rows(self.observed())
            info["_final_observation"] = has_ended
        if len(ended):
            self.state[ended] = self.first(len(ended))
            self.length[ended] = 0
        numbers = [self.observed(), reward, cost, terminated, truncated]
        return (*map(self.rows, numbers), info)

    def render(self):
        raise NotImplementedError

    def close(self):
        pass


@env_register
class Budget(Copies):
    """The equations of budget.rs. With more than one copy, training is cut at 100 steps as in our configurations."""

    _support_envs = ["budget"]
    _observation_space = Box(-np.inf, np.inf, (2,))
    _action_space = Box(-10.0, 10.0, (1,))
    longest = 1000

    def first(self, count):
        return self.rng.uniform(-1, 1, (count, 2)) * [1.0, 0.5]

    def observed(self):
        return self.state

    def advance(self, action):
        (x, v), u = self.state.T, action[:, 0]
        reward = -(x**2 + 0.1 * v**2)
        self.state = np.stack([x + 0.1 * v + 0.005 * u, v + 0.1 * u], 1)
        return reward, u**2, self.rng.random(len(u)) < 0.02


LENGTH, FRICTION, TORQUE, TIME_STEP, INERTIA = 0.5, 0.1, 2.0, 0.01, 0.25


def accelerations(q2, v, torques):
    """Of both joints, as in reach.py, of many arms."""
    c = np.cos(q2)
    m11, m12, m22 = INERTIA * (5 / 3 + c), INERTIA * (1 / 3 + 0.5 * c), INERTIA / 3
    h = 0.5 * INERTIA * np.sin(q2)
    f1 = torques[:, 0] - FRICTION * v[:, 0] + h * (2 * v[:, 0] * v[:, 1] + v[:, 1] ** 2)
    f2 = torques[:, 1] - FRICTION * v[:, 1] - h * v[:, 0] ** 2
    determinant = m11 * m22 - m12 * m12
    return np.stack([m22 * f1 - m12 * f2, m11 * f2 - m12 * f1], 1) / determinant[:, None]


@env_register
class Reach(Copies):
    """The equations of reach.rs, with the objects and the zone of configs/ppo_reach_zone.toml."""

    _support_envs = ["reach"]
    _observation_space = Box(-np.inf, np.inf, (10,))
    _action_space = Box(-1.0, 1.0, (2,))
    longest = 200

    def first(self, count):
        """Angles, velocities, the object."""
        q, v = self.rng.uniform(-np.pi, np.pi, (count, 2)), self.rng.uniform(-0.1, 0.1, (count, 2))
        radius = np.sqrt(self.rng.uniform(0.6**2, 0.95**2, count))
        angle = self.rng.uniform(-np.pi, np.pi, count)
        return np.concatenate([q, v, np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)], 1)

    def gripper(self):
        q1, both = self.state[:, 0], self.state[:, 0] + self.state[:, 1]
        upper = LENGTH * np.stack([np.cos(q1), np.sin(q1)], 1)
        fore = LENGTH * np.stack([np.cos(both), np.sin(both)], 1)
        v1, v2 = self.state[:, 2:3], self.state[:, 2:3] + self.state[:, 3:4]
        turned = lambda link: np.stack([-link[:, 1], link[:, 0]], 1)
        return upper + fore, v1 * turned(upper) + v2 * turned(fore)

    def observed(self):
        q, rest = self.state[:, :2], self.state[:, 2:4]
        turns = np.stack([np.cos(q[:, 0]), np.sin(q[:, 0]), np.cos(q[:, 1]), np.sin(q[:, 1])], 1)
        return np.concatenate([turns, rest, self.gripper()[0], self.state[:, 4:]], 1)

    def advance(self, action):
        torques = TORQUE * action
        for _ in range(2):
            self.integrate(torques)
        place, velocity = self.gripper()
        distance = np.linalg.norm(place - self.state[:, 4:], axis=1)
        grasped = (distance <= 0.05) & (np.linalg.norm(velocity, axis=1) <= 0.5)
        reward = -distance - 0.01 * (action**2).sum(1) + 10.0 * grasped
        zone = np.linalg.norm(place - [0.4, 0.0], axis=1) <= 0.2
        return reward, zone.astype(float), grasped

    def integrate(self, torques):
        """One step of the classic Runge-Kutta method."""
        q, v1 = self.state[:, :2].copy(), self.state[:, 2:4].copy()
        half = 0.5 * TIME_STEP
        a1 = accelerations(q[:, 1], v1, torques)
        v2 = v1 + half * a1
        a2 = accelerations(q[:, 1] + half * v1[:, 1], v2, torques)
        v3 = v1 + half * a2
        a3 = accelerations(q[:, 1] + half * v2[:, 1], v3, torques)
        v4 = v1 + TIME_STEP * a3
        a4 = accelerations(q[:, 1] + TIME_STEP * v3[:, 1], v4, torques)
        self.state[:, :2] += TIME_STEP / 6 * (v1 + 2 * (v2 + v3) + v4)
        self.state[:, 2:4] += TIME_STEP / 6 * (a1 + 2 * (a2 + a3) + a4)


# Found in a few runs of seed 1 each: five for `budget`, one for `reach`.
TUNED = {
    "budget": {
        "train_cfgs": {"vector_env_nums": 16},
        "algo_cfgs": {
            "steps_per_epoch": 4096,
            "update_iters": 10,
            "batch_size": 512,
            "clip": 0.4,
            "lam": 0.5,
            "lam_c": 0.5,
            "kl_early_stop": False,
            "obs_normalize": False,
            "use_critic_norm": False,
        },
        "model_cfgs": {
            "exploration_noise_anneal": True,
            "std_range": [0.1, 0.003],  # of actions in plus or minus 1
            "actor": {"hidden_sizes": [], "lr": 0.003},
            "critic": {"hidden_sizes": [32, 32], "lr": 0.003},
        },
        "lagrange_cfgs": {"lagrangian_multiplier_init": 0.5, "lambda_lr": 0.01},
    },
    "reach": {
        "train_cfgs": {"vector_env_nums": 8},
        "algo_cfgs": {
            "steps_per_epoch": 4096,
            "update_iters": 10,
            "batch_size": 512,
            "lam": 0.9,
            "lam_c": 0.9,
            "target_kl": 0.03,
            "obs_normalize": False,
            "use_critic_norm": False,
        },
        "model_cfgs": {
            "actor": {"hidden_sizes": [128, 128], "activation": "relu", "lr": 1e-3},
            "critic": {"hidden_sizes": [128, 128], "activation": "relu", "lr": 1e-3},
        },
        "lagrange_cfgs": {"lagrangian_multiplier_init": 0.5},
    },
}
GAMMA = {"budget": 1.0, "reach": 0.97}


def evaluate(agent, episodes):
    """Plays `episodes` of each copy: their returns, costs and ends, and the states met with the policy's mean actions."""
    env, policy = agent._env._env, agent._actor_critic
    observation, _ = env.reset()
    sums, played = np.zeros((env.num_envs, 2)), np.zeros(env.num_envs, int)
    rows, states, means = [], [], []
    while played.min() < episodes:
        states.append(env.state.copy())
        means.append(policy.actor.predict(observation, deterministic=True).detach().numpy())
        action = policy.step(observation)[0]
        observation, reward, cost, terminated, truncated, _ = env.step(action)
        sums += torch.stack([reward, cost], 1).numpy()
        for copy in torch.nonzero((terminated + truncated) > 0)[:, 0]:
            if played[copy] < episodes:
                rows.append([*sums[copy], terminated[copy]])
            sums[copy], played[copy] = 0.0, played[copy] + 1
    return np.array(rows), np.concatenate(states), np.concatenate(means)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("environment", choices=LIMITS)
    parser.add_argument("algorithm")
    parser.add_argument("steps", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("settings", nargs="?", choices=["tuned"])
    parser.add_argument("--episodes", type=int, default=3000, help="of the final policy")
    arguments = parser.parse_args()
    name, limit = arguments.environment, LIMITS[arguments.environment]
    settings = TUNED[name] if arguments.settings else {}
    train = {"vector_env_nums": 1, "total_steps": arguments.steps, "torch_threads": 1}
    settings["train_cfgs"] = train | settings.get("train_cfgs", {})
    settings["algo_cfgs"] = {"gamma": GAMMA[name], "cost_gamma": GAMMA[name]} | settings.get("algo_cfgs", {})
    limited = "algo_cfgs" if arguments.algorithm in ("CPO", "PCPO") else "lagrange_cfgs"
    settings[limited] = {"cost_limit": limit} | settings.get(limited, {})
    if arguments.settings:
        Budget.longest = 100
    with tempfile.TemporaryDirectory() as directory:
        settings |= {"seed": arguments.seed, "logger_cfgs": {"use_tensorboard": False, "log_dir": directory}}
        agent = omnisafe.Agent(arguments.algorithm, name, custom_cfgs=settings).agent
        if settings.get("model_cfgs", {}).get("exploration_noise_anneal"):
            # Its schedule begins with the second iteration; the first has a deviation of 1.
            agent._actor_critic.actor.std = settings["model_cfgs"]["std_range"][0]
        begun = time.perf_counter()
        agent.learn()
        seconds = time.perf_counter() - begun
        Budget.longest = 1000
        rows, states, means = evaluate(agent, -(-arguments.episodes // settings["train_cfgs"]["vector_env_nums"]))
    returns, costs, successes = rows.T
    print(
        f"RESULT {name} {arguments.algorithm} {arguments.settings or 'defaults'} seed {arguments.seed} "
        f"steps {arguments.steps}: return {returns.mean():.3f} cost {costs.mean():.3f} "
        f"+/- {costs.std() / len(costs) ** 0.5:.3f} ended by itself {successes.mean():.3f} "
        f"steps/s {arguments.steps / seconds:.0f} episodes {len(costs)}"
    )
    if name == "budget":
        # The linear policy that is nearest.
        gains = -10.0 * np.linalg.lstsq(states, means, rcond=None)[0][:, 0]
        print(f"gains {gains[0]:.3f} {gains[1]:.3f} noise {10.0 * agent._actor_critic.actor.std:.4f}")


if __name__ == "__main__":
    main()
