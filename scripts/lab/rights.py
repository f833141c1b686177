"""With which rights a node's daemons run: as a user of their own, with the capabilities that the packages' units give
(packaging/systemd), and no more."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

USER = 47677  # nobody has it

CAPABILITIES = {
    "linimo-controlplane": ("net_admin", "net_raw"),
    "linimo-dataplane": ("net_admin", "net_raw", "bpf", "perfmon"),
}
# Stands for LimitMEMLOCK=infinity, which a machine that is a container may not grant: AF_XDP sockets take locked memory.
LOCKED_MEMORY = "ipc_lock"
# DPDK's driver for AF_XDP looks its program up by its number, which the kernel allows nobody else.
FOR_AF_XDP = ("sys_admin", LOCKED_MEMORY)


@dataclass
class Rights:
    user: int = USER
    capabilities: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(CAPABILITIES))
    besides: bool = True  # locked memory, and what engine dpdk needs for a netdev

    def command(self, program: str, af_xdp: bool = False) -> list[str]:
        """What starts a program with these rights."""
        names = self.capabilities[program]
        if program == "linimo-dataplane" and self.besides:
            names += FOR_AF_XDP if af_xdp else (LOCKED_MEMORY,)
        wanted = ",".join(f"+{name}" for name in names)
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--no-new-privs",
                f"--inh-caps=-all,{wanted}", f"--ambient-caps=-all,{wanted}", f"--bounding-set=-all,{wanted}", "--"]

    def give(self, path: Path) -> None:
        if path.exists() and path.stat().st_uid != self.user:  # a file's time of change is looked at
            os.chown(path, self.user, self.user)
