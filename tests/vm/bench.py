"""A node on one of the guest's NICs; a box at the other end of the wire is its client, its router, and the way to its
backends, which need not exist: what is sent to them is seen there, frame by frame."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from frames import Tunnel, frame, tunnel
from lab.config import NodeConfig
from lab.netns import Namespace
from lab.node import Node
from lab.topology import NODE, VIP, VIPS
from lab.wait import PATIENCE, wait_until

PEER = {4: "10.0.0.1", 6: "2001:db8::1"}
BUILD = Path(os.environ["LINIMO_BUILD"])
FOLDER = Path("/run/linimo-bench")
PCI = Path("/sys/bus/pci")
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
_PREFIX = {4: 24, 6: 64}

# <linux/if_ether.h>, <linux/if_packet.h>, <asm/socket.h>
_ETH_P_ALL, _OUTGOING, _SO_RCVBUFFORCE = 3, 4, 33
_SOL_PACKET, _PACKET_AUXDATA, _VLAN_VALID = 263, 8, 1 << 4

# One port of the VIP for each encapsulation and family of the backends.
PORTS = {(kind, family): 1000 + 10 * number + family
         for number, kind in enumerate(("ipip", "gre", "gue")) for family in (4, 6)}
BACKENDS = {4: ("10.0.1.1", "10.0.1.2", "10.0.1.3"), 6: ("2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3")}


@dataclass
class BenchConfig(NodeConfig):
    pools: str = ""  # "": those of PORTS
    states: dict[str, str] = field(default_factory=lambda: {address: "up" for address in BACKENDS[4]})  # of pool "web"
    mtu: int = 0  # 0: not said
    state_dir: str = f"{FOLDER}/state"

    def healthy_states(self) -> dict[str, str]:
        return self.states

    def render(self) -> str:
        return f'''[node]
name = "{self.name}"
interfaces = ["{self.interface}"]
engine = "{self.engine}"
workers = {self.workers}
flows_per_worker = 65536
encap_source = ["{NODE[4]}", "{NODE[6]}"]
hash_seed_file = "{self.seed_file}"
runtime_dir = "{self.runtime_dir}"
state_dir = "{self.state_dir}"
{f"mtu = {self.mtu}" if self.mtu else ""}
[announce]
via = "bird"
drain_wait = "1s"
{self.pools or _every_pool()}'''


def pool(name: str, backends: Iterable[str], port: int, encapsulation: str = "ipip") -> str:
    """A pool, and a service of TCP and one of UDP that have it. Without health checks its backends are up."""
    listed = ", ".join(f'{{ address = "{address}" }}' for address in backends)
    services = "".join(f'''
[[service]]
name = "{name}-{protocol}"
vips = ["{VIP[4]}", "{VIP[6]}"]
protocol = "{protocol}"
ports = [{port}]
pool = "{name}"
''' for protocol in ("tcp", "udp"))
    return f'''
[[pool]]
name = "{name}"
encapsulation = "{encapsulation}"
table_size = 1021
backends = [{listed}]
{services}'''


def _every_pool() -> str:
    pools = "".join(pool(f"{kind}{family}" if (kind, family) != ("ipip", 4) else "web", BACKENDS[family], port, kind)
                    for (kind, family), port in PORTS.items())
    return pools


class ApiNode(Node):
    """Asks the API itself: a program that starts takes an emulated CPU half a second."""

    def status(self) -> dict[str, Any]:
        return dict(self.ask("/v1/status"))

    def backend_list(self) -> list[dict[str, Any]]:
        return list(self.ask("/v1/backends?limit=4096"))

    def ask(self, path: str) -> Any:
        return json.loads(self.page(path))

    def page(self, path: str) -> str:
        connection = http.client.HTTPConnection("linimo")
        with socket.socket(socket.AF_UNIX) as connection.sock:
            try:
                connection.sock.settimeout(10 * PATIENCE)
                connection.sock.connect(str(self.config.runtime_dir / "control.sock"))
                connection.request("GET", path)
                return connection.getresponse().read().decode()
            except OSError as error:
                raise RuntimeError(f"{path}: {error}") from None


class Bench:
    """`wire`: its number. The node has its NIC as the netdev eth0, until take_pci()."""

    def __init__(self, wire: int) -> None:
        self.wire = wire
        self.box, self.peer = Namespace("bench-node"), Namespace("bench-peer")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        self.node = ApiNode(self.box, FOLDER, BUILD)
        self.node.config = BenchConfig(runtime_dir=FOLDER / "run")
        self.mac = f"02:00:00:00:{wire:02x}:01"
        self.peer_mac = f"02:00:00:00:{wire:02x}:02"
        self.link = "eth0"  # the peer's, by which the tests send and see frames
        self._driver = ""  # the kernel's, of a PCI device that was taken

    def build(self) -> None:
        for box, address in ((self.box, self.mac), (self.peer, self.peer_mac)):
            _run("ip", "netns", "add", box.name)
            box.sysctl({"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
                        "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.default.dad_transmits": 0,
                        "net.ipv6.conf.default.accept_ra": 0})
            box.run(["ip", "link", "set", "lo", "up"])
            if box is self.box:
                self.pci = self.pci_of(self.link_of(address))
            self._move_in(box, address)
        # What is sent towards XDP must be as it is on a wire.
        self.peer.run(["ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off"], check=False)
        self.address(self.peer, "eth0", PEER)
        for vip in VIPS:
            self.peer.run(["ip", "route", "add", vip, "via", NODE[6 if ":" in vip else 4]])
        self.address(self.box, "eth0", NODE, PEER)
        wait_until(lambda: self._has_carrier(self.peer, "eth0"), "the wire has a carrier")

    def _move_in(self, box: Namespace, mac: str) -> None:
        link = self.link_of(mac)
        _run("ip", "link", "set", link, "down")
        _run("ip", "link", "set", link, "netns", box.name)
        box.run(["ip", "link", "set", link, "name", "eth0", "up"])

    def close(self) -> None:
        """NICs whose namespace goes come back to the first one."""
        with contextlib.suppress(RuntimeError):
            self.node.stop()
        for box in (self.box, self.peer):
            box.kill_all()
            _run("ip", "netns", "del", box.name)
        if self._driver:
            self.bind(self._driver)
        wait_until(lambda: all(self._has(address) for address in (self.mac, self.peer_mac)), "the NICs are back")

    def address(self, box: Namespace, link: str, own: dict[int, str], gateways: dict[int, str] | None = None) -> None:
        for family, address in own.items():
            box.run(["ip", "addr", "replace", f"{address}/{_PREFIX[family]}", "dev", link])
            if gateways:
                box.run(["ip", "route", "replace", "default", "via", gateways[family], "dev", link])

    # The NIC as a PCI device

    def take_pci(self, driver: str = "vfio-pci") -> None:
        """The kernel gives the NIC up."""
        self.unbind()
        self.bind(driver)
        self.was_taken(self._driver)

    def was_taken(self, driver: str) -> None:
        """From that driver of the kernel's, by whom ever."""
        self._driver = driver
        self.node.config.interface = self.pci
        self.node.config.engine = "dpdk"

    def give_back(self) -> None:
        """The kernel has the NIC as before."""
        self.node.stop()
        self.bind(self._driver)
        self._driver = ""
        wait_until(lambda: self._has(self.mac), "the NIC is back")
        self._move_in(self.box, self.mac)
        self.address(self.box, "eth0", NODE, PEER)

    def unbind(self) -> None:
        driver = PCI / "devices" / self.pci / "driver"
        if driver.exists():
            self._driver = self._driver or driver.resolve().name
            (driver / "unbind").write_text(self.pci)

    def bind(self, driver: str) -> None:
        device = PCI / "devices" / self.pci
        (device / "driver_override").write_text(driver + "\n")
        self.unbind()
        (PCI / "drivers_probe").write_text(self.pci)
        wait_until(lambda: (device / "driver").exists(), f"{driver} has {self.pci}")

    def start(self) -> None:
        """Both daemons. What the kernel forgets of a PCI port's TAP when its process ends is given to it anew."""
        self.node.prepare()
        if self.node.dataplane is None:
            self.node.start_dataplane()
        if self._driver:
            self.address(self.box, "linimo0", NODE, PEER)
        if self.node.controlplane is None:
            self.node.start_controlplane()
        self.node.wait_settled(timeout=40)
        self.wait_ways()

    def favour(self, backend: str) -> None:
        """It has nearly all slots of its pool from now on."""
        self.node.config.pools = _every_pool().replace(f'{{ address = "{backend}" }}', f'{{ address = "{backend}", weight = 50 }}')
        self.node.reload_if_changed()

    def wait_ways(self) -> None:
        wait_until(lambda: all(backend["way_problem"] is None for backend in self.node.backend_list()),
                   "every backend has a way", 20)

    # Frames

    @contextlib.contextmanager
    def wiretap(self) -> Iterator[Wiretap]:
        with self.peer.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
            sock.bind((self.link, 0))
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
            sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            yield Wiretap(sock, self)

    def ping(self, address: str, count: int = 3, size: int = 56, link: str | None = None) -> int:
        """How many answers came."""
        out = self.peer.run(["ping", "-n", "-c", str(count), "-i", "0.2", "-W", "3", "-M", "do", "-s", str(size),
                             *(["-I", link] if link else []), address], check=False).stdout
        return out.count("bytes from")

    # The guest itself

    @staticmethod
    def monitor(command: str) -> None:
        """A command of QEMU's. What the terminal has echoed of its greeting before is a line of its own, and none."""
        with open("/dev/ttyS1", "wb", buffering=0) as tty:
            tty.write(b"\n" + command.encode() + b"\n")

    def pull(self) -> None:
        self.monitor(f"set_link nic{self.wire} off")

    def plug_in(self) -> None:
        self.monitor(f"set_link nic{self.wire} on")

    def log(self) -> str:
        return (FOLDER / "linimo-dataplane.log").read_text()

    @staticmethod
    def link_of(mac: str) -> str:
        [link] = [link["ifname"] for link in _links() if link["address"] == mac]
        return str(link)

    @staticmethod
    def _has(mac: str) -> bool:
        return any(link["address"] == mac for link in _links())

    @staticmethod
    def _has_carrier(box: Namespace, link: str) -> bool:
        return "LOWER_UP" in box.run(["ip", "link", "show", "dev", link]).stdout

    @staticmethod
    def pci_of(link: str) -> str:
        device = Path("/sys/class/net", link, "device").resolve()
        return device.parent.name if device.name.startswith("virtio") else device.name


