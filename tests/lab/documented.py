"""Commands that the handbook tells operators to give, so that tests run what is written there."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

# What of them a lab has no use for: its members are no services, and run as root.
WITHOUT_SERVICES = "systemctl() { :; }; chown() { :; }\n"


def documented(page: str, heading: str) -> list[str]:
    """The blocks of code below a heading."""
    _, _, rest = (DOCS / page).read_text().partition(f"# {heading}\n")
    section = rest.partition("\n#")[0]
    blocks = ["\n".join(line.strip() for line in block.splitlines()[1:]) for block in section.split("```")[1::2]]
    if not blocks:
        raise LookupError(f"docs/{page} has no code below {heading}")
    return blocks
