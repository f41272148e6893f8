"""A policy that `trainer export --format safetensors` wrote, in numpy."""

import json

import numpy as np
from safetensors import safe_open


def load(path):
    """The tensors of the file by name, and what it says about them."""
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads(file.metadata()["policy"])


def act(policy, observation):
    """The action for an observation [n], or the actions for observations [batch, n]."""
    tensors, about = policy
    x = np.asarray(observation, np.float32)
    if "observation.mean" in tensors:
        clip = tensors["observation.clip"]
        x = (x - tensors["observation.mean"]) / tensors["observation.std"]
        x = np.clip(x, -clip, clip).astype(np.float32)
    for layer in range(about["layers"]):
        if layer > 0:
            x = np.tanh(x) if about["activation"] == "tanh" else np.maximum(x, 0)
        x = x @ tensors[f"layers.{layer}.weight"] + tensors[f"layers.{layer}.bias"]
    if about["actions"] == "discrete":
        return x.argmax(axis=-1)
    if "action.center" in tensors:
        x = tensors["action.center"] + tensors["action.half_width"] * np.tanh(x)
    return np.clip(x, tensors["action.low"], tensors["action.high"])
