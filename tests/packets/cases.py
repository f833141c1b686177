#!/usr/bin/python3
"""Writes the case file: cases.py FILE, and with a second argument, a folder, every frame as a file of its own there (a
fuzzer's first corpus)."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from oracle import (choice, echo, forwarding, fragments, gue, icmp_error, judged, jumbo, not_ours, outer, precedence, quic, reject,
                    rows, services, source_prefix, too_big, undeliverable, vlan, world)
from oracle.case import Cases

TOPICS = (not_ours, forwarding, outer, judged, undeliverable, services, choice, gue, vlan, source_prefix, echo, icmp_error,
          too_big, reject, quic, fragments, precedence, jumbo)


def main(file: str, corpus: str | None = None) -> None:
    cases = Cases()
    for topic in TOPICS:
        topic.add_to(cases)
    rows.check(cases)
    content = {"configurations": world.configurations(), "cases": [case.to_json() for case in cases]}
    Path(file).write_text(json.dumps(content, indent=1))
    if corpus is not None:
        folder = Path(corpus)
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            for frame in case.frames[:8]:
                (folder / hashlib.sha1(frame).hexdigest()).write_bytes(frame)


if __name__ == "__main__":
    main(*sys.argv[1:])
