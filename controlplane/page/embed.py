#!/usr/bin/python3
"""Makes the source of assets.h: the files of the status page and the API's description as constants, and the handbook's
table of outcomes as JSON for the page.

    embed.py HANDBOOK OUTPUT FILE..."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".json": "application/json"}
PATHS = {"index.html": "/", "openapi.json": "/v1/openapi.json"}
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \|$", re.MULTILINE)


def outcomes(handbook: str) -> str:
    """What each outcome means, and what to do about it."""
    [section] = re.findall(r"^## Outcomes\n(.*?)^## ", handbook, re.MULTILINE | re.DOTALL)
    rows = {name: {"means": means.replace("`", ""), "do": what.replace("`", "")}
            for name, means, what in ROW.findall(section)}
    if not rows:
        raise ValueError("the handbook has no table of outcomes")
    return json.dumps(rows)


def literal(text: str) -> str:
    """As C++ has it, a line each."""
    lines = text.splitlines(keepends=True)
    return "\n".join('        "' + "".join(_character(byte) for byte in line.encode()) + '"' for line in lines)


def _character(byte: int) -> str:
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"


def main() -> None:
    handbook, output, *files = map(Path, sys.argv[1:])
    contents = {path.name: path.read_text() for path in files} | {"outcomes.json": outcomes(handbook.read_text())}
    entries = [f'      {{"{PATHS.get(name, "/" + name)}", "{TYPES[Path(name).suffix]}",\n'
               f'       std::make_shared<const std::string>(\n{literal(text)})}},\n' for name, text in contents.items()]
    output.write_text('#include "controlplane/page/assets.h"\n\nnamespace linimo {\n\nstd::span<const Asset> assets() {\n'
                      "  static const Asset kAssets[] = {\n" + "".join(entries) + "  };\n  return kAssets;\n}\n\n"
                      "}  // namespace linimo\n")


if __name__ == "__main__":
    main()
