"""`linimo top` in a terminal of its own: what a class of tests with a lab takes along."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from typing import Any

from lab.client import Load
from lab.topology import VIP
from lab.wait import wait_until

LINES, COLUMNS = 24, 80
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A pseudo terminal with a program in it, whose controlling terminal it is."""

    def __init__(self, command: list[str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave  # kept open, so that what is left of the terminal can be seen
        self.program = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.output = ""

    def read(self) -> str:
        """What it has written so far."""
        while select.select([self.master], [], [], 0)[0]:
            self.output += os.read(self.master, 65536).decode()
        return self.output

    def screen(self) -> str:
        """The last one that is complete."""
        parts = self.read().split("\x1b[H")
        whole = [part for part in parts[1:] if "\x1b[J" in part]
        return whole[-1].split("\x1b[J")[0].replace("\x1b[K", "").replace("\r", "") if whole else ""

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def is_as_before(self) -> bool:
        return LEAVE in self.read() and termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        for descriptor in (self.master, self.slave):
            os.close(descriptor)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Top:
    """What there is to be seen, and that the terminal is afterwards what it was."""
    lab: Any

    def top(self) -> Terminal:
        node = self.lab.node
        return Terminal([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"), "top", "--interval", "1"])

    def test_top_shows_what_happens(self) -> None:
        with self.top() as terminal, Load(self.lab.client, VIP[4], threads=1, rate=50).in_background():
            wait_until(lambda: "forwarded 0 " not in terminal.screen() and " - packets/s" not in terminal.screen()
                       and "forwarded" in terminal.screen(), "it shows a rate", 10)
            screen = terminal.screen()
            lines = screen.split("\n")
            self.assertLessEqual(len(lines), LINES, screen)
            self.assertLessEqual(max(map(len, lines)), COLUMNS, screen)
            for part in ("lb1", "drops ", "backends: 3 up", "SERVICE", "BACKEND", "web/10.0.1.3", "by packets, every 1 s"):
                self.assertIn(part, screen)
            terminal.press("s")
            wait_until(lambda: "by bits, every 1 s" in terminal.screen(), "it sorts by bits", 5)
            terminal.press("7")
            wait_until(lambda: "by bits, every 7 s" in terminal.screen(), "it takes its time", 5)
            terminal.press("q")
            self.assertEqual(0, terminal.program.wait(5))
            self.assertTrue(terminal.is_as_before())

    def test_top_leaves_the_terminal_as_it_was(self) -> None:
        """However it ends: by Ctrl-C, or by a signal."""
        for end, code in ((lambda terminal: terminal.press("\x03"), 0),
                          (lambda terminal: terminal.program.send_signal(signal.SIGTERM), -signal.SIGTERM)):
            with self.top() as terminal:
                wait_until(lambda: "BACKEND" in terminal.screen(), "there is a screen", 10)  # noqa: B023
                self.assertNotEqual(terminal.before, termios.tcgetattr(terminal.slave))
                self.assertTrue(terminal.output.startswith(ENTER))
                end(terminal)
                self.assertEqual(code, terminal.program.wait(5))
                self.assertTrue(terminal.is_as_before())

    def test_top_as_plain_text(self) -> None:
        """Where the output is no terminal, once: no key ends it, and nothing in it is for a terminal."""
        text = self.lab.node.cli("top", "--interval", "1").stdout
        self.assertIn("SERVICE", text)
        self.assertNotIn("\x1b", text)
        self.assertEqual(3, text.count("web/10.0.1."))
