"""A process that speaks the protocol by itself, with one number for an observation and two choices, and that misbehaves
in its 150th step in the way that its argument says.
"""

import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

WAY = sys.argv[1]
if Path("config.toml").exists():  # a test of the whole trainer, which looks whether this process is gone
    Path(f"process-{os.getpid()}").touch()
line = socket.socket(fileno=0)
hello = {
    "version": 7 if WAY == "version" else 1,
    "name": "raw",
    "observation": {"low": [None], "high": [None]},
    "action": {"n": 2},
}


def message(kind, number, payload):
    return struct.pack("<4sIII", b"BBRN", kind, number, len(payload)) + payload


if WAY == "silent":
    time.sleep(100)
line.sendall(message(1, 0, json.dumps(hello).encode()))
steps = 0
while header := line.recv(16, socket.MSG_WAITALL):
    _, kind, number, length = struct.unpack("<4sIII", header)
    payload = line.recv(length, socket.MSG_WAITALL)
    copies = length // 8
    observations = struct.pack(f"<{copies}f", *[1.0] * copies)
    if kind == 2:
        line.sendall(message(2, number, observations))
        continue
    steps += 1
    answer = struct.pack(f"<{copies}d", *[1.0] * copies) + observations
    # Every 20th step ends the episodes of all.
    answer += bytes([steps % 20 == 0] * copies)
    if WAY == "prints":
        print("a line for people " * 20)
        print("and one on stderr " * 20, file=sys.stderr)
    if steps == 150:
        if WAY == "die":
            print("before\nthe spring broke", file=sys.stderr)
            sys.exit(3)
        elif WAY == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif WAY == "hang":
            time.sleep(100)
        elif WAY == "nan":
            answer = struct.pack("<d", float("nan")) + answer[8:]
        elif WAY == "infinite":
            answer = answer[: 8 * copies] + struct.pack("<f", float("inf")) + answer[8 * copies + 4 :]
        elif WAY == "short":
            answer = answer[:-1]
        elif WAY == "noise":
            line.sendall(b"hello, here I am\n")
        elif WAY == "flood":
            while True:
                line.sendall(message(3, number, answer))
        elif WAY == "twice":
            line.sendall(message(3, number, answer))
        elif WAY == "error":
            line.sendall(message(0, number, b"no more fuel"))
            continue
    line.sendall(message(3, number, answer))
