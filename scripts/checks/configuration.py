"""The handbook's page on the configuration names the keys that the parser takes, and no others."""

from __future__ import annotations

import re

from .tree import files, read

PAGE = "docs/configuration.md"
_KEYS = re.compile(r"table\(\{(.*?)\}\)", re.DOTALL)
_SECTIONS = {"node", "announce", "metrics", "api", "fleet", "pool", "service"}


def check() -> list[str]:
    taken = {key for name in files(".cc", under="controlplane/config/") + files(".cc", under="maglev/config/")
             for keys in _KEYS.findall(read(name)) for key in re.findall(r'"(\w+)"', keys)}
    page = read(PAGE)
    found = [f"{PAGE}: nothing about `{key}`, which the parser takes" for key in sorted(taken - _SECTIONS)
             if not re.search(rf"\b{key}\b", page)]
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("| `") and not line.startswith("| `["):
            keys = re.findall(r"`(\w+)`", line.split("|")[1])
            found += [f"{PAGE}:{number}: the parser takes no `{key}`" for key in keys if key not in taken and key != "type"]
    return found
