"""By which network devices this machine is reached: whoever takes one of these away may lock himself out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterable

from .host import Host


def reasons(host: Host, netdevs: Iterable[str]) -> list[str]:
    """Why these devices should stay; of a device in a bond, a bridge or below a VLAN also what those are for."""
    taken = {name for netdev in netdevs for name in (netdev, *_above(host, netdev))}
    if not taken:
        return []
    addresses = _addresses(host)
    found = [f"ssh from {client} comes in by {link}" for link, client in _logins(host, addresses) if link in taken]
    for family in ("-4", "-6"):
        found += [f"the IPv{family[1]} default route leaves by {link}" for link in _default_links(host, family) if link in taken]
    if host.root == Path("/") and host.run("ip", "-V") is None:
        found.append("how it is reached cannot be told: `ip` does not run (package iproute2)")
    # Whether or not it has one itself: it may carry a tunnel or a virtual switch that has.
    if addresses and not any(_is_wired(host, link) for link in set(addresses) - taken):
        found.append(f"no other NIC than {', '.join(sorted(taken & set(addresses) or netdevs))} has an address")
    return list(dict.fromkeys(found))


def _above(host: Host, netdev: str) -> list[str]:
    direct = [name.removeprefix("upper_") for name in host.names(f"/sys/class/net/{netdev}") if name.startswith("upper_")]
    return [name for upper in direct for name in (upper, *_above(host, upper))]


def _is_wired(host: Host, link: str) -> bool:
    """A NIC, or made of one."""
    path = f"/sys/class/net/{link}"
    return host.exists(f"{path}/device") or any(_is_wired(host, name.removeprefix("lower_")) for name in host.names(path)
                                                if name.startswith("lower_"))


def _addresses(host: Host) -> dict[str, set[str]]:
    """Those that can be reached from elsewhere, of each device."""
    found: dict[str, set[str]] = {}
    for link in host.ask("ip", "-j", "address", "show"):
        for address in link.get("addr_info", []):
            if address.get("scope") == "global":
                found.setdefault(link["ifname"], set()).add(address["local"])
    return found


def _default_links(host: Host, family: str) -> set[str]:
    return {hop["dev"] for route in host.ask("ip", "-j", family, "route", "show", "default")
            for hop in (route, *route.get("nexthops", [])) if "dev" in hop}


def _logins(host: Host, addresses: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Device and client of each ssh session: where its packets come in, and where the answers go."""
    found = []
    for client, server in sorted(_sessions(host)):
        links = {link for link, own in addresses.items() if server in own}
        links |= {end.partition("%")[2] for end in (client, server) if "%" in end}
        links |= {route["dev"] for route in host.ask("ip", "-j", "route", "get", client) if "dev" in route}
        found += [(link, client) for link in sorted(links)]
    return found


def _sessions(host: Host) -> set[tuple[str, str]]:
    """Clients' addresses and ours. sudo hides the session's own variable, its ancestors have it."""
    found, ports = set(), {"22"}
    process = str(os.getpid())
    for variables in [f"SSH_CONNECTION={os.environ.get('SSH_CONNECTION', '')}", *_ancestors(host, process)]:
        for client, server, port in re.findall(r"(?:^|\0)SSH_CONNECTION=(\S+) \d+ (\S+) (\d+)", variables):
            found.add((client, server))
            ports.add(port)
    for port in sorted(ports):
        for line in (host.run("ss", "-Htn", "state", "established", f"( sport = :{port} )") or "").splitlines():
            ends = [_plain(end.rpartition(":")[0]) for end in line.split()[2:4]]
            if len(ends) == 2:
                found.add((ends[1], ends[0]))
    return {(_plain(client), _plain(server)) for client, server in found}


def _ancestors(host: Host, process: str) -> list[str]:
    found = []
    while process not in ("0", "") and len(found) < 64:
        found.append(host.read(f"/proc/{process}/environ"))
        parent = re.search(r"(?m)^PPid:\s+(\d+)", host.read(f"/proc/{process}/status"))
        process = parent[1] if parent else ""
    return found


def _plain(address: str) -> str:
    """Of "[::ffff:192.0.2.1]". A link-local one keeps its device: fe80::1%eth0."""
    return address.strip("[]").removeprefix("::ffff:")
