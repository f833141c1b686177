"""What to make of what there is: one line for each thing that matters, with what to do. Decisions only; nothing is read or
changed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from .system import BY_ADDRESSES, BY_NOTHING, BY_PORTS, FLOW_KINDS, Device, Netdev, System

OK, ADVICE, PROBLEM = "ok", "advice", "problem"
# DPDK drives these beside the kernel's driver, which stays.
SHARED_DRIVERS = ("mlx5_core", "mlx4_core", "mana")
DPDK_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")
UNCHECKED = ("tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-ip-generic", "tx-vlan-hw-insert")


@dataclass(frozen=True)
class Finding:
    name: str
    subject: str  # a NIC; "": the machine
    state: str
    text: str
    mend: str = ""
    by_apply: bool = False  # apply mends it


@dataclass(frozen=True)
class Wanted:
    pages: int = 512
    driver: str = ""  # "": vfio-pci


def of_system(system: System, devices: Iterable[Device], wanted: Wanted) -> list[Finding]:
    """What DPDK needs of the machine; nothing, where no device is for it."""
    taken = [device for device in devices if device.present and device.is_nic]
    if not taken:
        return []
    found = _hugepages(system, taken, wanted)
    if any(device.driver not in SHARED_DRIVERS for device in taken):  # else there is nothing to bind
        found += [*_iommu(system, wanted), *_at_boot(system)]
    return found


def _hugepages(system: System, devices: list[Device], wanted: Wanted) -> list[Finding]:
    found, nodes = [], {device.node for device in devices}
    for node in sorted(nodes):
        there = system.pages.get(node, 0)
        where = f" on NUMA node {node}, where the NIC is" if len(system.pages) > 1 else ""
        if node not in system.pages:
            found.append(Finding("hugepages", "", PROBLEM, "this kernel has no hugepages of 2 MB", "a kernel with CONFIG_HUGETLBFS"))
        elif there < wanted.pages:
            found.append(Finding("hugepages", "", PROBLEM if there == 0 else ADVICE,
                                 f"{there} hugepages of 2 MB{where}, {wanted.pages} are wanted: Linimo is slow without them, or "
                                 "has less room for connections", f"sysctl vm.nr_hugepages={wanted.pages}", by_apply=True))
        else:
            found.append(Finding("hugepages", "", OK, f"{there} hugepages of 2 MB{where}"))
    if lacking_at_boot(system, nodes, wanted):
        found.append(Finding("hugepages-at-boot", "", ADVICE, f"fewer than {wanted.pages} hugepages are reserved at boot",
                             f"NR_2M_PAGES={wanted.pages} in /etc/dpdk/dpdk.conf; or vm.nr_hugepages={wanted.pages} in "
                             f"/etc/sysctl.d, or hugepages={wanted.pages} on the kernel's command line", by_apply=True))
    else:
        found.append(Finding("hugepages-at-boot", "", OK, f"hugepages are reserved at boot by {', '.join(system.pages_at_boot)}"))
    if not system.hugetlbfs:
        found.append(Finding("hugetlbfs", "", ADVICE, "no hugetlbfs is mounted: connection tables lie in small pages, or end with the "
                             "data plane",
                             "mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages"))
    return found


def _iommu(system: System, wanted: Wanted) -> list[Finding]:
    if system.iommu:
        return [Finding("iommu", "", OK, "the IOMMU is on: a NIC reaches only the memory that Linimo gives it")]
    if wanted.driver.startswith("uio") or wanted.driver == "igb_uio":
        return [Finding("iommu", "", ADVICE, f"no IOMMU: with {wanted.driver} the NIC may write to all memory, and the data plane "
                        "has to run as root", system.iommu_advice)]
    if system.no_iommu:
        return [Finding("iommu", "", ADVICE, "no IOMMU, and vfio's no-IOMMU mode is on: the NIC may write to all memory, and the "
                        "data plane has to run as root", system.iommu_advice)]
    return [Finding("iommu", "", PROBLEM, "the IOMMU is off, so vfio-pci cannot have the NIC",
                    f"{system.iommu_advice}; where there is none: --driver uio_pci_generic (no protection, and as root)")]


def _at_boot(system: System) -> list[Finding]:
    if system.dpdk_service:
        return [Finding("dpdk-service", "", OK, "Debian's package dpdk binds NICs at boot")]
    return [Finding("dpdk-service", "", PROBLEM, "nothing binds NICs at boot: Debian's package dpdk is not installed",
                    "apt install dpdk")]


def of_device(device: Device, system: System, reasons: list[str], wanted: Wanted) -> list[Finding]:
    """`reasons`: why it should stay with the kernel."""
    name = device.address
    if not device.present:
        return [Finding("device", name, PROBLEM, f"there is no PCI device {name}", "lspci -D | grep -i ethernet")]
    if not device.is_nic:
        return [Finding("device", name, PROBLEM, f"{name} is no Ethernet NIC", "lspci -D | grep -i ethernet")]
    found = [Finding("reached-by", name, PROBLEM, f"without it this machine may be out of reach: {'; '.join(reasons)}",
                     "another NIC to log in by; whoever is at the console: --cut-me-off")] if reasons else []
    found += _binding(device, system, wanted)
    bound = device.driver not in SHARED_DRIVERS
    if bound and system.iommu and device.group_mates:
        found.append(Finding("iommu-group", name, PROBLEM, "its IOMMU group has other devices that the kernel drives, so vfio does "
                             f"not give it away: {', '.join(device.group_mates)}",
                             "put the NIC into another slot, or bind these to vfio-pci as well"))
    if bound and system.iommu and device.behind_iommu is False:
        found.append(Finding("virtio-iommu", name, PROBLEM, "the host does not send it through the IOMMU: DPDK would wait for it "
                             "for ever", "on the host: iommu_platform=on for this NIC"))
    if device.users:
        found.append(Finding("in-use", name, ADVICE, f"a process has it: {', '.join(device.users)}"))
    return found


def _binding(device: Device, system: System, wanted: Wanted) -> list[Finding]:
    name, driver = device.address, wanted.driver or "vfio-pci"
    if device.driver in SHARED_DRIVERS:
        return [Finding("driver", name, OK, f"{device.driver}: DPDK drives it beside the kernel, there is nothing to bind")]
    if device.driver in DPDK_DRIVERS and (device.driver == wanted.driver or not wanted.driver):
        found = [Finding("driver", name, OK, f"bound to {device.driver}")]
    else:
        has = f"the kernel's driver {device.driver} has it" if device.driver else "no driver is bound to it"
        as_netdev = f" (as {', '.join(device.netdevs)})" if device.netdevs else ""
        found = [Finding("driver", name, PROBLEM, f"{has}{as_netdev}; DPDK takes it by {driver}",
                         f"modprobe {driver} && dpdk-devbind.py --bind={driver} {name}", by_apply=True)]
    if device.driver.startswith("uio") and system.iommu:
        found.append(Finding("driver-choice", name, ADVICE, "there is an IOMMU: vfio-pci would keep the NIC to its memory",
                             "--driver vfio-pci", by_apply=False))
    if device.driver not in DPDK_DRIVERS or not device.kept:
        found.append(Finding("driver-at-boot", name, ADVICE, "after a reboot the kernel's driver would have it again",
                             f"a line `pci {name} {driver}` in /etc/dpdk/interfaces", by_apply=True))
    return found


def of_netdev(netdev: Netdev, processors: int, reasons: list[str]) -> list[Finding]:
    """A NIC that the kernel keeps, for engine xdp or AF_XDP. `reasons`: what it is besides."""
    name = netdev.name
    if not netdev.present:
        return [Finding("device", name, PROBLEM, f"there is no network device {name}", "ip link")]
    found = [Finding("driver", name, OK, f"{netdev.driver or 'no hardware'}; the kernel keeps it" +
                     (f" (for DPDK name it {netdev.pci})" if netdev.pci else ""))]
    if reasons:
        found.append(Finding("reached-by", name, ADVICE, "if Linimo fails on it, this machine may be out of reach: "
                             f"{'; '.join(reasons)}", "another NIC to log in by"))
    unfit = unfit_features(netdev)
    if unfit:
        found.append(Finding("offloads", name, PROBLEM, f"{', '.join(unfit)}: joins frames before Linimo sees them, and what comes "
                             "out is too big to forward", f"ethtool -K {name} {' '.join(f'{each} off' for each in unfit)}",
                             by_apply=True))
    elif netdev.features:
        found.append(Finding("offloads", name, OK, "it joins no frames before Linimo sees them"))
    if unfit_peer_features(netdev):
        found.append(Finding("peer-offloads", name, PROBLEM, f"its other end {netdev.peer} leaves checksums or VLAN tags unfinished: "
                             "backends drop what comes out of the tunnel", f"ethtool -K {netdev.peer} tx off txvlan off",
                             by_apply=True))
    elif netdev.driver in ("virtio_net", "veth", "tun") and not netdev.peer:
        found.append(Finding("peer-offloads", name, ADVICE, "its other end is not here: it has to finish checksums and VLAN tags",
                             "there: ethtool -K DEV tx off txvlan off"))
    return found + _spread(netdev, processors)


def _spread(netdev: Netdev, processors: int) -> list[Finding]:
    name, found = netdev.name, []
    enough = min(processors, netdev.most_queues)
    if 0 < netdev.queues < enough:
        found.append(Finding("queues", name, ADVICE, f"{netdev.queues} receive queue(s), it could have {netdev.most_queues}: one "
                             "CPU works for each", f"ethtool -L {name} combined {enough}"))
    elif netdev.queues:
        found.append(Finding("queues", name, OK, f"{netdev.queues} receive queue(s) for {processors} CPU(s)"))
    if netdev.queues > 1:
        found.append(_rss(netdev))
    if crowded(netdev, processors):
        found.append(Finding("irqs", name, ADVICE, f"all of its {len(netdev.irqs)} interrupts go to CPU "
                             f"{next(iter(netdev.irqs.values()))}", "apt install irqbalance (apply spreads them until the next boot)",
                             by_apply=True))
    return found


def _rss(netdev: Netdev) -> Finding:
    """Which queue a packet comes to. Engines get by with whatever a NIC does; what suffers is the share of each CPU."""
    name, queues, used = netdev.name, netdev.queues, netdev.queues_hashed_to
    if not used and not netdev.hashed:
        return Finding("rss", name, OK, f"nothing tells by what it spreads packets over its {queues} queues: the other end may do it")
    by = "; ".join(f"{', '.join(kinds)} by {what}" for what in (BY_PORTS, BY_ADDRESSES, BY_NOTHING)
                   if (kinds := [kind for kind in FLOW_KINDS if netdev.hashed.get(kind) == what]))
    function = f" ({netdev.hash_function})" if netdev.hash_function else ""
    text = f"its hash{function} spreads packets over {used or 'an unknown number'} of {queues} queues{f': {by}' if by else ''}"
    if 0 < used < queues:
        return Finding("rss", name, ADVICE, text, f"ethtool -X {name} default")
    coarse = [kind for kind in FLOW_KINDS if netdev.hashed.get(kind, BY_PORTS) != BY_PORTS]
    if coarse:
        return Finding("rss", name, ADVICE, f"{text}. All that one client sends of {', '.join(coarse)} comes to one queue, and one CPU",
                       " && ".join(f"ethtool -N {name} rx-flow-hash {kind} sdfn" for kind in coarse))
    return Finding("rss", name, OK, text)


def lacking_at_boot(system: System, nodes: Iterable[int], wanted: Wanted) -> bool:
    return any(max((counts.get(node, 0) for counts in system.pages_at_boot.values()), default=0) < wanted.pages for node in nodes)


def unfit_features(netdev: Netdev) -> list[str]:
    """Offloads of its own that are on and should not be. GRO joins frames before generic XDP sees them, after native."""
    names = ["large-receive-offload", "rx-gro-hw"] + (["generic-receive-offload"] if netdev.generic_xdp else [])
    return [name for name in names if netdev.features.get(name)]


def unfit_peer_features(netdev: Netdev) -> list[str]:
    return [name for name in UNCHECKED if netdev.peer_features.get(name)]


def crowded(netdev: Netdev, processors: int) -> bool:
    return not netdev.irqbalance and processors > 1 and len(netdev.irqs) > 1 and len(set(netdev.irqs.values())) == 1
