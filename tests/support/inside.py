"""Runs a module in this process, beside a thread that says on a Unix socket what lives in it: tasks and timers.

Its log is written with levels, from INFO on.

`python -m tests.support.inside SOCKET MODULE [ARGUMENT...]`; what is outside, such as memory and descriptors, the
system knows.
"""

from __future__ import annotations

import gc
import json
import logging
import runpy
import socket
import sys
import threading
from pathlib import Path


def living() -> dict[str, int]:
    """How many tasks are not done and timers not cancelled, of all that were made since the start."""
    gc.collect()
    found = {"tasks": 0, "timers": 0}
    for each in gc.get_objects():
        name = type(each).__name__
        if name == "Task":
            found["tasks"] += not each.done()
        elif name == "TimerHandle":
            found["timers"] += not each.cancelled()
    return found


def tell(listener: socket.socket) -> None:
    """Answer each who connects, for ever."""
    while True:
        with listener.accept()[0] as client:
            client.sendall(json.dumps(living()).encode())


def ask(path: Path) -> dict[str, int]:
    """What the process says."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        said = b""
        while piece := client.recv(65536):
            said += piece
    return dict(json.loads(said))


if __name__ == "__main__":
    place, *sys.argv = sys.argv[1:]
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(place)
    opened.listen()
    threading.Thread(target=tell, args=[opened], daemon=True).start()
    sys.path.insert(0, "")
    logging.basicConfig(format="%(levelname)s:     %(name)s: %(message)s", level=logging.INFO)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
