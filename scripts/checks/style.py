"""Programs that know how a source should look: clang-format, shellcheck, pyflakes."""

from __future__ import annotations

from .tree import complaints, files, scripts


def formatted() -> list[str]:
    return complaints(["clang-format-14", "--dry-run", "-Werror"], files(".h", ".cc", ".c"))


def shell() -> list[str]:
    return complaints(["shellcheck", "--severity", "warning"], scripts())


def python() -> list[str]:
    return complaints(["pyflakes3"], files(".py"))
