"""Sets up what findings ask for, and puts it back.

What was there before is on disk before anything is changed: so whatever ends an apply in the middle, undo puts right."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Callable

from .findings import DPDK_DRIVERS, SHARED_DRIVERS, Wanted, crowded, lacking_at_boot, unfit_features, unfit_peer_features
from .host import Host
from .system import DPDK_CONF, INTERFACES, Device, Netdev, System, device, features, pages_path, pci_path

STATE = "/var/lib/linimo-setup-nic/nic.json"  # in a folder of root's: what root does by it, nobody else may say
UDEV = "/etc/udev/rules.d/70-linimo-nic.rules"
_BEGIN, _END = "# Begin of what linimo-setup-nic wrote; `linimo-setup-nic undo` removes it", "# End of what linimo-setup-nic wrote"
_BOUND_WITHIN_S = 10.0


class Failed(Exception):
    """What was not done, and what to do."""


class Setup:
    """One apply or undo. `say` is told of each thing that was done."""

    def __init__(self, host: Host, say: Callable[[str], None]) -> None:
        self.host, self.say = host, say
        path = host.path(STATE)
        if path.is_symlink() or (path.exists() and path.stat().st_uid not in (0, os.geteuid())):
            raise Failed(f"{path} is not root's: somebody has put it there")
        try:
            self.before: dict[str, Any] = json.loads(host.read(STATE) or "{}")
        except ValueError:
            raise Failed(f"{host.path(STATE)} is damaged: look at it, undo by hand what it says, and remove it") from None

    def _note(self, kind: str, key: str, value: Any) -> None:
        """As it was before the first apply."""
        if key not in self.before.setdefault(kind, {}):
            self.before[kind][key] = value
            self._save()

    def _save(self) -> None:
        self.before = {kind: found for kind, found in self.before.items() if found}
        self.host.replace(STATE, json.dumps(self.before, indent=1) + "\n" if self.before else None)

    def _boot(self) -> str:
        return self.host.read("/proc/sys/kernel/random/boot_id")

    # Hugepages

    def reserve(self, system: System, nodes: set[int], wanted: Wanted) -> None:
        """On each of these NUMA nodes."""
        counts = {node: max(there, wanted.pages) if node in nodes else 0 for node, there in system.pages.items()}
        for node, pages in counts.items():
            if system.pages[node] >= pages:
                continue
            self._note("pages", str(node), system.pages[node])
            self.host.write(pages_path(node), str(pages))
            got = self.host.number(pages_path(node))
            self.say(f"hugepages: {got} of 2 MB" + (f" on NUMA node {node}" if len(counts) > 1 else ""))
            if got < pages:
                self.say(f"hugepages: {pages} were asked for, but memory is too fragmented; after a reboot there will be enough, "
                         f"surely with hugepages={pages} on the kernel's command line")
        if lacking_at_boot(system, nodes, wanted):
            at_boot = system.pages_at_boot.get(DPDK_CONF, {})
            counts = {node: count or at_boot.get(node, 0) for node, count in counts.items()}  # 0 leaves a node as it is
            self._add_line(DPDK_CONF, f'NR_2M_PAGES="{" ".join(map(str, counts.values()))}"', "NR_2M_PAGES=")

    # Binding

    def bind(self, nic: Device, wanted: Wanted) -> None:
        driver = wanted.driver or (nic.driver if nic.driver in DPDK_DRIVERS else "vfio-pci")
        if nic.driver in SHARED_DRIVERS:
            return
        if nic.driver != driver:
            _refuse_in_use(nic)
            self._load(driver)
            self._note("drivers", nic.address, nic.driver)
            try:
                self._give(nic.address, driver)
            except Failed:
                with contextlib.suppress(Failed):
                    self._give(nic.address, nic.driver)
                raise
            self.say(f"{nic.address}: bound to {driver}" + (f", before to {nic.driver}" if nic.driver else ""))
        if not device(self.host, nic.address).kept:
            self._add_line(INTERFACES, f"pci\t{nic.address}\t{driver}", f"pci\t{nic.address}\t")

    def _load(self, driver: str) -> None:
        if not self.host.exists(f"/sys/bus/pci/drivers/{driver}"):
            self.host.run("modprobe", driver)
        if not self.host.exists(f"/sys/bus/pci/drivers/{driver}"):
            raise Failed(f"there is no driver {driver}: modprobe {driver} says why")

    def _give(self, address: str, driver: str) -> None:
        """"": to none."""
        path = pci_path(address)
        now = self.host.link(f"{path}/driver")
        if now == driver:
            return
        ours = driver in DPDK_DRIVERS
        try:
            # A newline alone takes an override away.
            self.host.write(f"{path}/driver_override", f"{driver if ours else ''}\n")
            if now:
                self.host.write(f"{path}/driver/unbind", address)
            if driver:
                self.host.write("/sys/bus/pci/drivers_probe", address)
        except OSError as error:
            raise Failed(f"{address} cannot be given to {driver or 'no driver'}: {error}; dmesg says why") from None
        self._await_driver(address, driver)

    def _await_driver(self, address: str, driver: str) -> None:
        deadline = time.monotonic() + _BOUND_WITHIN_S
        while (now := self.host.link(f"{pci_path(address)}/driver")) != driver:
            if time.monotonic() > deadline:
                raise Failed(f"{address} is bound to {now or 'no driver'} instead of {driver}: dmesg says why")
            time.sleep(0.05)

    # What the kernel keeps

    def tune(self, netdev: Netdev, processors: int) -> None:
        self._turn_off(netdev.name, unfit_features(netdev), at_boot=netdev.address if netdev.pci else "")
        self._turn_off(netdev.peer, unfit_peer_features(netdev))
        if crowded(netdev, processors):
            for number, (irq, cpus) in enumerate(sorted(netdev.irqs.items())):
                known = str(irq) in self.before.get("irqs", {})
                try:
                    self._note("irqs", str(irq), [self.host.read(f"/proc/irq/{irq}/smp_affinity_list"), self._boot()])
                    self.host.write(f"/proc/irq/{irq}/smp_affinity_list", str(number % processors))
                except OSError:  # some belong to their driver, which refuses: also to put them back
                    if not known and self.before.get("irqs", {}).pop(str(irq), None) is not None:
                        self._save()
            self.say(f"{netdev.name}: interrupts spread over {processors} CPUs, until the next boot")

    def _turn_off(self, name: str, unfit: list[str], at_boot: str = "") -> None:
        """`at_boot`: the MAC address of a device that will be there then."""
        if not unfit:
            return
        self._note("features", name, [each for each, on in features(self.host, name).items() if on])
        if self.host.run("ethtool", "-K", name, *(word for each in unfit for word in (each, "off"))) is None:
            raise Failed(f"ethtool -K {name} {' off '.join(unfit)} off fails")
        self.say(f"{name}: {', '.join(unfit)} off")
        if at_boot:
            turn = " ".join(f"{each} off" for each in unfit)
            line = f'ACTION=="add", SUBSYSTEM=="net", ATTR{{address}}=="{at_boot}", RUN+="/usr/sbin/ethtool -K $name {turn}"'
            self._add_line(UDEV, line, line)

    # Files

    def _add_line(self, name: str, line: str, instead_of: str) -> None:
        """To those of ours at its end; `instead_of`: how such lines begin that it supersedes."""
        text = self.host.text(name)
        self._note("files", name, text)
        rest, ours = _parted(text or "")
        self.host.replace(name, _joined(rest, [*(each for each in ours if not each.startswith(instead_of)), line]))
        self.say(f"{self.host.path(name)}: {' '.join(line.split())}")

    def _put_back_file(self, name: str, before: str | None) -> None:
        """What others have changed meanwhile stays."""
        rest, _ = _parted(self.host.text(name) or "")
        if rest.strip() == (before or "").strip():
            self.host.replace(name, before)
        else:
            self.host.replace(name, rest)
        self.say(f"{self.host.path(name)}: as it was")

    # Back

    def undo(self) -> bool:
        """False: some of it could not be put back, and is kept for another try."""
        for address in self.before.get("drivers", {}):
            _refuse_in_use(device(self.host, address))
        whole = True
        for kind, put_back in (("drivers", self._put_back_driver), ("features", self._put_back_features),
                               ("irqs", self._put_back_irq), ("files", self._put_back_file), ("pages", self._put_back_pages)):
            for key in list(self.before.get(kind, {})):
                try:
                    put_back(key, self.before[kind][key])
                except (Failed, OSError) as error:
                    self.say(f"not put back: {error}")
                    whole = False
                    continue
                del self.before[kind][key]
                self._save()
        return whole

    def _put_back_driver(self, address: str, driver: str) -> None:
        nic = device(self.host, address)
        if not nic.present:
            self.say(f"{address}: it is no longer there")
            return
        self._give(address, driver)
        netdevs = device(self.host, address).netdevs
        self.say(f"{address}: back with {driver or 'no driver'}" + (f", as {', '.join(netdevs)}" if netdevs else ""))

    def _put_back_features(self, name: str, on: list[str]) -> None:
        now = features(self.host, name)
        off = [each for each in on if now.get(each) is False]
        if off and self.host.run("ethtool", "-K", name, *(word for each in off for word in (each, "on"))) is None:
            raise Failed(f"ethtool -K {name} {' on '.join(off)} on fails")
        self.say(f"{name}: {', '.join(off) or 'nothing'} on again")

    def _put_back_irq(self, irq: str, noted: list[str]) -> None:
        cpus, boot = noted
        if boot != self._boot():
            return  # it is as the kernel made it, and may be another device's
        with contextlib.suppress(FileNotFoundError):
            self.host.write(f"/proc/irq/{irq}/smp_affinity_list", cpus)

    def _put_back_pages(self, node: str, pages: int) -> None:
        self.host.write(pages_path(int(node)), str(pages))
        self.say(f"hugepages: {self.host.number(pages_path(int(node)))} of 2 MB, as before")


def _refuse_in_use(nic: Device) -> None:
    """The kernel would wait until its users have ended."""
    if nic.users:
        raise Failed(f"{nic.address} is in use by {', '.join(nic.users)}: stop that first (systemctl stop linimo-dataplane)")


def _parted(text: str) -> tuple[str, list[str]]:
    """What others wrote, and our lines."""
    before, begin, more = text.partition(_BEGIN + "\n")
    if not begin:
        return text, []
    ours, _, after = more.partition(_END + "\n")
    return before + after, ours.splitlines()


def _joined(rest: str, ours: list[str]) -> str:
    gap = "" if not rest or rest.endswith("\n") else "\n"
    return f"{rest}{gap}{_BEGIN}\n" + "".join(f"{line}\n" for line in ours) + f"{_END}\n"
