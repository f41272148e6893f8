"""Environments made for the tests of environments in other processes. The first argument says which:

counter   counts its steps from 0 or 1, by its seed; terminates at 3 if the action's first number is 0, truncates itself
          at 4. Reward and observation are the count, and then the action as it arrived. The terms of the reward are the
          count before the step and 1; a step costs its count, as an even or an odd one; 3 is success. Has a state.
stateless the same without one
limited   the same with a state, in a wrapper that truncates after 2 steps
colors    the same with frames: red above blue, and the green of the count
blind     the same, where nothing can be rendered, and a second try ends the program
hang      the same, and sleeps for ever in its 100th step
choices   with several choices at once, which the trainer does not know
misnamed  with fewer names than numbers of an observation
broken    with observations of another shape than it says
nested    with an observation that is a dictionary
"""

import os
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
from backburn_env import serve
from gymnasium import spaces

KIND = sys.argv[1]


class Counter(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = spaces.Box(np.float32([-1, -np.inf]), np.float32([2, np.inf]))
    observation_space = spaces.Box(-np.inf, np.inf, (3,))
    observation_names = ["count", "push [N]", "pull [N]"]
    action_names, step_seconds = ["push [N]", "pull [N]"], 0.1
    render_mode = "rgb_array" if KIND in ("colors", "blind") else None
    steps = 0
    has_failed = False

    def observe(self):
        return np.array([self.count, *self.action], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.action = int(self.np_random.integers(2)), [0.0, 0.0]
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        if KIND == "hang" and self.steps == 100:
            print("waiting for ever", file=sys.stderr)
            time.sleep(10_000)
        self.action = [float(number) for number in action]
        self.count += 1
        info = {"before": self.count - 1, "one": 1, "solved": self.count == 3}
        info |= {"even": self.count * (self.count % 2 == 0), "odd": self.count * (self.count % 2)}
        terminated = self.count == 3 and self.action[0] == 0.0
        return self.observe(), float(self.count), terminated, self.count == 4, info

    def render(self):
        if KIND == "blind":
            if Counter.has_failed:
                os.abort()
            Counter.has_failed = True
            raise RuntimeError("no display")
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[:30, :, 0] = 200
        pixels[30:, :, 2] = 200
        pixels[:, 40:, 1] = 60 * self.count
        return pixels


class Remembered(Counter):
    def get_state(self):
        return [self.count, *self.action]

    def set_state(self, state):
        self.count, self.action = int(state[0]), list(state[1:])


def limited():
    return gymnasium.wrappers.TimeLimit(Remembered(), 2)


class Choices(Counter):
    action_names = ["two", "three"]
    action_space = spaces.MultiDiscrete([2, 3])


class Misnamed(Counter):
    observation_names = ["count"]


class Broken(Counter):
    def observe(self):
        return np.zeros(2, np.float32)


class Nested(Counter):
    observation_names = ["low", "middle", "high", "speed x", "speed y"]
    observation_space = spaces.Dict({"level": spaces.Discrete(3), "speed": spaces.Box(-1, 1, (2,))})

    def observe(self):
        return {"level": 1, "speed": np.float32([0.5, -0.5])}


if Path("config.toml").exists():  # a test of the whole trainer, which looks whether this process is gone
    Path(f"process-{os.getpid()}").touch()
kinds = {"choices": Choices, "misnamed": Misnamed, "broken": Broken, "nested": Nested, "limited": limited}
kinds |= {"stateless": Counter, "hang": Counter}
serve(kinds.get(KIND, Remembered), reward_terms=["before", "one"], costs=["even", "odd"], success="solved")
