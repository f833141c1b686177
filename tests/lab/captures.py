"""What `linimo capture` and `linimo trace --live` show of real packets: for test_trace.py, whose lab serves both."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

from lab.topology import CLIENT, VIP
from lab.wait import wait_until

FLOOD_DATAGRAMS = 20_000
FLOOD_PORT = 8001
FLOOD_SERVICE = f"""
[[service]]
name = "flooded"
vips = ["{VIP[4]}"]
protocol = "udp"
ports = [{FLOOD_PORT}]
pool = "web"
"""

# Small datagrams from as many flows as there are sockets, as fast as Python can; it says how many, in how many seconds.
FLOOD = f"""
import socket, sys, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
for one in sockets: one.connect((sys.argv[1], int(sys.argv[2])))
begun, sent = time.monotonic(), 0
for number in range({FLOOD_DATAGRAMS}):
    try:
        sockets[number % 8].send(b"flood")
        sent += 1
    except OSError:
        pass
print(sent, time.monotonic() - begun)
"""


class Captures:
    lab: Any

    def test_a_capture_opens_in_wireshark(self) -> None:
        """Both directions of a request, with the comment that says where it went, and the same comment by both engines."""
        file = self.lab.node.folder / "web.pcapng"
        with self._running("capture", "tcp", "src", "port", "28000", "-w", str(file), "--count", "3") as capture:
            said = self._trace(28_000)
            self._request(28_000)
            self.assertEqual(0, capture.wait(10))
            self.assertIn("3 packets captured, 0 missed", self._errors())
        rows = self._tshark(file, "ip.src", "ip.dst", "frame.interface_name", "frame.comment", "tcp.flags.syn")
        comment = f"forwarded: the packet goes to the backend; backend {said['backend']}, IPIP"
        self.assertEqual(6, len(rows), rows)
        for came, left in zip(rows[::2], rows[1::2]):
            self.assertEqual([CLIENT[4], VIP[4], "eth0 in", comment], came[:4])
            source, destination = left[0].split(","), left[1].split(",")
            self.assertEqual((CLIENT[4], VIP[4], "eth0 out", comment), (source[1], destination[1], *left[2:4]))
            self.assertEqual(said["backend"].split("/")[1], destination[0])
        self.assertEqual("1", rows[0][4][0], rows[0])

    def test_what_is_not_forwarded_says_why(self) -> None:
        file = self.lab.node.folder / "others.pcapng"
        with self._running("capture", "dst", "host", VIP[4], "and", "(port", "81", "or", "icmp)", "-w", str(file), "--count", "2") as capture:
            with self.lab.client.entered(), socket.socket() as client:
                client.settimeout(0.1)
                with contextlib.suppress(OSError):
                    client.connect((VIP[4], 81))
            self.lab.client.run(["ping", "-c", "1", "-W", "5", VIP[4]])
            self.assertEqual(0, capture.wait(10))
        rows = self._tshark(file, "frame.interface_name", "frame.comment")
        self.assertEqual([["eth0 in", "no_service: the packet is dropped: the VIP has no service of that protocol and port"],
                          ["eth0 in", "echo_reply: the packet is answered: VIPs answer pings themselves"],
                          ["eth0 out", "echo_reply: the packet is answered: VIPs answer pings themselves"]], rows)

    def test_live(self) -> None:
        """A line each, as `linimo trace` said beforehand; -o json has what the API describes."""
        with self._running("trace", "--live", f"tcp src port 28001 and dst host {VIP[4]}", "--count", "1") as live:
            said = self._trace(28_001)
            self._request(28_001)
            self.assertEqual(0, live.wait(10))
            line = live.stdout.read().decode()
        self.assertRegex(line, rf"^\d\d:\d\d:\d\d\.\d{{6}} tcp {CLIENT[4]}:28001 -> {VIP[4]}:80, \d+ bytes, flags S: "
                               rf"forwarded, {re.escape(said['backend'])}, IPIP\n$")
        with self._running("trace", "--live", "tcp src port 28002", "--count", "1", "-o", "json") as live:
            self._request(28_002)
            self.assertEqual(0, live.wait(10))
            packet = json.loads(live.stdout.read())
        schema = self.lab.node.ask("/v1/openapi.json")["components"]["schemas"]["Captured"]
        self.assertEqual(set(schema["required"]), set(packet))

    def test_ctrl_c_ends_it_cleanly(self) -> None:
        file = self.lab.node.folder / "ended.pcapng"
        with self._running("capture", "tcp", "port", "80", "-w", str(file)) as capture:
            self._request(28_003)
            wait_until(lambda: file.stat().st_size > 500, "packets are in the file", 5)
            capture.send_signal(signal.SIGINT)
            self.assertEqual(0, capture.wait(10))
            self.assertRegex(self._errors(), r"\d+ packets captured, 0 missed")
        self.assertGreater(len(self._tshark(file, "frame.comment")), 1)

    def test_a_killed_reader_leaves_no_capture(self) -> None:
        """Nor does a second one take the first one's place, or what its file held."""
        before = self._program()
        with self._running("trace", "--live", "") as live:
            during = self._program()
            refused = self.lab.node.cli("trace", "--live", "", check=False)
            self.assertEqual((1, True), (refused.returncode, "another capture is under way" in refused.stderr), refused.stderr)
            kept = self.lab.node.folder / "kept.pcapng"
            kept.write_text("of an earlier capture")
            self.assertEqual(1, self.lab.node.cli("capture", "-w", str(kept), check=False).returncode)
            self.assertEqual("of an earlier capture", kept.read_text())
            live.kill()
            live.wait(5)
            wait_until(lambda: self._program() == before, "the program stands there again", 3)
        self.assertEqual(self.engine == "xdp", before != during)  # type: ignore[attr-defined]
        with self._running("trace", "--live", "tcp src port 28004", "--count", "1") as live:
            self._request(28_004)
            self.assertEqual(0, live.wait(10))

    def test_nothing_is_lost_for_being_watched(self) -> None:
        """A flood through a service while every packet of it is wanted: each that came is forwarded, and shown or counted as missed."""
        node = self.lab.node
        shown = node.folder / "shown"
        with open(shown, "wb") as lines, self._running("trace", "--live", f"udp and dst port {FLOOD_PORT} and dst host {VIP[4]}",
                                                       stdout=lines.fileno()) as live:
            before, packets = node.outcomes(), node.service("flooded")["packets"]
            with self.lab.client.entered():
                said = subprocess.run([sys.executable, "-c", FLOOD, VIP[4], str(FLOOD_PORT)], capture_output=True, text=True,
                                      check=True).stdout
            sent, seconds = said.split()
            wait_until(lambda: self._steady(lambda: node.service("flooded")["packets"]), "all have come", 5)
            # With a packet that is shown comes how many were missed before it.
            ports = itertools.count(28_100)
            wait_until(lambda: self._shown(next(ports), shown), "the last one is shown", 10)
            came = node.service("flooded")["packets"] - packets
            live.send_signal(signal.SIGINT)
            live.wait(5)
        captured, missed = self._tally() or (0, 0)
        self.assertGreater(came, FLOOD_DATAGRAMS / 2, f"of {sent} sent")
        self.assertEqual(0, self._gained(before, "tx_full"))
        self.assertGreaterEqual(self._gained(before, "forwarded"), came)
        self.assertEqual(came, captured + missed)
        self.assertTrue(100 < captured <= 1000 * (float(seconds) + 1), f"{captured} in {seconds} s")

    def test_mistakes_are_named(self) -> None:
        for arguments, code, says in ((("capture", "tcp", "prot", "80", "-w", "-"), 2, "is no filter"),
                                      (("capture", "-w", "/nowhere/file"), 1, "/nowhere/file: No such file"),
                                      (("trace", "--live", "tcp", "tcp", "192.0.2.2:1", "203.0.113.10:80"), 2, "by itself")):
            done = self.lab.node.cli(*arguments, check=False)
            self.assertEqual((code, True), (done.returncode, says in done.stderr), done.stderr)

    @contextlib.contextmanager
    def _running(self, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
        """A command that captures, once it does: the one before it may still be ending."""
        process = wait_until(lambda: self._begun(arguments, stdout), "the capture has begun", 10)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _begun(self, arguments: tuple[str, ...], stdout: int) -> subprocess.Popen[bytes] | None:
        node = self.lab.node
        with node.box.entered(), open(node.folder / "capture.err", "wb") as errors:
            process = subprocess.Popen([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"), *arguments],
                                       stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors)
        wait_until(lambda: process.poll() is not None or "capturing" in self._errors(), "it says something", 10)
        if process.poll() is None or "capturing" in self._errors():
            return process
        if process.stdout:
            process.stdout.close()
        self.assertIn("another capture is under way", self._errors())  # type: ignore[attr-defined]
        return None

    def _errors(self) -> str:
        return (self.lab.node.folder / "capture.err").read_text()

    def _tally(self) -> tuple[int, int] | None:
        """Packets captured and missed, once the command says so."""
        said = re.search(r"(\d+) packets captured, (\d+) missed", self._errors())
        return (int(said[1]), int(said[2])) if said else None

    def _shown(self, port: int, lines: Path) -> bool:
        """Whether a datagram from this port is, and not missed."""
        with self.lab.client.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((CLIENT[4], port))
            client.sendto(b"last", (VIP[4], FLOOD_PORT))
        with contextlib.suppress(TimeoutError):
            return wait_until(lambda: f":{port}" in lines.read_text(), "it is shown", 1)
        return False

    def _steady(self, count: Callable[[], int]) -> int:
        """Of a counter that does not move any more; 0: it does."""
        before = count()
        return before if before > 0 and count() == before else 0

    def _program(self) -> int | None:
        """What forwards on the interface, if that is a program."""
        link = json.loads(self.lab.node.box.run(["ip", "-j", "-d", "link", "show", "dev", "eth0"]).stdout)[0]
        return link.get("xdp", {}).get("prog", {}).get("id")

    def _gained(self, before: dict[str, int], outcome: str) -> int:
        return self.lab.node.outcomes()[outcome] - before[outcome]

    def _trace(self, port: int) -> dict[str, Any]:
        return json.loads(self.lab.node.cli("trace", "tcp", f"{CLIENT[4]}:{port}", f"{VIP[4]}:80", "-o", "json").stdout)

    def _request(self, port: int) -> None:
        self.lab.client.run(["curl", "-sS", "--fail", "--max-time", "5", "--local-port", str(port), f"http://{VIP[4]}/"])

    def _tshark(self, file: Path, *fields: str) -> list[list[str]]:
        """A row for each packet."""
        done = subprocess.run(["tshark", "-n", "-r", str(file), "-T", "fields", *(word for field in fields for word in ("-e", field))],
                              capture_output=True, text=True, check=True)
        return [line.split("\t") for line in done.stdout.splitlines()]
