"""A TCP port of a namespace for a Unix socket, as `ssh -L PORT:SOCKET` makes one.

    with Relay(lab.topology.node, 8080, runtime_dir / "control.sock"):
        ...
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from lab.netns import Namespace


class Relay:
    def __init__(self, box: Namespace, port: int, path: Path) -> None:
        self._path = path
        with box.entered():  # a socket stays in the namespace in which it was made
            self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._path))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
