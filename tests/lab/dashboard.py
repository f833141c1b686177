"""The dashboard and the alerts that are shipped, what they ask for, and a real Prometheus that answers it.

    with Prometheus(lab.topology.node, ("127.0.0.1", 9310)) as server:
        server.query("linimo_backend_up")
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from lab.netns import Namespace
from lab.wait import wait_until
from promtool import prometheus

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
ALERTS = PACKAGING / "prometheus/alerts.yml"
OF_FLEETS = "linimo_fleet_"
_PORT = 9390


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads((PACKAGING / "grafana/linimo.json").read_text())["panels"] if panel["type"] != "row"]


def queries(of: list[dict[str, Any]] | None = None) -> list[str]:
    """As Grafana would send them, of every node."""
    return [target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$pool", ".*")
            for panel in of or panels() for target in panel["targets"]]


def names_used() -> set[str]:
    return {name.removesuffix("_bucket") for text in (*queries(), ALERTS.read_text()) for name in re.findall(r"\blinimo_\w+", text)}


def families(page: str) -> set[str]:
    return {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}


class Prometheus:
    """In a namespace, scraping a node there each second."""

    def __init__(self, box: Namespace, node: tuple[str, int]) -> None:
        self._box = box
        self._folder = tempfile.TemporaryDirectory(prefix="linimo-prometheus-")
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(ALERTS)],
                  "scrape_configs": [{"job_name": "linimo", "static_configs": [{"targets": [f"{node[0]}:{node[1]}"]}]}]}
        self._file = Path(self._folder.name, "prometheus.yml")
        self._file.write_text(json.dumps(config))  # JSON is YAML
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Prometheus:
        with Path(self._folder.name, "log").open("wb") as log:
            self._process = self._box.spawn([str(prometheus()), f"--config.file={self._file}", f"--storage.tsdb.path={self._folder.name}/data",
                                             f"--web.listen-address=127.0.0.1:{_PORT}", "--log.level=warn"], log)
        try:
            wait_until(lambda: self.query("up == 1"), "it has scraped the node", 20, alive=self._check_alive)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def ask(self, what: str) -> Any:
        done = self._box.run(["curl", "-sSf", f"http://127.0.0.1:{_PORT}/api/v1/{what}"], check=False)
        if done.returncode != 0:
            return {}
        answer = json.loads(done.stdout)
        if answer["status"] != "success":
            raise AssertionError(f"{what}: {answer}")
        return answer["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        return self.ask(f"query?query={urllib.parse.quote(text)}").get("result", [])

    def value(self, text: str) -> float:
        """Of its first series; none: 0."""
        series = self.query(text)
        return float(series[0]["value"][1]) if series else 0.0

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(Path(self._folder.name, "log").read_text(errors="replace")[-3000:])
