"""An environment that does nothing, with as many numbers as HalfCheetah-v5 has: what a step of it takes is what the way
to another process costs. `trainer bench` measures it (docs/performance.md).
"""

import gymnasium
import numpy as np
from backburn_env import serve


class Empty(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (17,))
    action_space = gymnasium.spaces.Box(-1, 1, (6,))
    observed, info = np.zeros(17, np.float32), {}

    def reset(self, seed=None, options=None):
        return self.observed, self.info

    def step(self, action):
        return self.observed, 0.0, False, False, self.info


serve(Empty)
