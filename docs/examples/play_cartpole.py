"""Plays Gymnasium's CartPole-v1 with a policy that `trainer export --format onnx` wrote."""

import sys

import gymnasium
import onnxruntime

policy = onnxruntime.InferenceSession(sys.argv[1])
env = gymnasium.make("CartPole-v1")
for episode in range(10):
    observation, _ = env.reset(seed=episode)
    score, ended = 0, False
    while not ended:
        [actions] = policy.run(["action"], {"observation": observation[None]})
        observation, reward, terminated, truncated, _ = env.step(actions[0])
        score, ended = score + reward, terminated or truncated
    print(f"episode {episode}: {score:.0f}")
