"""What runs in which guest. To add a test: a class in a module named here. To add a guest: an entry in GUESTS."""

from __future__ import annotations

from dataclasses import dataclass

from guest import Machine, Wire


@dataclass(frozen=True)
class Program:
    """A GoogleTest program."""
    path: str  # below the build folder
    arguments: str = ""


@dataclass(frozen=True)
class Module:
    """Classes of unittest, in a module beside this one."""
    name: str


@dataclass(frozen=True)
class Guest:
    machine: Machine
    modules: tuple[str, ...]  # of the kernel
    boots: tuple[tuple[Program | Module, ...], ...]  # what each runs; /var/lib/linimo outlives them


_NETWORK = ("virtio_net", "veth", "tun", "8021q")
_DRIVERS = ("e1000e", "e1000", "vmxnet3")
_FOUR_QUEUES = Wire("virtio-net-pci", queues=4)

# The longest first: two run side by side.
GUESTS = {
    "nics": Guest(
        Machine(wires=(Wire("e1000e"), Wire("e1000"), Wire("vmxnet3"),
                       Wire("virtio-net-pci,iommu_platform=on,disable-legacy=on,rss=on", queues=2), Wire("virtio-net-pci")),
                processors=2, iommu=True, hugepages=256, memory_mb=2048),
        (*_NETWORK, *_DRIVERS, "vfio-pci", "vfio_iommu_type1", "pktgen"),
        ((Module("test_nics"), Module("test_setup_nic")),)),
    "netdevs": Guest(
        Machine(wires=(_FOUR_QUEUES, Wire("e1000e")), processors=2, hugepages=256, memory_mb=2048),
        (*_NETWORK, *_DRIVERS, "uio_pci_generic"),
        ((Module("test_netdevs"),),)),
    "bonds": Guest(
        Machine(wires=(_FOUR_QUEUES, Wire("e1000e")), processors=2, hugepages=256, memory_mb=2048),
        (*_NETWORK, *_DRIVERS, "bonding"),
        ((Module("test_bonds"),),)),
    "packets": Guest(
        Machine(),
        ("veth",),
        ((Program("tests/packets/packet-tests", "--gtest_filter=Xdp/*:XdpCaptured/*/tcp_v?_ipip4:*Adaptive*/Xdpv4-*InTheOtherEngine*"),),)),
    "reboot": Guest(
        Machine(wires=(Wire(),), processors=1),
        _NETWORK,
        ((Module("test_before_reboot"),), (Module("test_after_reboot"),))),
    "backend": Guest(
        Machine(wires=(_FOUR_QUEUES,), processors=2),
        (*_NETWORK, "ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6", "crc32c_generic", "nf_tables", "nft_reject_inet"),
        ((Program("tests/vm/backend-tests"), Module("test_kernel_backends")),)),
}
