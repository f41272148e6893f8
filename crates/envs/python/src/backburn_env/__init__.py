"""Environments in Python for Backburn's trainer, which starts a program that calls `serve`.

`python -m backburn_env ID` serves any environment that Gymnasium knows. The protocol, and what the trainer does with
it, stand in docs/process.md of Backburn's repository.
"""

from ._server import serve

__all__ = ["serve"]
