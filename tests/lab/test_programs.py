"""All programs answer alike: --help and --version, options of one name that mean one thing, levels of the log, and exit
codes as docs/operations.md has them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DAEMONS = ["dataplane/linimo-dataplane", "controlplane/linimo-controlplane"]
PROGRAMS = [*DAEMONS, "controlplane/linimo", "bpf/decap/linimo-decap"]
SCRIPTS = ["bench", "build", "check", "demo", "fuzz", "install-packages", "test"]
DONE, FAILED, USAGE = 0, 1, 2


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT / 'build/dataplane'}:{os.environ['PATH']}"  # where `linimo` finds the data plane's program
    return subprocess.run([*map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PATH": path})


def program(name: str) -> Path:
    return ROOT / "build" / name


def commands(name: str, *words: str) -> list[tuple[str, ...]]:
    """The program's name and each command that its help tells of, to the last."""
    said = run(program(name), *words, "--help").stdout
    _, _, behind = said.partition("Subcommands:")
    here = [(name, *words)]
    return here + [each for word in re.findall(r"^  (\S+)", behind, re.MULTILINE)
                   for each in commands(name, *words, word)]


def options(name: str, *words: str) -> dict[str, str]:
    """Each option of a command, by its long name, and what the help says of it, with its type and default."""
    text = run(program(name), *words, "--help").stdout.partition("Options:")[2].partition("Subcommands:")[0]
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if match := re.match(r"  (?:(-\w),)?(--[^\s,\[]+)(.*)", line):
            last = match[2]
            found[last] = match[3]
        elif last and line.startswith("      "):
            found[last] += line
    return {option: " ".join(said.split()) for option, said in found.items()}


