"""How many tests passed, and which did not, as the runners reported it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)  # names; a runner that ended badly may give fewer than failed

    def __iadd__(self, other: Counts) -> Counts:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        return self

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")

    def judge(self, name: str, passed: bool) -> None:
        """One test more."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(name)

    def unexplained(self, code: int, why: str) -> Counts:
        """A runner that ended badly without naming a failure has failed by itself."""
        if code != 0 and self.failed == 0:
            self.judge(why, False)
        return self