class Wiretap:
    """The peer's NIC: what the node sends, and frames of the tests' own to it."""

    def __init__(self, sock: socket.socket, bench: Bench) -> None:
        self._socket, self._bench = sock, bench

    def send(self, ip: bytes, vlan: int | None = None) -> None:
        self._socket.send(frame(self._bench.mac, self._bench.peer_mac, ip, vlan))

    def frames(self, enough: int, seconds: float, wanted: Callable[[bytes], bool]) -> list[bytes]:
        """What was received, until there are so many, or so long."""
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while len(found) < enough and (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                data, notes, _, (_, _, kind, _, _) = self._socket.recvmsg(65536, 256)
                data = _with_tag(data, notes)
                if kind != _OUTGOING and wanted(data):
                    found.append(data)
        return found

    def tunnels(self, enough: int, seconds: float = 5.0) -> list[Tunnel]:
        return [made for data in self.frames(enough, seconds, lambda data: tunnel(data) is not None)
                if (made := tunnel(data))]


def _with_tag(data: bytes, notes: list[tuple[int, int, bytes]]) -> bytes:
    """The kernel takes a VLAN's tag out of a frame and tells it beside (struct tpacket_auxdata)."""
    for level, kind, note in notes:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _, _, _, _, tag, ethertype = struct.unpack("=IIIHHHH", note[:20])
            if status & _VLAN_VALID:
                return data[:12] + struct.pack("!HH", ethertype or 0x8100, tag) + data[12:]
    return data


@contextlib.contextmanager
def no_hugepages() -> Iterator[None]:
    """All are taken away meanwhile; nobody may use them."""
    before = HUGEPAGES.read_text()
    HUGEPAGES.write_text("0")
    try:
        yield
    finally:
        HUGEPAGES.write_text(before)


def _links() -> list[dict[str, str]]:
    return list(json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True, text=True).stdout))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