# What completion asks, with answers in the program's own form.
FAKE = """#!/usr/bin/python3
import json, sys
backends = [{"address": "10.0.1.1", "pool": "web", "share": 0.5}, {"address": "2001:db8::2", "pool": "new", "share": 0.5}]
services = [{"name": "web", "pool": "web"}, {"name": "mail", "pool": "new"}]
print(json.dumps({"backend": backends, "service": services}[sys.argv[1]], indent=2))
"""
# Instead of bash-completion's own, which need not be there.
COMPLETE = """
_init_completion() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
_filedir() { :; }
. "$1"; shift; COMP_WORDS=(linimo "$@"); COMP_CWORD=$#; _linimo; printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words: str, path: str = "/nothing") -> list[str]:
    """What bash offers for the last word."""
    said = subprocess.run(["bash", "-c", COMPLETE, "bash", ROOT / "packaging/bash-completion/linimo", *words], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}, check=True)
    return said.stdout.split()


class Programs(unittest.TestCase):
    def test_help(self) -> None:
        for name in PROGRAMS:
            for words in commands(name):
                with self.subTest(words=words):
                    by_long, by_short = (run(program(name), *words[1:], flag) for flag in ("--help", "-h"))
                    self.assertEqual((DONE, ""), (by_long.returncode, by_long.stderr))
                    self.assertEqual(by_long.stdout, by_short.stdout)
                    self.assertRegex(by_long.stdout.splitlines()[0], r"^[A-Za-z].{10,}", "says what it does")
                    self.assertIn(f"Usage: {' '.join([Path(name).name, *words[1:]])}", by_long.stdout)

    def test_version(self) -> None:
        said = {run(program(name), "--version").stdout for name in PROGRAMS}
        self.assertEqual(1, len(said), said)
        self.assertRegex(said.pop(), r"^\d+\.\d+\.\d+\S*\n$")

    def test_options_of_one_name_mean_one_thing(self) -> None:
        meanings: dict[str, set[str]] = {}
        for name in PROGRAMS:
            for words in commands(name):
                for option, said in options(*words).items():
                    self.assertRegex(option, r"^--[a-z]+(-[a-z]+)*$")
                    self.assertRegex(said, r"[a-z]{3,}", f"{words} {option} has no description")
                    meanings.setdefault(option, set()).add(said)
        self.assertIn("--config", meanings)
        self.assertIn("--log-level", meanings)
        several = {option: said for option, said in meanings.items() if len(said) > 1}
        self.assertEqual({}, {option: said for option, said in several.items() if option != "--wait"})

    def test_levels_of_the_log(self) -> None:
        for name in DAEMONS:
            self.assertIn("{trace,debug,info,warn,error}", options(name)["--log-level"].replace(" ", ""), name)
            refused = run(program(name), "--log-level", "warning")
            self.assertEqual(USAGE, refused.returncode)
            self.assertIn("--log-level", refused.stderr)

    def test_the_manual_and_completion_know_every_command_and_option(self) -> None:
        """Of linimo, as its help tells of them; and completion offers nothing else."""
        manual = (ROOT / "packaging/man/linimo.1.scd").read_text().split("\n\n")
        of_all = {"--help", "--version", "--output", "--socket"}
        leaves = commands("controlplane/linimo")
        for words in leaves:
            with self.subTest(words=words):
                command, below = words[1:], {one[len(words)] for one in leaves if one[:len(words)] == words and len(one) == len(words) + 1}
                its = set(options(*words)) - of_all
                offered = {one for typed in ("", "-") for one in complete(*command, typed)}
                self.assertLessEqual(below | its, offered)
                self.assertLessEqual({one for one in offered if one.startswith("-")}, its | of_all)
                if command and not below:
                    said = "\n".join(text for text in manual if f"*{' '.join(command)}*" in text)
                    self.assertTrue(said, "it is in the manual")
                    self.assertEqual(set(), {option for option in its if option not in said}, said)

    def test_names_are_completed(self) -> None:
        """Backends and services, as the running node has them, where one is to be named."""
        with tempfile.TemporaryDirectory() as folder:
            fake = Path(folder) / "linimo"
            fake.write_text(FAKE)
            fake.chmod(0o755)
            backends, services = ["new/2001:db8::2", "web/10.0.1.1"], ["mail", "web"]
            for words, names in ((("backend", "drain", ""), backends), (("backend", "undrain", "w"), backends[1:]), (("backend", "drain", "new/"), backends[:1]),
                                 (("flow", "list", "--backend", ""), backends), (("flow", "clear", "--service", "m"), services[:1]),
                                 (("flow", "list", "--service", ""), services)):
                with self.subTest(words=words):
                    self.assertEqual(names, sorted(one for one in complete(*words, path=folder) if not one.startswith("-")))

    def test_wrong_usage(self) -> None:
        for name in PROGRAMS:
            for words in commands(name):
                with self.subTest(words=words):
                    done = run(program(name), *words[1:], "--no-such-option")
                    self.assertEqual((USAGE, ""), (done.returncode, done.stdout))
                    self.assertIn("--help", done.stderr, "says where more is to be read")

    def test_wrong_arguments_are_wrong_usage(self) -> None:
        """Found out before anybody is asked: there is no control plane here, which would be a failure."""
        linimo = program("controlplane/linimo")
        to = "203.0.113.10:80"
        for words, says in ((("trace", "tcp", "192.0.2.2", to), "ADDRESS:PORT"), (("trace", "icmp", "192.0.2.2:1", "203.0.113.10"), "addresses"),
                            (("trace", "tcp", "192.0.2.2:1", "[2001:db8::1]:80"), "one family"),
                            (("trace", "tcp", "192.0.2.2:1", to, "--flags", "X"), "flags"), (("trace", "udp", "192.0.2.2:1", to, "--quic-id", "0"), "quic_id"),
                            (("trace", "udp", "192.0.2.2:1", to, "--size", "9"), "size"), (("probe", "x"), "ADDRESS:PORT"), (("probe", "203.0.113.10"), "ADDRESS:PORT"),
                            (("probe", to, "--http", "x"), "path"), (("probe", to, "--netns", "../x"), "name"), (("flow", "list", "--backend", "x"), "POOL/ADDRESS"),
                            (("flow", "clear", "--backend", "web/x"), "POOL/ADDRESS"), (("flow", "list", "--client", "192.0.2.1/24"), "host bits"),
                            (("flow", "show", "tcp", "192.0.2.2", to), "ADDRESS:PORT"), (("backend", "drain", "web/x"), "POOL/ADDRESS"), (("backend", "undrain", "x"), "POOL/ADDRESS"),
                            (("capture", "nonsense and", "-w", "/dev/null"), "filter")):
            with self.subTest(words=words):
                done = run(linimo, "--socket", "/nothing", *words)
                self.assertEqual((USAGE, ""), (done.returncode, done.stdout), done.stderr)
                self.assertIn(says, done.stderr)

    def test_failure(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            nothing = f"{folder}/nothing"
            failing = [(program(name), "--config", nothing) for name in DAEMONS]
            failing += [(program("controlplane/linimo"), "config", "check", nothing),
                        (program("controlplane/linimo"), "--socket", nothing, "status"),
                        (program("controlplane/linimo"), "dataplane", "detach", "--config", nothing),
                        (program("bpf/decap/linimo-decap"), "attach", "nothing")]
            for argv in failing:
                with self.subTest(argv=argv):
                    done = run(*argv)
                    self.assertEqual((FAILED, ""), (done.returncode, done.stdout), done.stderr)
                    self.assertIn("nothing", done.stderr, "names what it could not use")

    def test_scripts(self) -> None:
        for name in SCRIPTS:
            with self.subTest(script=name):
                said = run(ROOT / "scripts" / name, "--help")
                self.assertEqual(DONE, said.returncode, said.stderr)
                self.assertGreater(len(said.stdout), 40)
                self.assertEqual(USAGE, run(ROOT / "scripts" / name, "--no-such-option").returncode)

    def test_exit_codes_are_documented(self) -> None:
        table = (ROOT / "docs/operations.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
        self.assertEqual([DONE, FAILED, USAGE], [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)])


if __name__ == "__main__":
    unittest.main()
