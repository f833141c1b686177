"""BIRD in a box, and the changes of a box's routes with the times at which they happened.

The configurations are those of scripts/bird, which operators start from."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from .netns import Namespace
from .rights import USER
from .topology import Wire
from .wait import wait_until

_CONFIGS = Path(__file__).resolve().parents[1] / "bird"


def node_config(wire: Wire, *more: Wire) -> str:
    """The example with another node's addresses, and sessions over more wires of that node."""
    text = (_CONFIGS / "node.conf").read_text()
    for name, value in (("NODE4", wire.node[4]), ("NODE6", wire.node[6]),
                        ("ROUTER4", wire.router[4]), ("ROUTER6", wire.router[6])):
        text = re.sub(rf"^define {name} = [^;]+;", f"define {name} = {value};", text, flags=re.MULTILINE)
    return text + "".join(f"protocol bgp {other.link}_{family} from upstream {{ source address {other.node[family]}; "
                          f"neighbor {other.router[family]} as 65000; "
                          f"ipv{family} {{ table vips{family}; import none; export all; next hop self; }}; }}\n"
                          for other in more for family in (4, 6))


def router_config(wires: list[Wire]) -> str:
    """The example, and a session of each family to each node."""
    sessions = "".join(f"protocol bgp {wire.link}_{family} from node {{ source address {wire.router[family]}; "
                       f"neighbor {wire.node[family]} as 65001; "
                       f"ipv{family} {{ import filter graceful_shutdown; export none; }}; }}\n"
                       for wire in wires for family in (4, 6))
    return (_CONFIGS / "router.conf").read_text() + sessions


class Bird:
    def __init__(self, box: Namespace, folder: Path) -> None:
        self.box = box
        self.folder = folder
        self.socket = folder / "bird.ctl"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, config: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text("log stderr all;\n" + config)
        self.again()

    def again(self) -> None:
        self.spawn()
        wait_until(self._answers, f"BIRD of {self.box.name} answers", alive=self._check_alive)

    def spawn(self) -> None:
        """By the configuration that it had. Returns at once."""
        with open(self.folder / "bird.log", "ab") as log:
            # A router has a processor of its own, and BFD has 150 ms: not for the lab's other programs to take. Whoever is of
            # BIRD's group may use its socket, as the packages have it of Linimo's user.
            self.process = self.box.spawn(["nice", "-n", "-20", "bird", "-f", "-g", str(USER), "-c", str(self._config),
                                           "-s", str(self.socket)], log)

    @property
    def _config(self) -> Path:
        return self.folder / "bird.conf"

    def kill(self) -> None:
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, question: str) -> str:
        return self.box.run(["birdc", "-s", str(self.socket), *question.split()]).stdout

    def log(self) -> str:
        return (self.folder / "bird.log").read_text()

    def sessions(self) -> dict[str, bool]:
        """BGP sessions, and whether they are established."""
        return {line.split()[0]: "Established" in line for line in self.ask("show protocols").splitlines()
                if len(line.split()) > 2 and line.split()[1] == "BGP"}

    def _answers(self) -> bool:
        return self.box.run(["birdc", "-s", str(self.socket), "show", "status"], check=False).returncode == 0

    def _check_alive(self) -> None:
        if self.process and self.process.poll() is not None:
            raise RuntimeError(f"BIRD of {self.box.name} ended: {(self.folder / 'bird.log').read_text()}")


def routes(box: Namespace, vip: str, table: str = "main") -> set[str]:
    """By which devices a VIP is routed; empty: it is not."""
    family = "-6" if ":" in vip else "-4"
    shown = box.run(["ip", "-j", family, "route", "show", "table", table, vip], check=False).stdout
    found = json.loads(shown or "[]")
    return {hop["dev"] for route in found for hop in route.get("nexthops", [route]) if "dev" in hop}


@dataclass(frozen=True)
class RouteEvent:
    at: float  # time.time()
    text: str  # as `ip` shows it; "Deleted ..." when it went

    @property
    def deleted(self) -> bool:
        return self.text.startswith("Deleted")

    @property
    def destination(self) -> str:
        """An address; prefixes as they are."""
        words = [word for word in self.text.split() if word not in ("Deleted", "unicast")]
        with contextlib.suppress(ValueError, IndexError):
            return str(ipaddress.ip_interface(words[0]).ip)
        return words[0] if words else ""


class RouteWatch:
    """The kernel's own notifications, as they come."""

    def __init__(self, box: Namespace) -> None:
        self.events: list[RouteEvent] = []
        with box.entered():
            self._process = subprocess.Popen(["ip", "-ts", "monitor", "route"], stdout=subprocess.PIPE, text=True,
                                             start_new_session=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self._hears_of(box), f"the route monitor of {box.name} listens")

    def _hears_of(self, box: Namespace) -> bool:
        """A route that comes and goes, in a table that nobody reads."""
        for verb in ("add", "del"):
            box.run(["ip", "route", verb, "192.0.2.255/32", "dev", "lo", "table", "79"], check=False)
        return bool(self.events)

    def since(self, moment: float, vip: str, deleted: bool | None = None) -> list[RouteEvent]:
        return [event for event in list(self.events) if event.at >= moment and event.destination == vip
                and (deleted is None or event.deleted == deleted)]

    def wait(self, moment: float, vip: str, deleted: bool, timeout: float = 10.0) -> RouteEvent:
        """The first such event since a moment."""
        what = f"{vip}'s route {'goes' if deleted else 'comes'}"
        return wait_until(lambda: self.since(moment, vip, deleted), what, timeout, poll=0.005)[0]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join(5)

    def __enter__(self) -> RouteWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if match := re.match(r"\[([0-9T:.-]+)\] (.*)", line):
                at = datetime.datetime.fromisoformat(match[1]).timestamp()
                self.events.append(RouteEvent(at, match[2].strip()))
