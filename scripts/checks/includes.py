"""Who may know whom. The READMEs say it in prose; this is the same as a table."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePath

from .tree import ROOT, files, read

# A folder (the longest that fits a file counts) and what its sources may include of this project.
MAY_INCLUDE = {
    "maglev": ["maglev"],
    "maglev/rules": ["maglev/rules", "maglev/abi.h", "maglev/next_hop.h", "maglev/unsettled.h"],  # plain C for both engines
    "bpf": ["bpf", "maglev/rules", "maglev/trace.h", "maglev/abi.h", "maglev/next_hop.h", "maglev/unsettled.h"],
    "bpf/decap": ["bpf", "maglev"],  # with its loader
    "dataplane/packet": ["dataplane/packet", "maglev"],  # headers in, headers out: no ports, no tables
    "dataplane/flow": ["dataplane/flow", "maglev"],
    "dataplane/egress": ["dataplane/egress", "maglev"],
    "dataplane/forward": ["dataplane/forward", "dataplane/egress", "dataplane/flow", "dataplane/packet", "maglev"],
    "dataplane": ["dataplane", "bpf", "maglev"],
    "controlplane/config": ["controlplane/config", "maglev"],  # what the CLI has of it, too
    "controlplane/cli": ["controlplane/cli", "controlplane/config", "controlplane/trace/flow_query.h", "controlplane/trace/trial_packet.h",
                         "maglev"],  # those read arguments as the control plane does
    "controlplane/checks": ["controlplane/checks", "maglev"],
    "controlplane/health": ["controlplane/health", "controlplane/checks/words.h", "controlplane/config", "maglev"],
    "controlplane/http": ["controlplane/http", "controlplane/config", "controlplane/log.h", "maglev"],
    "controlplane/metrics": ["controlplane/metrics", "controlplane/node_state.h", "maglev"],
    "controlplane": ["controlplane", "maglev"],
    "bench": ["bench", "dataplane", "controlplane", "bpf", "maglev"],
    "tests": ["tests", "bench/fleet", "dataplane", "controlplane", "bpf", "maglev"],
}

# And which headers are not for a folder, by how their names begin.
MAY_NOT_INCLUDE = {
    "maglev": ["rte_", "boost/", "sys/socket", "bpf/", "curl/", "spdlog/", "maglev/os/"],
    "bpf": ["rte_", "boost/"],
    "controlplane": ["rte_", "bpf/", "xdp/"],
    "controlplane/fleet": ["maglev/os/"],
    "dataplane/packet": ["spdlog/", "sys/socket", "maglev/os/"],
    "dataplane/flow": ["maglev/os/"],
    "dataplane/forward": ["maglev/os/"],
    "dataplane": ["boost/", "curl/"],
}

# Folders and files that may after all.
EXCEPT = {
    "maglev/os": ["sys/socket", "maglev/os/"],
    "maglev/log_format.h": ["spdlog/"],  # both daemons' lines look alike
    "maglev/log_format.cc": ["spdlog/"],
}

_INCLUDE = re.compile(r'^\s*#\s*include(?:_next)?\s*([<"])([^>"]+)[>"]')


def check() -> list[str]:
    found = []
    for name in files(".h", ".cc", ".c"):
        allowed, refused = _rule(MAY_INCLUDE, name), _folders(MAY_NOT_INCLUDE, name)
        refused = [one for one in refused if one not in _folders(EXCEPT, name)]
        for number, line in enumerate(read(name).splitlines(), 1):
            if match := _INCLUDE.match(line):
                ours, what = match[1] == '"', match[2]
                if ours and "/" in what and not any(_within(what, one) for one in allowed):
                    found.append(f"{name}:{number}: may not include {what} (scripts/checks/includes.py says what it may)")
                if ours and "/" in what and not what.endswith(".skel.h") and not (ROOT / what).exists():
                    found.append(f"{name}:{number}: there is no {what}")
                if any(what.startswith(one) for one in refused):
                    found.append(f"{name}:{number}: may not include {what} (scripts/checks/includes.py)")
    return found + circles()


def circles() -> list[str]:
    """Folders that include each other, by way of however many. What lies right in one of the large folders counts by itself."""
    uses: dict[str, set[str]] = {}
    for name in files(".h", ".cc", ".c"):
        if not name.startswith(("tests/", "bench/")):
            included = [match[2] for match in map(_INCLUDE.match, read(name).splitlines()) if match and match[1] == '"']
            uses.setdefault(_room(name), set()).update(_room(one) for one in included if "/" in one)
    for room, used in uses.items():
        used.discard(room)
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        return [f"a circle of includes: {' <- '.join(error.args[1])}"]
    return []


def _room(name: str) -> str:
    path = PurePath(name)
    return str(path.with_suffix("") if len(path.parts) == 2 else path.parent)


def _within(what: str, folder_or_file: str) -> bool:
    return what == folder_or_file or what.startswith(folder_or_file + "/")


def _rule(table: dict[str, list[str]], name: str) -> list[str]:
    fitting = [folder for folder in table if _within(name, folder)]
    return table[max(fitting, key=len)] if fitting else []


def _folders(table: dict[str, list[str]], name: str) -> list[str]:
    return [one for folder, refused in table.items() if _within(name, folder) for one in refused]
