"""Serves an environment by the name that Gymnasium knows it by."""

from __future__ import annotations

import argparse
import ast
import importlib
from typing import Any

import gymnasium

from ._server import Unusable, serve


def literal(text: str) -> Any:
    """A Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def argument(text: str) -> tuple[str, Any]:
    """`key=value` as a pair."""
    key, found, value = text.partition("=")
    if not found or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    return key, literal(value)


def wrapper(text: str) -> tuple[Any, dict[str, Any]]:
    """A wrapper of `gymnasium.wrappers`, or `module:Name`; with keyword arguments in parentheses, if any."""
    place, found, rest = text.partition(":")
    module, call = (place, rest) if found and "(" not in place else ("gymnasium.wrappers", text)
    try:
        node = ast.parse(call, mode="eval").body
        name = node.func if isinstance(node, ast.Call) else node
        keywords = node.keywords if isinstance(node, ast.Call) else []
        if not isinstance(name, ast.Name) or (isinstance(node, ast.Call) and node.args):
            raise ValueError("give Name or Name(key=value)")
        arguments = {str(one.arg): ast.literal_eval(one.value) for one in keywords}
        return getattr(importlib.import_module(module), name.id), arguments
    except (SyntaxError, ValueError, ImportError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no wrapper: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m backburn_env", description=__doc__)
    parser.add_argument("id", help="such as HalfCheetah-v5; module:Name-v0 imports the module first")
    parser.add_argument("--arg", type=argument, action="append", default=[], metavar="KEY=VALUE",
                        help="an argument of gymnasium.make, such as gravity=-5.0")
    parser.add_argument("--wrapper", type=wrapper, action="append", default=[], metavar="NAME",
                        help="a wrapper of gymnasium.wrappers, or module:Name; the innermost first")
    parser.add_argument("--reward-term", action="append", default=[], metavar="KEY",
                        help="an entry of `info` that is a term of the reward")
    parser.add_argument("--cost", action="append", default=[], metavar="KEY",
                        help="an entry of `info` that is a cost")
    parser.add_argument("--success", metavar="KEY", help="an entry of `info` that says whether the task is solved")
    options = parser.parse_args()

    def make() -> gymnasium.Env[Any, Any]:
        arguments = {"disable_env_checker": True, "render_mode": "rgb_array", **dict(options.arg)}
        try:
            env = gymnasium.make(options.id, **arguments)
        except TypeError as error:
            if "render_mode" not in str(error):
                raise
            env = gymnasium.make(options.id, **{**arguments, "render_mode": None})
        for outer, keywords in options.wrapper:
            env = outer(env, **keywords)
        return env

    try:
        serve(make, name=options.id, reward_terms=options.reward_term, costs=options.cost, success=options.success)
    except (Unusable, gymnasium.error.Error) as error:
        raise SystemExit(f"{options.id}: {error}") from error


main()
