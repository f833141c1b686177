"""A wrong configuration is refused with its place and what was expected, and changes nothing that runs."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

from case import LabCase
from lab.client import Load
from lab.topology import VIP
from lab.wait import wait_until


@dataclass
class Mistake:
    """The good text with `right` replaced by `wrong`, and the error that is wanted: at the place in `wrong` where `at`
    begins (the line alone, if the parser could not know the column), with words that say what was expected."""
    name: str
    right: str
    wrong: str
    at: str
    expected: str
    column_known: bool = True


MISTAKES = [
    Mistake("not TOML: a string is not closed", 'name = "lb1"', 'name = "lb1', "name", "expected", column_known=False),
    Mistake("not TOML: a key twice", 'name = "lb1"', 'name = "lb1"\nname = "lb2"', 'name = "lb2"', "", column_known=False),
    Mistake("a key of thousands of parts, which would use up a parser's stack", 'name = "lb1"', "a" + ".a" * 17_000 + ' = 1\nname = "lb1"',
            "a.a", "at most", column_known=False),
    Mistake("an unknown key", "workers = 1", "wokers = 1", "wokers", "workers"),
    Mistake("an unknown section", "[node]", "[nodes]\n[node]", "nodes]", "expected"),
    Mistake("a key that must be there", 'interfaces = ["eth0"]\n', "", "[node]", "interfaces"),
    Mistake("a string for a number", "workers = 1", 'workers = "one"', '"one"', "expected"),
    Mistake("a number out of range", "workers = 1", "workers = 0", "0", "expected"),
    Mistake("an unknown choice", 'encapsulation = "ipip"', 'encapsulation = "vxlan"', '"vxlan"', '"gre"'),
    Mistake("another unknown choice", 'tracking = "full"', 'tracking = "half"', '"half"', '"adaptive"'),
    Mistake("a scheduler that has to remember, and may not", 'scheduler = "maglev"\ntracking = "full"',
            'scheduler = "round-robin"\ntracking = "adaptive"', '"adaptive"', 'tracking = "full"'),
    Mistake("a server id that is not hexadecimal", 'weight = 100 },\n  { address = "10.0.1.2"', 'weight = 100, server_id = "xyz" },\n  { address = "10.0.1.2"', '"xyz"', "hexadecimal"),
    Mistake("no IP address", 'address = "10.0.1.2"', 'address = "10.0.1.256"', '"10.0.1.256"', "address"),
    Mistake("a backend twice", 'address = "10.0.1.2"', 'address = "10.0.1.1"', '"10.0.1.1", weight = 100 },\n  { address = "10.0.1.3"', "once"),
    Mistake("a backend that is a VIP", 'address = "10.0.1.2"', f'address = "{VIP[4]}"', f'"{VIP[4]}", weight', "expected"),
    Mistake("a weight below zero", 'address = "10.0.1.2", weight = 100', 'address = "10.0.1.2", weight = -1', "-1", "expected"),
    Mistake("a prefix with host bits", f'"{VIP[4]}", ', f'"{VIP[4]}/24", ', f'"{VIP[4]}/24"', "host bits"),
    Mistake("no port", "ports = [80]", "ports = [80, 65536]", "65536", "65535"),
    Mistake("a range the wrong way round", "ports = [80]", 'ports = ["90-80"]', '"90-80"', "range"),
    Mistake("a pool that does not exist", 'pool = "web"', 'pool = "wbe"', '"wbe"', '"web"'),
    Mistake("a duration without a unit", 'interval = "500ms"', 'interval = "500"', '"500"', "duration"),
    Mistake("a check that outlasts its interval", 'timeout = "500ms"', 'timeout = "501ms"', '"501ms"', "500ms"),
    Mistake("a table size that is no prime", 'encapsulation = "ipip"', 'encapsulation = "ipip"\ntable_size = 65536', "65536", "65537"),
    Mistake("two services on one VIP and port", 'tracking = "full"\n',
            f'tracking = "full"\n[[service]]\nname = "other"\nvips = ["{VIP[4]}"]\nprotocol = "tcp"\nports = [80]\npool = "web"\n',
            f'"{VIP[4]}"]', "web"),
    Mistake("two services of one name", 'tracking = "full"\n',
            'tracking = "full"\n[[service]]\nname = "web"\nvips = ["203.0.113.99"]\nprotocol = "tcp"\nports = [80]\npool = "web"\n',
            "", "name", column_known=False),
]


class WrongConfiguration(LabCase):
    def tearDown(self) -> None:
        self.lab.node.write_config()

    def test_good_one_is_accepted(self) -> None:
        """Else every refusal below would mean nothing."""
        done = self._check(self.lab.node.config.render())
        self.assertEqual(0, done.returncode, done.stderr)

    def test_check_names_place_and_expectation(self) -> None:
        good = self.lab.node.config.render()
        for mistake in MISTAKES:
            with self.subTest(mistake.name):
                self.assertEqual(1, good.count(mistake.right), "the lab's configuration has changed")
                text = good.replace(mistake.right, mistake.wrong)
                done = self._check(text)
                self.assertNotEqual(0, done.returncode, "it was accepted")
                said = done.stdout + done.stderr
                place = re.search(re.escape(str(self.lab.node.config_file)) + r":(\d+):(\d+): ", said)
                assert place, f"no FILE:LINE:COLUMN in: {said}"
                self.assertIn(mistake.expected, said[place.end():])
                line, column = self._place_of(mistake, text)
                if line:
                    self.assertEqual(line, int(place[1]), said)
                if mistake.column_known:
                    self.assertEqual(column, int(place[2]), said)

    def test_reload_of_each_changes_nothing(self) -> None:
        """Generation, table, data plane and backends stay as they were, and requests are served throughout."""
        node = self.lab.node
        before, backends = self._what_runs(), node.backend_states()
        good = node.config.render()
        with Load(self.lab.client, VIP[4], threads=2, rate=100).in_background() as load:
            for mistake in MISTAKES:
                with self.subTest(mistake.name):
                    refusals = self._refusals()
                    node.write_config(good.replace(mistake.right, mistake.wrong))
                    node.signal_reload()
                    wait_until(lambda: self._refusals() > refusals, "the control plane says that it refused")
                    self.assertEqual(before, self._what_runs())
        self.assertEqual(backends, node.backend_states())
        self.assert_served(load, set(backends))

    def test_good_one_after_a_wrong_one_is_taken(self) -> None:
        """A refusal is not the end of reloading: neither by the signal nor by the file's own change."""
        node = self.lab.node
        node.write_config("nonsense")
        node.signal_reload()
        node.config.backends[1] = 50
        node.reload()
        self.assertEqual({50, 100}, {backend["weight"] for backend in node.backend_list()})
        node.config.backends[1] = 100
        generation = node.status()["generation"]
        node.write_config()  # and no signal
        node.wait_settled(after_generation=generation)
        self.assertEqual({100}, {backend["weight"] for backend in node.backend_list()})

    def test_editor_that_moves_the_old_file_away_first(self) -> None:
        """No error about a file that is gone for a moment or half written; what is saved in the end is taken."""
        node = self.lab.node
        file, refusals, generation = node.config_file, self._refusals(), node.status()["generation"]
        node.config.backends[1] = 51
        text = node.config.render()
        file.rename(file.with_suffix(".toml~"))
        time.sleep(0.3)  # an editor that takes its time
        with file.open("w") as half:
            half.write(text[:len(text) // 2])
            half.flush()
            file.with_suffix(".swp").touch()  # something happens beside it
            half.write(text[len(text) // 2:])
        node.wait_settled(after_generation=generation)
        self.assertIn(51, {backend["weight"] for backend in node.backend_list()})
        self.assertEqual(refusals, self._refusals())
        node.config.backends[1] = 100
        for left in (file.with_suffix(".toml~"), file.with_suffix(".swp")):
            left.unlink()

    def test_check_finds_all_mistakes_at_once(self) -> None:
        """Each on a line of its own."""
        good = self.lab.node.config.render()
        done = self._check(good.replace("workers = 1", "workers = 0").replace("ports = [80]", "ports = [0]"))
        self.assertEqual(1, done.returncode)
        self.assertEqual(2, len(re.findall(re.escape(str(self.lab.node.config_file)) + r":\d+:\d+: ", done.stderr)), done.stderr)

    def test_all_programs_end_and_speak_alike(self) -> None:
        """0, 1 and 2 mean the same, levels have one spelling, and lines of the log one form."""
        node, wrong = self.lab.node, str(self.lab.node.config_file)
        node.write_config("nonsense")
        daemons = [node.dataplane_program, node.cli_program.with_name("linimo-controlplane")]
        version = subprocess.run([node.cli_program, "--version"], capture_output=True, text=True, check=True).stdout
        for program in [*daemons, node.cli_program, self.lab.backends[1].decap_program]:
            with self.subTest(program.name):
                run = lambda *words: node.box.run([str(program), *words], check=False, timeout=10)
                self.assertEqual((0, version), (run("--version").returncode, run("--version").stdout))
                self.assertEqual(0, run("--help").returncode)
                self.assertEqual(2, run("--nonsense").returncode)
        for program in daemons:
            with self.subTest(program.name):
                refused = node.box.run([str(program), "--config", wrong, "--log-level", "warn"], check=False, timeout=10)
                self.assertEqual(1, refused.returncode)
                line = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d level=error msg="?.*' + re.escape(wrong) + r":1:\d+: .*\n"
                self.assertRegex(refused.stderr, "^" + line + "$")
                for level, code in (("trace", 1), ("debug", 1), ("warning", 2), ("err", 2)):
                    run = node.box.run([str(program), "--config", wrong, "--log-level", level], check=False, timeout=10)
                    self.assertEqual(code, run.returncode, level)

    def _check(self, text: str) -> subprocess.CompletedProcess[str]:
        self.lab.node.write_config(text)
        return self.lab.node.cli("config", "check", str(self.lab.node.config_file), check=False)

    def _place_of(self, mistake: Mistake, text: str) -> tuple[int, int]:
        """Line and column, from 1, of the mistake."""
        if not mistake.at:
            return 0, 0
        offset = text.find(mistake.at, text.find(mistake.wrong))
        self.assertGreaterEqual(offset, 0)
        return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)

    def _refusals(self) -> int:
        """How often the control plane has named a place in the file."""
        log = (self.lab.node.folder / "linimo-controlplane.log").read_text(errors="replace")
        return len(re.findall(re.escape(str(self.lab.node.config_file)) + r":\d+:\d+: ", log))

    def _what_runs(self) -> tuple[object, ...]:
        status = self.lab.node.status()
        dataplane = status["dataplane"]
        return status["generation"], status["digest"], dataplane["pid"], dataplane["generation"]
