"""`linimo probe` asks a VIP as a client does, and tells who answers, how soon, and what fails."""

from __future__ import annotations

import json
from typing import Any

from case import LabCase
from lab.topology import VIP, backend_address

COUNT = 60


class Probe(LabCase):
    def probe(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = self.lab.node.cli("probe", *arguments, "-o", "json", check=False)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_who_answers(self) -> None:
        """Of both families, out of the client's namespace: all backends, with shares that add up."""
        for target in (f"{VIP[4]}:80", f"[{VIP[6]}]:80"):
            said = self.probe(target, "--http", "/", "--count", str(COUNT), "--netns", self.lab.client.name)
            self.assertEqual((COUNT, {}), (said["answers"], said["failures"]))
            self.assertEqual(3, len(said["answered_by"]), said)
            self.assertAlmostEqual(1, sum(one["share"] for one in said["answered_by"]))
            for one in said["answered_by"]:
                self.assertTrue(0 < one["median_ms"] <= one["p99_ms"] <= one["max_ms"] < 3000, one)
        self.assertIn(backend_address(1, 4), json.dumps(self.probe(f"{VIP[4]}:80", "--http", "/", "--count", str(COUNT),
                                                                   "--netns", self.lab.client.name)))

    def test_by_a_header(self) -> None:
        """Which all backends send alike, whose bodies are the same; without it, or by another one, nobody is named."""
        ask = (f"{VIP[4]}:80", "--http", "/named", "--count", str(COUNT), "--netns", self.lab.client.name)
        said = self.probe(*ask, "--header", "x-backend")
        self.assertEqual({backend_address(number, 4) for number in (1, 2, 3)}, {one["backend"] for one in said["answered_by"]})
        self.assertEqual(["welcome"], [one["backend"] for one in self.probe(*ask)["answered_by"]])
        self.assertEqual([None], [one["backend"] for one in self.probe(*ask, "--header", "X-Back")["answered_by"]])
        said = self.probe(f"{VIP[4]}:80", "--http", "/files/none", "--header", "X-Backend", "--count", "1",
                          "--netns", self.lab.client.name, code=1)
        self.assertEqual({"HTTP status 404": 1}, said["failures"])

    def test_by_their_share(self) -> None:
        """Where no answer says who gave it, the node's counters tell an estimate: its backends' shares of what came meanwhile."""
        ask = (f"{VIP[4]}:80", "--count", str(COUNT), "--netns", self.lab.client.name)
        said = self.probe(*ask)
        self.assertEqual([None], [one["backend"] for one in said["answered_by"]])
        shares = said["estimated_shares"]
        self.assertEqual({f"web/{backend_address(number, 4)}" for number in (1, 2, 3)}, shares.keys())
        self.assertAlmostEqual(1, sum(shares.values()))
        self.assertTrue(all(0.05 < share < 0.7 for share in shares.values()), shares)
        self.assertRegex(self.lab.node.cli("probe", *ask).stdout, rf"about \d+ % of the packets went to web/{backend_address(1, 4)}")
        self.assertNotIn("estimated_shares", self.probe(*ask, "--http", "/"), "who answers says so")

    def test_what_fails(self) -> None:
        """Nothing listens there: the reason, counted; the exit code is 1."""
        said = self.probe(f"{VIP[4]}:81", "--count", "2", "--timeout", "0.3", "--netns", self.lab.client.name, code=1)
        self.assertEqual((0, {"connect: Connection timed out": 2}), (said["answers"], said["failures"]))
        text = self.lab.node.cli("probe", f"{VIP[4]}:81", "--count", "1", "--timeout", "0.3", check=False)
        self.assertEqual(1, text.returncode)
        for wrong, code, says in ((("203.0.113.10",), 2, "ADDRESS:PORT"), ((f"{VIP[4]}:80", "--netns", "no-such"), 1, "no-such"),
                                  ((f"{VIP[4]}:80", "--http", "x"), 2, "path")):
            done = self.lab.node.cli("probe", *wrong, check=False)
            self.assertEqual(code, done.returncode)
            self.assertIn(says, done.stderr)
