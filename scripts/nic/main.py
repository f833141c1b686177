"""The command line."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Callable

from . import login
from .findings import ADVICE, OK, PROBLEM, Finding, Wanted, of_device, of_netdev, of_system
from .host import Host
from .setup import STATE, Failed, Setup
from .system import device, netdev, pci_address, system

CONFIG = "/etc/linimo/linimo.toml"
_TEXT = """A NIC that is named by its PCI address (0000:3b:00.0) is for DPDK: it needs hugepages, an IOMMU and vfio-pci.
One that is named as a network device (eth0) stays with the kernel, for engine xdp or AF_XDP: what matters are its offloads,
queues and interrupts. That is also how [node] interfaces in linimo.toml names them; those are taken where none is named."""


def main(arguments: list[str] | None = None, host: Host | None = None) -> int:
    options = _parser().parse_args(arguments)
    host = host or Host(options.root)
    try:
        if options.command == "undo":
            return _changing(host, lambda: _undo(host))
        nics = [pci_address(nic) or nic for nic in options.nics or configured(host)]
        if not nics:
            print(f"linimo-setup-nic: name a NIC; {host.path(CONFIG)} names none (ip link and lspci -D list them)", file=sys.stderr)
            return 2
        wanted = Wanted(options.hugepages, options.driver if options.command == "apply" else "")
        if options.command == "check":
            found = judge(host, nics, wanted)
            _show(found, options.output)
            return 1 if any(finding.state == PROBLEM for finding in found) else 0
        return _changing(host, lambda: _apply(host, nics, wanted, options.cut_me_off))
    except (Failed, OSError) as error:
        print(f"linimo-setup-nic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("linimo-setup-nic: interrupted; linimo-setup-nic undo puts back what was done", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="linimo-setup-nic", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_TEXT,
                                     description="Looks at what Linimo needs of a machine and its NICs, sets it up so that it "
                                     "outlives a reboot, and puts it back.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="another machine's /sys, /proc and /etc, below this folder")
    commands = parser.add_subparsers(dest="command", required=True, metavar="check|apply|undo")
    check = commands.add_parser("check", help="say what is as it should be and what is not; changes nothing. 1: a problem was found")
    check.add_argument("-o", "--output", choices=("text", "json"), default="text")
    apply = commands.add_parser("apply", help="do what check asks for")
    apply.add_argument("--driver", choices=("vfio-pci", "uio_pci_generic"), default="",
                       help="instead of vfio-pci; uio_pci_generic is for machines without an IOMMU: the NIC may then write to all "
                       "memory, and the data plane has to run as root")
    apply.add_argument("--cut-me-off", action="store_true",
                       help="take a NIC too by which this machine is reached: ssh, the default route, the last address")
    for command in (check, apply):
        command.add_argument("nics", nargs="*", metavar="NIC", help=f"default: those of {CONFIG}")
        command.add_argument("--hugepages", type=_count, default=Wanted.pages, metavar="N",
                             help="of 2 MB, on the NIC's NUMA node (default: %(default)s)")
    commands.add_parser("undo", help=f"put everything back as the first apply found it ({STATE})")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text} is no number of pages from 1 to {1 << 20}")
    return int(text)


def configured(host: Host) -> list[str]:
    """[node] interfaces; not DPDK's virtual devices."""
    try:
        found = tomllib.loads(host.read(CONFIG)).get("node", {}).get("interfaces", [])
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"{host.path(CONFIG)}: {error}") from None
    return [nic for nic in found if isinstance(nic, str) and not nic.startswith("net_")]


def judge(host: Host, nics: list[str], wanted: Wanted) -> list[Finding]:
    seen, processors = system(host), _processors(host)
    devices = [device(host, nic) for nic in nics if pci_address(nic)]
    found = of_system(seen, devices, wanted)
    for each in devices:
        found += of_device(each, seen, login.reasons(host, each.netdevs), wanted)
    for name in (nic for nic in nics if not pci_address(nic)):
        found += of_netdev(netdev(host, name), processors, login.reasons(host, [name]))
    return found


def _processors(host: Host) -> int:
    return max(host.read("/proc/cpuinfo").count("processor\t:"), 1)


def _show(found: list[Finding], output: str) -> None:
    if output == "json":
        print(json.dumps({"findings": [dataclasses.asdict(finding) for finding in found]}, indent=2))
        return
    for finding in found:
        print(f"{finding.state:8} {finding.subject or 'machine'}: {finding.text} [{finding.name}]")
        if finding.mend:
            print(f"{'':8} -> {finding.mend}")
    counts = {state: sum(finding.state == state for finding in found) for state in (PROBLEM, ADVICE, OK)}
    mended = sum(finding.by_apply for finding in found if finding.state != OK)
    print(f"{counts[PROBLEM]} problem(s), {counts[ADVICE]} advice" + (f"; `linimo-setup-nic apply` mends {mended}" if mended else ""))


def _apply(host: Host, nics: list[str], wanted: Wanted, cut_me_off: bool) -> int:
    """Nothing is touched where something is in the way that apply cannot mend."""
    found = judge(host, nics, wanted)
    in_the_way = [finding for finding in found if finding.state == PROBLEM and not finding.by_apply
                  and not (finding.name == "reached-by" and cut_me_off)]
    for finding in in_the_way:
        print(f"linimo-setup-nic: {finding.subject or 'machine'}: {finding.text}\n    -> {finding.mend}", file=sys.stderr)
    if in_the_way:
        print("linimo-setup-nic: nothing was changed", file=sys.stderr)
        return 1
    setup = Setup(host, lambda text: print(text, flush=True))
    devices = [device(host, nic) for nic in nics if pci_address(nic)]
    if devices:
        setup.reserve(system(host), {each.node for each in devices}, wanted)
    for each in devices:
        setup.bind(each, wanted)
    for name in (nic for nic in nics if not pci_address(nic)):
        setup.tune(netdev(host, name), _processors(host))
    left = [finding for finding in judge(host, nics, wanted) if finding.state == PROBLEM and finding.name != "reached-by"]
    _show(left, "text")
    return 1 if left else 0


def _undo(host: Host) -> int:
    setup = Setup(host, lambda text: print(text, flush=True))
    if not setup.before:
        print("nothing to undo")
        return 0
    return 0 if setup.undo() else 1


def _changing(host: Host, change: Callable[[], int]) -> int:
    """One at a time, and by root."""
    if host.root == Path("/") and os.geteuid() != 0:
        raise Failed("this takes root")
    lock = host.path("/run/linimo-setup-nic.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return change()
