"""What there is: memory, IOMMU, PCI devices, the kernel's network devices. Reads, and judges nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from .host import Host

# Of Debian's package dpdk.
INTERFACES, DPDK_CONF, DPDK_INIT = "/etc/dpdk/interfaces", "/etc/dpdk/dpdk.conf", "/lib/dpdk/dpdk-init"
_PCI = re.compile(r"(?:([0-9a-fA-F]{4}):)?([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])")
_ETHERNET = "0x0200"
# Kinds of packets as ethtool has them, and what of one a NIC may hash.
FLOW_KINDS = ("tcp4", "tcp6", "udp4", "udp6")
BY_PORTS, BY_ADDRESSES, BY_NOTHING = "addresses and ports", "addresses alone", "nothing"
_ACCESS_PLATFORM = 33  # virtio's feature bit: the device goes through the IOMMU


def pci_address(text: str) -> str | None:
    """"00:03.0" is 0000:00:03.0; None: it is no PCI address."""
    found = _PCI.fullmatch(text)
    return f"{found[1] or '0000'}:{found[2]}".lower() if found else None


def pci_path(address: str) -> str:
    return f"/sys/bus/pci/devices/{address}"


def pages_path(node: int) -> str:
    return f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages"


@dataclass(frozen=True)
class System:
    pages: dict[int, int]  # hugepages of 2 MB, of each NUMA node
    pages_at_boot: dict[str, dict[int, int]]  # what reserves some then, and how many on which node
    hugetlbfs: bool  # it is mounted
    iommu: bool
    iommu_advice: str  # how to turn it on
    no_iommu: bool  # vfio works without one
    dpdk_service: bool  # what binds devices at boot is installed


@dataclass(frozen=True)
class Device:
    """A PCI device."""
    address: str
    present: bool
    is_nic: bool = True
    driver: str = ""
    node: int = 0
    netdevs: tuple[str, ...] = ()
    group_mates: tuple[str, ...] = ()  # in its IOMMU group, with a driver of the kernel's
    behind_iommu: bool | None = None  # virtio says so of itself; None: no virtio, or not known
    users: tuple[str, ...] = ()  # processes that have it, through vfio or uio
    kept: bool = False  # bound at boot to what it is bound to now


@dataclass(frozen=True)
class Netdev:
    name: str
    present: bool
    driver: str = ""
    address: str = ""  # MAC
    pci: str = ""
    features: dict[str, bool] = field(default_factory=dict)  # those that may be changed
    generic_xdp: bool = False
    peer: str = ""  # the other end of a veth, if it is here
    peer_features: dict[str, bool] = field(default_factory=dict)
    queues: int = 0  # 0: not known
    most_queues: int = 0
    queues_hashed_to: int = 0  # 0: not known
    hash_function: str = ""  # by which it spreads packets over them; "": not known
    hashed: dict[str, str] = field(default_factory=dict)  # by what of each kind of packets: BY_..., of kinds it tells about
    irqs: dict[int, str] = field(default_factory=dict)  # where each goes: a list of CPUs
    irqbalance: bool = False


def system(host: Host) -> System:
    nodes = [int(name[4:]) for name in host.names("/sys/devices/system/node") if re.fullmatch(r"node\d+", name)]
    mounts = [line.split() for line in host.read("/proc/mounts").splitlines()]
    return System(
        pages={node: host.number(pages_path(node)) for node in sorted(nodes) if host.exists(pages_path(node))},
        pages_at_boot=_pages_at_boot(host, sorted(nodes)),
        hugetlbfs=any(len(mount) > 2 and mount[2] == "hugetlbfs" for mount in mounts),
        iommu=bool(host.names("/sys/class/iommu")),
        iommu_advice=_iommu_advice(host),
        no_iommu=host.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y",
        dpdk_service=host.exists(DPDK_INIT))


def _pages_at_boot(host: Host, nodes: list[int]) -> dict[str, dict[int, int]]:
    settings = {"the kernel's command line": re.findall(r"\bhugepages=([0-9]+)", host.read("/proc/cmdline"))}
    for folder in ("/etc/sysctl.d", "/usr/lib/sysctl.d"):
        for name in host.names(folder):
            settings[f"{folder}/{name}"] = re.findall(r"(?m)^\s*-?vm[./]nr_hugepages\s*=\s*([0-9]+)", host.read(f"{folder}/{name}"))
    settings["/etc/sysctl.conf"] = re.findall(r"(?m)^\s*vm[./]nr_hugepages\s*=\s*([0-9]+)", host.read("/etc/sysctl.conf"))
    if host.exists(DPDK_INIT):
        settings[DPDK_CONF] = re.findall(r"(?m)^\s*NR_2M_PAGES=[\"']?([0-9 ]+)", host.read(DPDK_CONF))
    counts = {name: [int(count) for count in found[-1].split()] for name, found in settings.items() if found}
    # One number is spread evenly.
    return {name: dict(zip(nodes, found if len(found) > 1 else [found[0] // max(len(nodes), 1)] * len(nodes)))
            for name, found in counts.items() if any(found)}


def _iommu_advice(host: Host) -> str:
    line, cpu = host.read("/proc/cmdline"), host.read("/proc/cpuinfo")
    if "hypervisor" in cpu:
        return "this is a virtual machine: its host has to give it an IOMMU, then intel_iommu=on iommu=pt on the kernel's command line"
    if "AuthenticAMD" in cpu:
        return "turn the IOMMU (AMD-Vi) on in the firmware's setup"
    if "intel_iommu=on" in line:
        return "turn VT-d on in the firmware's setup"
    return "add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run update-grub, reboot"


def device(host: Host, address: str) -> Device:
    path = pci_path(address)
    if not host.exists(path):
        return Device(address, present=False)
    virtio = [name for name in host.names(path) if re.fullmatch(r"virtio\d+", name)]
    features = host.read(f"{path}/{virtio[0]}/features") if virtio else ""
    driver = host.link(f"{path}/driver")
    mates = [other for other in host.names(f"{path}/iommu_group/devices") if other != address]
    drivers = {other: host.link(f"{pci_path(other)}/driver") for other in mates}
    return Device(
        address, present=True,
        is_nic=host.read(f"{path}/class").startswith(_ETHERNET),
        driver=driver,
        node=max(host.number(f"{path}/numa_node"), 0),  # -1: there is but one
        netdevs=tuple(host.names(f"{path}/net") + [name for each in virtio for name in host.names(f"{path}/{each}/net")]),
        # Ports and bridges on the way may keep their driver.
        group_mates=tuple(f"{other} ({name})" for other, name in drivers.items()
                          if name and name not in ("vfio-pci", "pcieport", "pci-stub")),
        behind_iommu=features[_ACCESS_PLATFORM] == "1" if len(features) > _ACCESS_PLATFORM else None,
        users=_users(host, path, driver),
        kept=any(line.split() == ["pci", address, driver] for line in host.read(INTERFACES).splitlines()))


def _users(host: Host, path: str, driver: str) -> tuple[str, ...]:
    if driver == "vfio-pci":
        node = f"/dev/vfio/{host.link(f'{path}/iommu_group')}"
    elif uio := host.names(f"{path}/uio"):
        node = f"/dev/{uio[0]}"
    else:
        return ()
    found = []
    for process in filter(str.isdigit, host.names("/proc")):
        for descriptor in host.names(f"/proc/{process}/fd"):
            try:
                if os.readlink(host.path(f"/proc/{process}/fd/{descriptor}")) == node:
                    found.append(f"{host.read(f'/proc/{process}/comm')} ({process})")
                    break
            except OSError:
                continue
    return tuple(found)


def netdev(host: Host, name: str) -> Netdev:
    path = f"/sys/class/net/{name}"
    if not host.exists(path):
        return Netdev(name, present=False)
    queues, most = _queues(host, name)
    peer = _veth_peer(host, name)
    spread = host.run("ethtool", "-x", name) or ""
    real = host.path(f"{path}/device").resolve()
    address = real.parent.name if real.name.startswith("virtio") else real.name
    return Netdev(
        name, present=True,
        driver=host.link(f"{path}/device/driver"),
        address=host.read(f"{path}/address"),
        pci=pci_address(address) or "",
        features=features(host, name),
        generic_xdp=any(link.get("xdp", {}).get("mode") == 2 for link in host.ask("ip", "-j", "link", "show", "dev", name)),
        peer=peer,
        peer_features=features(host, peer) if peer else {},
        queues=queues, most_queues=most,
        queues_hashed_to=_hashed_to(spread),
        hash_function=", ".join(re.findall(r"(?m)^\s+([\w-]+): on$", spread)),
        hashed=_hashed(host, name),
        irqs=_irqs(host, name, real.parent.name if real.name.startswith("virtio") else ""),
        irqbalance=any(host.read(f"/proc/{process}/comm") == "irqbalance" for process in filter(str.isdigit, host.names("/proc"))))


def features(host: Host, name: str) -> dict[str, bool]:
    """Offloads that can be changed."""
    return {feature: state["active"] for told in host.ask("ethtool", "--json", "-k", name) for feature, state in told.items()
            if isinstance(state, dict) and not state.get("fixed") and isinstance(state.get("active"), bool)}


def _queues(host: Host, name: str) -> tuple[int, int]:
    """Those in use, and how many there may be."""
    told = re.findall(r"(?m)^(?:Combined|RX):\s+(\d+)$", host.run("ethtool", "-l", name) or "")
    if len(told) == 2:  # one kind, of which the most come first
        return int(told[1]), int(told[0])
    if len(told) == 4:  # RX and Combined
        return int(told[2]) + int(told[3]), int(told[0]) + int(told[1])
    return len([queue for queue in host.names(f"/sys/class/net/{name}/queues") if queue.startswith("rx-")]), 0


def _hashed_to(spread: str) -> int:
    rows = re.findall(r"(?m)^\s*\d+:((?:\s+\d+)+)\s*$", spread)
    return len({queue for row in rows for queue in row.split()})


def _hashed(host: Host, name: str) -> dict[str, str]:
    found = {}
    for kind in FLOW_KINDS:
        told = host.run("ethtool", "-n", name, "rx-flow-hash", kind) or ""
        if "IP SA" in told or "IP DA" in told:
            found[kind] = BY_PORTS if "L4 bytes" in told else BY_ADDRESSES
        elif "None" in told.split():
            found[kind] = BY_NOTHING
    return found


def _irqs(host: Host, name: str, parent: str) -> dict[int, str]:
    folder = f"{pci_path(parent)}/msi_irqs" if parent else f"/sys/class/net/{name}/device/msi_irqs"
    return {int(irq): host.read(f"/proc/irq/{irq}/effective_affinity_list") or host.read(f"/proc/irq/{irq}/smp_affinity_list")
            for irq in host.names(folder) if irq.isdigit() and host.exists(f"/proc/irq/{irq}/smp_affinity_list")}


def _veth_peer(host: Host, name: str) -> str:
    own, other = host.number(f"/sys/class/net/{name}/ifindex"), host.number(f"/sys/class/net/{name}/iflink")
    if not other or own == other or host.exists(f"/sys/class/net/{name}/device"):
        return ""
    for candidate in host.names("/sys/class/net"):
        path = f"/sys/class/net/{candidate}"
        # The number may be that of another namespace: a peer names us in turn.
        if host.number(f"{path}/ifindex") == other and host.number(f"{path}/iflink") == own:
            return candidate
    return ""
