"""Speaks the protocol of docs/process.md: answers the trainer's requests until it closes the socket."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, MaxAndSkipObservation, TimeLimit

from ._state import layers, state_of

VERSION = 1
HEADER = struct.Struct("<4sIII")
MAGIC = b"BBRN"
HELLO, RESET, STEP, STATE, SET_STATE, FRAME = range(1, 7)


class Unusable(Exception):
    """An environment, or what it returned, that the trainer can't take."""


def serve(
    make: Callable[[], gymnasium.Env[Any, Any]],
    *,
    name: str | None = None,
    reward_terms: Sequence[str] = (),
    costs: Sequence[str] = (),
    success: str | None = None,
) -> None:
    """Serves copies of an environment to the trainer that has started this program, until it is done.

    `make` returns a new copy. `reward_terms`, `costs` and `success` are keys of the `info` that `step` returns. An
    environment with the methods `get_state` (numbers) and `set_state` is resumed exactly; one with the render mode
    `rgb_array` is seen in replays. What it has of `observation_names`, `action_names` (one for each number or choice,
    such as "speed [m/s]") and `step_seconds` stands in exported policies. What is printed reaches nobody, except where
    something goes wrong.
    """
    _Server(make, name, list(reward_terms), list(costs), success).run()


def time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Steps after which an episode is truncated, where there is such a number."""
    limits = [layer._max_episode_steps for layer in layers(env) if isinstance(layer, TimeLimit)]
    return min(limits, default=None if env.spec is None else env.spec.max_episode_steps)


def step_seconds(env: gymnasium.Env[Any, Any]) -> float | None:
    """How long a step lasts, where that is said."""
    layer: Any
    for layer in layers(env):
        if hasattr(layer, "step_seconds"):
            return float(layer.step_seconds)
        if isinstance(layer, MaxAndSkipObservation):
            return None
    # Gymnasium's own say it in other words, MuJoCo's and what is derived from them among them.
    is_known = any(base.__module__.startswith("gymnasium.envs.") for base in type(layer).__mro__)
    said = [getattr(layer, word) for word in ("dt", "tau") if is_known and hasattr(layer, word)]
    return float(said[0]) if said else None


def names(env: gymnasium.Env[Any, Any], what: str) -> list[str]:
    """What the numbers of an observation or an action are, or its choices, where that is said."""
    flat = spaces.flatten_space(getattr(env, f"{what}_space"))
    for layer in layers(env):
        if hasattr(layer, f"{what}_names"):
            found, space = list(getattr(layer, f"{what}_names")), getattr(layer, f"{what}_space")
            if len(found) != spaces.flatdim(space):
                raise Unusable(f"`{what}_names` are {len(found)}; {space} has {spaces.flatdim(space)}")
            # Of other spaces a wrapper has made other numbers.
            return found if spaces.flatten_space(space) == flat else []
    return []


class _Line:
    """The socket that the trainer has given this program as its stdin."""

    def __init__(self) -> None:
        try:
            self.socket = socket.socket(fileno=os.dup(0))
            self.socket.getpeername()
        except OSError:
            raise SystemExit(
                "backburn_env: this program is started by Backburn's trainer; name it in env.parameters.command"
            ) from None
        # What reads stdin, or inherits it, must not get what the trainer says.
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        self.buffer = memoryview(bytearray(1 << 16))
        threading.Thread(target=self._end_with_the_trainer, daemon=True).start()

    def _end_with_the_trainer(self) -> None:
        """Ends the program when the trainer is gone, whatever it is doing."""
        watch = select.poll()
        watch.register(self.socket, 0)  # a hang-up is always told
        watch.poll()
        time.sleep(1.0)
        os._exit(1)

    def read(self) -> tuple[int, int, memoryview] | None:
        """The next request: kind, number, payload; None at the end."""
        filled = self.fill(0, HEADER.size)
        if filled == 0:
            return None
        magic, kind, number, length = HEADER.unpack_from(self.buffer)
        if magic != MAGIC:
            raise Unusable(f"the trainer sent {bytes(self.buffer[:filled])!r}")
        wanted = HEADER.size + length
        if wanted > len(self.buffer):
            larger = memoryview(bytearray(2 * wanted))
            larger[:filled] = self.buffer[:filled]
            self.buffer = larger
        self.fill(filled, wanted)
        return kind, number, self.buffer[HEADER.size : wanted]

    def fill(self, filled: int, wanted: int) -> int:
        """Reads until the buffer has so many bytes, from those that it has; how many it has then, 0 at the end."""
        while filled < wanted:
            count = self.socket.recv_into(self.buffer[filled:])
            if count == 0:
                return 0
            filled += count
        return filled

    def write(self, kind: int, number: int, *parts: bytes) -> None:
        """An answer."""
        header = HEADER.pack(MAGIC, kind, number, sum(map(len, parts)))
        self.socket.sendall(b"".join((header, *parts)))


class _Server:
    def __init__(
        self,
        make: Callable[[], gymnasium.Env[Any, Any]],
        name: str | None,
        reward_terms: list[str],
        costs: list[str],
        success: str | None,
    ) -> None:
        self.line = _Line()
        self.make = make
        self.reward_terms, self.costs, self.success = reward_terms, costs, success
        self.envs: dict[int, gymnasium.Env[Any, Any]] = {}
        self.observations: dict[int, Any] = {}
        self.renders = True
        # The first copy says what all are.
        env = self.env(0)
        if sys.platform == "linux" and "DISPLAY" not in os.environ:
            # Where there are no windows Gymnasium has to be told so before it renders MuJoCo's tasks. MuJoCo is
            # imported by now, which fails with this where there is no EGL.
            os.environ.setdefault("MUJOCO_GL", "egl")
        observation, action = env.observation_space, env.action_space
        assert isinstance(observation, spaces.Box)
        self.shape = observation.shape
        self.action: spaces.Box | spaces.Discrete
        said: dict[str, Any]
        if isinstance(action, spaces.Discrete):
            self.action, said = action, {"n": int(action.n)}
        elif isinstance(action, spaces.Box):
            self.action, said = action, self.bounds(action)
        else:
            raise Unusable(f"its actions are {action}; the trainer knows Discrete and Box: put a wrapper around it")
        seconds = 1.0 / float(env.metadata.get("render_fps") or 20)
        self.hello = {
            "version": VERSION,
            "name": name or type(env.unwrapped).__name__,
            "observation": self.bounds(observation),
            "action": said,
            "max_episode_steps": time_limit(env),
            "reward_terms": reward_terms,
            "costs": costs,
            "success": success is not None,
            "state": state_of(env) is not None,
            "frame_seconds": seconds if env.render_mode == "rgb_array" else None,
            "step_seconds": step_seconds(env),
            "observation_names": names(env, "observation"),
            "action_names": names(env, "action"),
        }

    @staticmethod
    def bounds(box: spaces.Box) -> dict[str, list[float | None]]:
        """A box as the protocol has it: flat, without infinity."""
        ends = {"low": box.low, "high": box.high}
        shown = {
            key: [float(x) if np.isfinite(x) else None for x in np.asarray(end, np.float32).ravel()]
            for key, end in ends.items()
        }
        if not shown["low"]:
            raise Unusable(f"a space of it is empty: {box}")
        return shown

    def env(self, copy: int) -> gymnasium.Env[Any, Any]:
        """A copy, made when it is asked for."""
        if copy not in self.envs:
            env = self.make()
            if not isinstance(env.observation_space, spaces.Box):
                if not env.observation_space.is_np_flattenable:
                    raise Unusable(
                        f"its observations are {env.observation_space}, which Gymnasium can't flatten: put a wrapper "
                        "around it"
                    )
                env = FlattenObservation(env)
            self.envs[copy] = env
        return self.envs[copy]

    def run(self) -> None:
        self.line.write(HELLO, 0, json.dumps(self.hello).encode())
        answers = {
            RESET: self.reset, STEP: self.step, STATE: self.state, SET_STATE: self.set_state, FRAME: self.frame
        }
        while (request := self.line.read()) is not None:
            kind, number, payload = request
            self.line.write(kind, number, *answers[kind](payload))
        for env in self.envs.values():
            env.close()

    def reset(self, payload: memoryview) -> tuple[bytes, ...]:
        copies, seeds = np.frombuffer(payload, "<u4").reshape(2, -1).tolist()
        observed = [self.env(copy).reset(seed=seed)[0] for copy, seed in zip(copies, seeds)]
        return (self.observed(copies, observed),)

    def step(self, payload: memoryview) -> tuple[bytes, ...]:
        width = 1 if isinstance(self.action, spaces.Discrete) else self.action.low.size
        count = len(payload) // (4 + 4 * width)
        copies = np.frombuffer(payload, "<u4", count).tolist()
        # A copy of them: an environment may keep its action.
        numbers = np.frombuffer(payload, "<f4", offset=4 * count)
        actions: Any
        if isinstance(self.action, spaces.Discrete):
            actions = (numbers.astype(np.int64) + self.action.start).tolist()
        else:
            actions = numbers.astype(self.action.dtype).reshape(count, *self.action.shape)
        envs = self.envs
        observed, rewards, flags, infos = [], [], bytearray(count), []
        for at, copy in enumerate(copies):
            observation, reward, terminated, truncated, info = envs[copy].step(actions[at])
            observed.append(observation)
            rewards.append(reward)
            infos.append(info)
            if terminated:
                flags[at] |= 1
            if truncated:
                flags[at] |= 2
        parts = [np.asarray(rewards, "<f8")]
        if parts[0].shape != (count,):
            raise Unusable(f"a reward is no number: {rewards[0]!r}")
        for names in (self.reward_terms, self.costs):
            if names:
                parts.append(np.array([self.named(info, names) for info in infos], "<f8"))
        if self.success is not None:
            for at, info in enumerate(infos):
                if info.get(self.success):
                    flags[at] |= 4
        return *(part.tobytes() for part in parts), self.observed(copies, observed), bytes(flags)

    def named(self, info: dict[str, Any], names: list[str]) -> list[float]:
        try:
            return [float(info[name]) for name in names]
        except KeyError as error:
            raise Unusable(f"`info` has no {error}; it has: {', '.join(map(str, info)) or 'nothing'}") from None

    def observed(self, copies: list[int], observed: list[Any]) -> bytes:
        """Observations as they are sent."""
        try:
            rows = np.array(observed, "<f4")
        except ValueError:
            rows = np.empty(0)
        if rows.shape != (len(copies), *self.shape):
            shapes = [np.shape(one) for one in observed]
            wrong = next((shape for shape in shapes if shape != self.shape), rows.shape)
            raise Unusable(f"an observation has the shape {wrong}; its space has {self.shape}")
        if self.hello["state"]:
            self.observations.update(zip(copies, rows.reshape(len(copies), -1)))
        return rows.tobytes()

    def state(self, payload: memoryview) -> tuple[bytes, ...]:
        (copy,) = struct.unpack("<I", payload)
        state = state_of(self.envs[copy])
        assert state is not None
        seen = self.observations[copy].astype("<f8")
        return seen.tobytes(), np.array(state.get(), "<f8").tobytes()

    def set_state(self, payload: memoryview) -> tuple[bytes, ...]:
        copy, numbers = struct.unpack_from("<I", payload)[0], np.frombuffer(payload[4:].tobytes(), "<f8")
        state = state_of(self.envs[copy])
        assert state is not None
        width = int(np.prod(self.shape))
        seen = numbers[:width].astype("<f4")
        state.set(numbers[width:].tolist())
        self.observations[copy] = seen
        return (seen.tobytes(),)

    def frame(self, payload: memoryview) -> tuple[bytes, ...]:
        """A picture; nothing where it can't be rendered here, for want of a package or a display."""
        (copy,) = struct.unpack("<I", payload)
        if not self.renders:
            return ()
        try:
            pixels = np.ascontiguousarray(self.envs[copy].render(), np.uint8)
        except Exception as error:  # whatever a renderer throws
            print(f"can't render: {error}", file=sys.stderr)
            # Another try can end this program: MuJoCo's does.
            self.renders = False
            return ()
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            return ()
        return struct.pack("<II", pixels.shape[1], pixels.shape[0]), pixels.tobytes()
