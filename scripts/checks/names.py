"""Files that prose and comments name are there: a reader who follows a name must arrive. And the READMEs that list files
list them all."""

from __future__ import annotations

import re
from pathlib import Path

from .tree import ROOT, files, read

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NAME = re.compile(r"(?<![\w/.<*$}-])((?:[a-z_][\w.-]*/)*[a-z_][\w-]*\.(?:bpf\.c|cc|h|c|py|md|build|conf))(?![\w*/])")
_COMMENT = re.compile(r"(?://|#(?!\s*include)|\"\"\").*")


_MADE = re.compile(r"^build/")  # by the scripts
_LISTED = {"tests/packets": "_test.cc", "maglev/rules": ".h", "maglev/os": ".h"}  # folders whose READMEs list each such file
_FOREIGN = {"dpdk-devbind.py"}  # programs of other packages


def check() -> list[str]:
    known = {ending for name in files("") for ending in _endings(name)}
    found = []
    for name in files(".md"):
        for number, line in enumerate(read(name).splitlines(), 1):
            for target in _LINK.findall(line):
                if ":" not in target and not target.startswith("#") and not (
                        (ROOT / name).parent / target.partition("#")[0]).exists():
                    found.append(f"{name}:{number}: the link to {target} leads nowhere")
            found += _missing(name, number, line, known)
    for name in files(".h", ".cc", ".c", ".py", "meson.build"):
        for number, line in enumerate(read(name).splitlines(), 1):
            for comment in _COMMENT.findall(line):
                found += _missing(name, number, comment, known)
    return found + [f"{folder}/README.md does not say what {Path(name).name} is" for folder, kind in _LISTED.items()
                    for name in files(kind, under=f"{folder}/")
                    if Path(name).parent == Path(folder) and f"`{Path(name).name}`" not in read(f"{folder}/README.md")]


def _endings(name: str) -> list[str]:
    """A file is known by its name and by as much of its path as one likes to give."""
    parts = Path(name).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _missing(name: str, number: int, text: str, known: set[str]) -> list[str]:
    return [f"{name}:{number}: there is no {what}" for what in _NAME.findall(text)
            if what not in known | _FOREIGN and not _MADE.match(what) and not _of_the_system(what)]


def _of_the_system(what: str) -> bool:
    return any((Path(folder) / what).exists() for folder in ("/usr/include", "/usr/include/bpf", "/etc"))
