"""States of environments: what the next steps depend on, as numbers, so that a run can be resumed exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import wrappers


class State(Protocol):
    """How an environment's state is read and put back."""

    def get(self) -> list[float]: ...

    def set(self, numbers: list[float]) -> None: ...


class _Own:
    """Of an environment with the methods `get_state` and `set_state`."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def get(self) -> list[float]:
        return [float(number) for number in self.env.get_state()]

    def set(self, numbers: list[float]) -> None:
        self.env.set_state(numbers)


class _Limited:
    """Of one that counts steps around another."""

    def __init__(self, limits: list[Any], inner: State) -> None:
        self.limits, self.inner = limits, inner

    def get(self) -> list[float]:
        return [float(limit._elapsed_steps or 0) for limit in self.limits] + self.inner.get()

    def set(self, numbers: list[float]) -> None:
        for limit, elapsed in zip(self.limits, numbers):
            limit._elapsed_steps = int(elapsed)
        self.inner.set(numbers[len(self.limits) :])


class _Known:
    """Of Gymnasium's own environments: the generator, and what is simulated."""

    def __init__(self, env: gymnasium.Env[Any, Any], simulated: State) -> None:
        self.env, self.simulated = env, simulated

    def get(self) -> list[float]:
        saved = self.env.np_random.bit_generator.state
        words = [saved["state"][key] >> (32 * word) & 0xFFFFFFFF for key in ("state", "inc") for word in range(4)]
        own: list[int] = [*words, saved["has_uint32"], saved["uinteger"]]
        return [float(number) for number in own] + self.simulated.get()

    def set(self, numbers: list[float]) -> None:
        words, rest = [int(number) for number in numbers[:10]], numbers[10:]
        whole = [sum(word << (32 * at) for at, word in enumerate(words[first : first + 4])) for first in (0, 4)]
        self.env.np_random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": whole[0], "inc": whole[1]},
            "has_uint32": words[8],
            "uinteger": words[9],
        }
        self.simulated.set(rest)


class _Attribute:
    """Classic control keeps everything in `state`; in which precision, is a part of it."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def get(self) -> list[float]:
        state = np.asarray(self.env.state)
        return [float(number) for number in (state.itemsize, *state)]

    def set(self, numbers: list[float]) -> None:
        self.env.state = np.array(numbers[1:], f"f{int(numbers[0])}")


class _Mujoco:
    """MuJoCo says itself what its integration depends on. Tasks look also at where bodies and their centres were
    before a step, which is where they were before the last part of the step before: that does not follow from it."""

    def __init__(self, env: Any) -> None:
        import mujoco  # type: ignore[import-untyped]

        self.mujoco, self.model, self.data = mujoco, env.model, env.data
        self.kind = mujoco.mjtState.mjSTATE_INTEGRATION
        self.size: int = mujoco.mj_stateSize(env.model, self.kind)

    def get(self) -> list[float]:
        state = np.empty(self.size)
        self.mujoco.mj_getState(self.model, self.data, state, self.kind)
        numbers = np.concatenate((state, self.data.xpos.ravel(), self.data.xipos.ravel()))
        return [float(number) for number in numbers]

    def set(self, numbers: list[float]) -> None:
        state, *places = np.split(np.array(numbers), (self.size, self.size + self.data.xpos.size))
        self.mujoco.mj_setState(self.model, self.data, state, self.kind)
        # What else there is follows from it; that must not change it.
        self.mujoco.mj_forward(self.model, self.data)
        self.mujoco.mj_setState(self.model, self.data, state, self.kind)
        for kept, place in zip((self.data.xpos, self.data.xipos), places):
            kept[:] = place.reshape(kept.shape)


CLASSIC_CONTROL = tuple(
    f"classic_control.{name}"
    for name in ("cartpole", "pendulum", "acrobot", "mountain_car", "continuous_mountain_car")
)
MUJOCO = re.compile(r"mujoco\.\w+_v[45]")
STATELESS = (
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.FlattenObservation,
    wrappers.FilterObservation,
    wrappers.RescaleObservation,
    wrappers.RescaleAction,
    wrappers.ClipAction,
    wrappers.ClipReward,
)


def layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    """An environment's wrappers, the outermost first, and at last itself."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def state_of(env: gymnasium.Env[Any, Any]) -> State | None:
    """How the state of an environment is read and put back; None where nobody knows."""
    limits: list[Any] = []
    for layer in layers(env):
        if hasattr(type(layer), "get_state") and hasattr(type(layer), "set_state"):
            return _Limited(limits, _Own(layer))
        if isinstance(layer, wrappers.TimeLimit):
            limits.append(layer)
        elif isinstance(layer, gymnasium.Wrapper) and not isinstance(layer, STATELESS):
            return None
    if type(layer.np_random.bit_generator) is not np.random.PCG64:
        return None
    module = type(layer).__module__.removeprefix("gymnasium.envs.")
    if module in CLASSIC_CONTROL:
        return _Limited(limits, _Known(layer, _Attribute(layer)))
    if MUJOCO.fullmatch(module):
        return _Limited(limits, _Known(layer, _Mujoco(layer)))
    return None
