"""States of environments: what the next steps depend on, as numbers, so that a run can be resumed exactly."""

from __future__ import annotations

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


class _Known:
    """Of Gymnasium's own environments: the generator, the step in the episode, and what is simulated."""

    def __init__(self, env: gymnasium.Env[Any, Any], limit: Any, simulated: Any) -> None:
        self.env, self.limit, self.simulated = env, limit, simulated

    def get(self) -> list[float]:
        saved = self.env.np_random.bit_generator.state
        words = [saved["state"][key] >> (32 * word) & 0xFFFFFFFF for key in ("state", "inc") for word in range(4)]
        elapsed = 0 if self.limit is None else self.limit._elapsed_steps or 0
        own: list[int] = [*words, saved["has_uint32"], saved["uinteger"], elapsed]
        simulated: list[float] = self.simulated.get()
        return [float(number) for number in own] + simulated

    def set(self, numbers: list[float]) -> None:
        words, rest = [int(number) for number in numbers[:11]], numbers[11:]
        whole = [sum(word << (32 * at) for at, word in enumerate(words[first : first + 4])) for first in (0, 4)]
        self.env.np_random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": whole[0], "inc": whole[1]},
            "has_uint32": words[8],
            "uinteger": words[9],
        }
        if self.limit is not None:
            self.limit._elapsed_steps = words[10]
        self.simulated.set(rest)


class _Attribute:
    """Classic control keeps everything in `state`."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def get(self) -> list[float]:
        return [float(number) for number in self.env.state]

    def set(self, numbers: list[float]) -> None:
        self.env.state = np.array(numbers)


class _Mujoco:
    """MuJoCo says itself what its integration depends on."""

    def __init__(self, env: Any) -> None:
        import mujoco  # type: ignore[import-untyped]

        self.mujoco, self.env, self.kind = mujoco, env, mujoco.mjtState.mjSTATE_INTEGRATION

    def get(self) -> list[float]:
        numbers = np.empty(self.mujoco.mj_stateSize(self.env.model, self.kind))
        self.mujoco.mj_getState(self.env.model, self.env.data, numbers, self.kind)
        return [float(number) for number in numbers]

    def set(self, numbers: list[float]) -> None:
        state = np.array(numbers)
        self.mujoco.mj_setState(self.env.model, self.env.data, state, self.kind)
        # Positions of bodies and the like follow from it; that must not change it.
        self.mujoco.mj_forward(self.env.model, self.env.data)
        self.mujoco.mj_setState(self.env.model, self.env.data, state, self.kind)


CLASSIC_CONTROL = tuple(
    f"classic_control.{name}"
    for name in ("cartpole", "pendulum", "acrobot", "mountain_car", "continuous_mountain_car")
)
# Others look at where bodies were before the last part of a step, which is no part of MuJoCo's state.
MUJOCO = tuple(
    f"mujoco.{name}_v5"
    for name in ("half_cheetah", "hopper", "walker2d", "swimmer", "inverted_pendulum", "inverted_double_pendulum")
)
STATELESS = (wrappers.OrderEnforcing, wrappers.PassiveEnvChecker, wrappers.FlattenObservation)


def state_of(env: gymnasium.Env[Any, Any]) -> State | None:
    """How the state of an environment is read and put back; None where nobody knows."""
    for method in ("get_state", "set_state"):
        if not env.has_wrapper_attr(method):
            break
    else:
        layer: Any = env
        while not (hasattr(type(layer), "get_state") and hasattr(type(layer), "set_state")):
            if not isinstance(layer, gymnasium.Wrapper):
                return None
            layer = layer.env
        return _Own(layer)
    layer, limit = env, None
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, wrappers.TimeLimit):
            limit = layer
        elif not isinstance(layer, STATELESS):
            return None
        layer = layer.env
    module = type(layer).__module__.removeprefix("gymnasium.envs.")
    if type(layer.np_random.bit_generator) is not np.random.PCG64:
        return None
    if module in CLASSIC_CONTROL:
        return _Known(layer, limit, _Attribute(layer))
    if module in MUJOCO:
        return _Known(layer, limit, _Mujoco(layer))
    return None
