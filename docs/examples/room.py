import gymnasium as gym
import numpy as np
from backburn_env import serve

class Room(gym.Env):  # keep it at 20 degrees; the heater is off or on
    observation_space, action_space = gym.spaces.Box(-15, 15, (1,)), gym.spaces.Discrete(2)
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.off = self.np_random.uniform(-10, 10)  # degrees from 20
        return np.array([self.off], np.float32), {}
    def step(self, action):
        self.off += 0.05 * (30 * action - 15 - self.off)
        return np.array([self.off], np.float32), -abs(self.off), False, False, {"warm": abs(self.off) < 1}

serve(lambda: gym.wrappers.TimeLimit(Room(), 100), success="warm")
