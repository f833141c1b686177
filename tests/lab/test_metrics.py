"""The page for Prometheus, read from a running node under load: promtool finds nothing wrong with it, what it says is what
was sent, and what happens to a backend shows on it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Thread
from typing import Any

import dashboard
from case import LabCase
from described import Described
from lab.client import Load
from lab.topology import VIP, VIP2, backend_address
from lab.wait import wait_until
from promtool import check_metrics, promtool

LEFT_OUT = {"linimo_digest"}  # that of each pool says more
MAY_BE_EMPTY = {"Store, leader, alarms", "The fleet's state", "Flows told",  # of a fleet, and this node is in none
                "Sessions up",  # it has no BIRD
                "Failed checks", "Drops and answers, by outcome", "Slow starts, and held back"}  # above nothing, while all is well
LISTEN = ("127.0.0.1", 9310)
FLOWS = 100
PACKETS_PER_FLOW = 20
PAYLOAD = b"x" * 72  # with UDP and IPv4 headers: 100 bytes
PACKET_BYTES = 28 + len(PAYLOAD)

MORE = f'''
[[service]]
name = "counted"
vips = ["{VIP2[4]}"]
protocol = "udp"
ports = [5000]
pool = "web"

[metrics]
listen = "{LISTEN[0]}:{LISTEN[1]}"
'''
_SAMPLE = re.compile(r"^(linimo_\w+)(\{[^}]*\})? (\S+)$")


class Metrics(LabCase):
    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.more = MORE
        cls.lab.node.config.announce = 'via = "bird"\nbird_socket = "/nowhere"'

    def page(self) -> str:
        with self.lab.topology.node.entered():
            connection = http.client.HTTPConnection(*LISTEN, timeout=5)
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            self.assertEqual((200, "text/plain; version=0.0.4; charset=utf-8"),
                             (response.status, response.headers["Content-Type"]))
            return response.read().decode()

    def samples(self) -> dict[str, float]:
        """By name and labels, as they stand on the page: `linimo_packets_total{outcome="forwarded"}`."""
        lines = [line for line in self.page().splitlines() if not line.startswith("#")]
        parsed = [_SAMPLE.match(line) for line in lines]
        self.assertNotIn(None, parsed)
        return {found[1] + (found[2] or ""): float(found[3]) for found in parsed if found}

    def test_promtool_finds_nothing(self) -> None:
        self.assertEqual("", check_metrics(self.page()))
        self.assertIn("_total", check_metrics("# HELP a b\n# TYPE a counter\na 1\n"), "promtool does complain")

    def test_the_dashboard_asks_for_what_is_there(self) -> None:
        """Each query is PromQL and of families that the page has; and of these none is left out but by intent."""
        for panel in dashboard.panels():
            self.assertTrue(panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel)
        queries = dashboard.queries()
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:  # JSON is YAML
            json.dump({"groups": [{"name": "queries", "rules": [{"record": f"query:{i}", "expr": query}
                                                                for i, query in enumerate(queries)]}]}, file)
            file.flush()
            done = subprocess.run([str(promtool()), "check", "rules", file.name], capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        families = dashboard.families(self.page())
        used = {name for name in dashboard.names_used() if not name.startswith(dashboard.OF_FLEETS)}
        self.assertEqual(set(), used - families, "not exported")
        self.assertEqual(LEFT_OUT, families - used, "neither on the dashboard nor in an alert")

    def test_a_real_prometheus_shows_it(self) -> None:
        """It scrapes the node under load, loads the alert rules, and answers each of the dashboard's queries; those of a node
        that forwards have something to show, and no alert fires that would wake somebody."""
        with dashboard.Prometheus(self.lab.topology.node, LISTEN) as server, Load(self.lab.client, VIP[4]).in_background():
            wait_until(lambda: server.value('rate(linimo_packets_total{outcome="forwarded"}[10s])') > 0, "two scrapes under load", 30)
            shown = {panel["title"]: sum(len(server.query(query)) for query in dashboard.queries([panel])) for panel in dashboard.panels()}
            firing = {alert["labels"]["alertname"] for alert in server.ask("alerts")["alerts"] if alert["labels"]["severity"] == "page"}
        empty = {title for title, series in shown.items() if series == 0}
        self.assertEqual(set(), empty - MAY_BE_EMPTY, "panels without a series")
        self.assertEqual(set(), firing)

    def test_answers_are_as_described(self) -> None:
        """Every answer of the API has what its description says, and nothing else. (That every path is there is a unit test.)"""
        lab, document = self.lab, self.lab.node.ask("/v1/openapi.json")
        described = Described(document)

        def check(path: str, method: str, answer: Any) -> None:
            self.assertEqual([], described.complaints(path, method, 200, answer))

        name = {"pool": "web", "backend": backend_address(1, 4)}
        bodies = {"/v1/drain": json.dumps(name), "/v1/undrain": json.dumps(name), "/v1/dry-run": json.dumps(name | {"drain": True})}
        queries = {"/v1/trace": f"?protocol=tcp&from=198.51.100.7:4242&to={VIP[4]}:80", "/v1/flows": "?service=web",
                   "/v1/flows/clear": "?service=counted"}
        asked = set()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if "application/json" not in operation["responses"]["200"]["content"]:
                    continue  # events, metrics: have tests of their own
                if path.startswith("/v1/fleet"):
                    continue  # this node is in none; test_fleet has them
                check(path, method, json.loads(self.lab.topology.node.run(
                    ["curl", "-sS", "-X", method.upper(), "-d", bodies.get(path, ""), "--unix-socket",
                     str(lab.node.config.runtime_dir / "control.sock"), f"http://linimo{path}{queries.get(path, '')}"]).stdout))
                asked.add(path)
                if path == "/v1/drain":  # how a backend looks meanwhile
                    check("/v1/backends", "get", lab.node.ask("/v1/backends"))
        self.assertGreater(len(asked), 10)
        lab.node.wait_settled()
        event = lab.node.cli("watch", "-o", "json", "--past", "1", "--events", "1").stdout
        check("/v1/events", "get", json.loads(event))
        broken = lab.node.status() | {"more": 1}
        with self.assertRaises(AssertionError):
            check("/v1/status", "get", broken)

    def test_the_control_socket_has_the_same_page(self) -> None:
        page = self.lab.topology.node.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                           "http://linimo/metrics"]).stdout
        names = {line.split()[2] for line in self.page().splitlines() if line.startswith("# TYPE")}
        self.assertEqual(names, {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")})

    def test_series_come_of_the_configuration_alone(self) -> None:
        """What clients send makes none: so many series there are, whoever comes. And nothing that is promised is missing."""
        wait_until(lambda: 'linimo_condition{name="dataplane-alive",subject=""}' in self.samples(), "it was looked at")
        before = self.samples()
        load = Load(self.lab.client, VIP[6])
        load.run(100)
        self.send()
        self.assert_served(load)
        after = self.samples()
        # Whether a condition is known is the node's own affair.
        self.assertEqual(*({key for key in page if not key.startswith("linimo_condition{")} for page in (before, after)))
        labels = {name for key in after for name in re.findall(r'(\w+)="', key)}
        self.assertEqual({"backend", "direction", "engine", "le", "name", "node", "of", "outcome", "pool", "protocol", "reason",
                          "result", "service", "subject", "version", "vip", "worker"}, labels)
        backend = f'{{pool="web",backend="{backend_address(1, 4)}"}}'
        promised = {f"linimo_{of}_{what}_total{whose}" for what in ("packets", "bytes", "new_flows")
                    for of, whose in (("service", '{service="web"}'), ("backend", backend))}
        promised |= {'linimo_packets_total{outcome="forwarded"}', 'linimo_condition{name="dataplane-alive",subject=""}',
                     "linimo_generation", "linimo_digest",
                     f"linimo_backend_up{backend}", f'linimo_vip_announced{{vip="{VIP[4]}"}}',
                     *(f'linimo_{of}{{worker="0"}}' for of in ("flows", "flows_capacity", "worker_busy_seconds_total"))}
        self.assertEqual(set(), promised - after.keys())

    def test_datagrams_under_load(self) -> None:
        """While TCP clients keep the node busy: each datagram is on the page, and the page keeps all of its promises."""
        before = self.samples()
        load = Load(self.lab.client, VIP[4])
        with load.in_background():
            self.send()
            sent = FLOWS * PACKETS_PER_FLOW
            wait_until(lambda: self.grown(before, 'linimo_service_packets_total{service="counted"}') >= sent,
                       "all datagrams are on the page", 5)
            self.assertEqual("", check_metrics(self.page()))
        self.assert_served(load)
        self.wait_quiet()
        for name, count in (("packets", sent), ("bytes", sent * PACKET_BYTES), ("new_flows", FLOWS)):
            self.assertEqual(count, self.grown(before, f'linimo_service_{name}_total{{service="counted"}}'), name)
        self.assertEqual(load.requests, self.grown(before, 'linimo_service_new_flows_total{service="web"}'))
        after = self.samples()
        for name in ("packets", "bytes", "new_flows"):
            self.assertEqual(*(sum(after[key] - before[key] for key in after if key.startswith(f"linimo_{of}_{name}_total"))
                               for of in ("service", "backend")), f"{name}: services and backends are the same packets")
        self.assertEqual(self.grown(before, 'linimo_packets_total{outcome="forwarded"}'),
                         self.grown(before, 'linimo_service_packets_total{service="counted"}')
                         + self.grown(before, 'linimo_service_packets_total{service="web"}'))
        self.assertGreater(after['linimo_worker_busy_seconds_total{worker="0"}'],
                           before['linimo_worker_busy_seconds_total{worker="0"}'])

    def test_it_agrees_with_the_cli(self) -> None:
        status, samples = self.lab.node.status(), self.samples()
        self.assertEqual(status["generation"], samples["linimo_generation"])
        self.assertEqual(int(status["digest"], 16) >> 16, samples["linimo_digest"])
        self.assertEqual(status["flows"]["capacity"],
                         sum(value for key, value in samples.items() if key.startswith("linimo_flows_capacity")))
        self.assertEqual(set(status["outcomes"]), {key.split('"')[1] for key in samples if key.startswith("linimo_packets_total")})

    def test_wide_lists_say_more(self) -> None:
        node, backend = self.lab.node, backend_address(1, 4)
        usual, wide = (node.cli("backend", "list", *words).stdout for words in ((), ("-o", "wide")))
        self.assertNotIn("LATENCY", usual)
        row = dict(zip(*(re.split(r"  +", line.strip()) for line in wide.splitlines() if "LATENCY" in line or backend in line)))
        known = next(one for one in node.backend_list() if one["address"] == backend)
        self.assertEqual(known["repeated_syns"], int(row["SYNS AGAIN"].replace(",", "")))
        self.assertGreaterEqual(known["checks"]["successes"], int(row["CHECKS"].replace(",", "")) - int(row["FAILED"].replace(",", "")))
        self.assertRegex(row["LATENCY"], r"^\d+\.\d ms$")
        self.assertEqual(known["bytes"], int(row["BYTES"].replace(",", "")))
        self.assertIn(f"{node.service('counted')['bytes']:,} ", node.cli("service", "list", "-o", "wide").stdout)

    def test_watching_goes_on_over_a_restart_of_the_control_plane(self) -> None:
        """A document a line, each second; what fails meanwhile is said on the other channel."""
        node = self.lab.node
        for words in (("status",), ("service", "list"), ("backend", "list")):
            with self.subTest(words=words):
                # Whoever runs the tests in a shell's background has them ignore Ctrl-C.
                watching = subprocess.Popen(["env", "--default-signal=INT", str(node.cli_program), "--socket",
                                             str(node.config.runtime_dir / "control.sock"), *words, "--watch", "-o", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True)
                assert watching.stdout and watching.stderr
                try:
                    json.loads(watching.stdout.readline())
                    if words == ("status",):
                        node.stop_controlplane()
                        try:
                            self.assertIn("linimo: ", watching.stderr.readline())
                        finally:
                            node.start_controlplane()
                    json.loads(watching.stdout.readline())
                    watching.send_signal(signal.SIGINT)
                    self.assertEqual(-signal.SIGINT, watching.wait(5))
                finally:
                    watching.kill()
                    watching.communicate()
        wait_until(node.up_to_date, "the control plane is back")

    def test_a_silent_crowd_keeps_no_scrape_out(self) -> None:
        with self.lab.topology.node.entered():
            for _ in range(500):
                self.addCleanup(socket.create_connection(LISTEN, timeout=5).close)
        begun = time.monotonic()
        self.page()
        self.assertLess(time.monotonic() - begun, 1)

    def test_no_request_grows_without_bound(self) -> None:
        """Trailers and chunk extensions that never end: it is refused at once, and others are served meanwhile."""
        with self.lab.topology.node.entered():
            endless = socket.create_connection(LISTEN, timeout=5)
        self.addCleanup(endless.close)
        endless.sendall(b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        self.assertTrue(endless.recv(4096).startswith(b"HTTP/1.1 411 "))
        with self.assertRaises(OSError):
            for _ in range(30):
                endless.sendall(b"x" * (1 << 20))
        self.page()

    def test_a_dead_backend_shows(self) -> None:
        labels = f'pool="web",backend="{backend_address(1, 4)}"'
        up, failed = f"linimo_backend_up{{{labels}}}", f'linimo_health_checks_total{{{labels},result="failure"}}'
        before = self.samples()
        self.assertEqual(1, before[up])
        self.assertGreater(before[f'linimo_health_checks_total{{{labels},result="success"}}'], 0)
        backend = self.lab.backends[1]
        with self.watched() as lines:
            backend.kill_nginx()
            try:
                wait_until(lambda: self.samples()[up] == 0, "the backend is down on the page")
                self.assertGreaterEqual(self.grown(before, failed), self.lab.node.config.health.fall)
                died = self.told(lines, "health", address=backend_address(1, 4))
                self.assertEqual(("web", "up", "down"), tuple(died["details"][key] for key in ("pool", "from", "to")))
                self.told(lines, "generation")
            finally:
                backend.start_nginx()
                backend.wait_ready()
                self.lab.node.wait_settled()
        self.assertRegex(self.lab.node.cli("watch", "--past", "1000", "--events", "1").stdout,
                         r"^\d{4}-\d\d-\d\dT[\d:.]{12}Z \w+ +[\w' ]+  \w+=")

    def test_drops_that_begin_and_end_are_told(self) -> None:
        """With their reason and rate: clients that ask a pool without a backend, and then one that has some again."""
        node, backends = self.lab.node, [self.lab.backends[number] for number in (1, 2, 3)]
        with self.watched() as lines:
            try:
                for backend in backends:
                    backend.kill_nginx()
                wait_until(lambda: set(node.backend_states().values()) == {"down"}, "all are down", 10)
                before = node.outcomes()["no_backend"]
                load = Load(self.lab.client, VIP[4], threads=4, timeout=0.3)
                load.run(12)
                self.assertEqual(12, len(load.failures))
                begun = self.told_drops(lines)
                self.assertEqual("packets are dropped", begun["what"])
                self.assertGreaterEqual(float(begun["details"]["per_second"]), 1)
            finally:
                for backend in backends:
                    backend.start_nginx()
                    backend.wait_ready()
                node.wait_settled()
            ended = self.told_drops(lines)
        self.assertEqual("packets are dropped no more", ended["what"])
        self.assertAlmostEqual(node.outcomes()["no_backend"] - before, int(ended["details"]["packets"]), delta=4)

    def told_drops(self, lines: Queue[dict[str, Any]]) -> dict[str, Any]:
        """The next event of the reason `no_backend`: an end is told after 10 s without."""
        while (event := self.told(lines, "drops", seconds=20))["details"]["reason"] != "no_backend":
            pass
        return event

    @contextmanager
    def watched(self) -> Iterator[Queue[dict[str, Any]]]:
        """What `linimo watch` tells meanwhile, from its first keep-alive on."""
        node, lines = self.lab.node, Queue[dict[str, Any]]()
        watch = self.lab.topology.node.spawn([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"),
                                              "watch", "--past", "1", "-o", "json"], subprocess.PIPE)

        def take() -> None:
            for line in watch.stdout or ():
                if line.startswith(b"{"):  # else it says that nobody answers
                    lines.put(json.loads(line))

        reader = Thread(target=take)
        reader.start()
        try:
            lines.get(timeout=5)  # the latest of what has been: it follows from here on
            yield lines
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait()
            reader.join()
            if watch.stdout:
                watch.stdout.close()

    def told(self, lines: Queue[dict[str, Any]], kind: str, address: str | None = None, seconds: float = 5) -> dict[str, Any]:
        """The next event of a kind (and of a backend)."""
        while True:
            event = lines.get(timeout=seconds)
            if event["kind"] == kind and address in (None, event["details"].get("backend")):
                return event

    def wait_quiet(self) -> None:
        """The last packets of connections that were closed have been counted, too."""
        def forwarded() -> float:
            return self.samples()['linimo_packets_total{outcome="forwarded"}']

        def still() -> bool:
            before = forwarded()
            time.sleep(0.1)
            return forwarded() == before

        wait_until(still, "nothing is forwarded any more", 5)

    def grown(self, before: dict[str, float], name: str) -> float:
        return self.samples()[name] - before[name]

    def send(self) -> None:
        with self.lab.client.entered():
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        for one in sockets:
            self.addCleanup(one.close)
        for _ in range(PACKETS_PER_FLOW):
            for one in sockets:
                one.sendto(PAYLOAD, (VIP2[4], 5000))
