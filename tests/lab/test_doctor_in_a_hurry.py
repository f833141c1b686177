"""How long `linimo doctor` takes where most of what it looks at is silent."""

from __future__ import annotations

import time

from case import LabCase
from doctor import SHORT, DoctorCase
from lab.topology import backend_address
from lab.wait import wait_until

BOUND_S = 10.0


class DoctorInAHurry(DoctorCase):
    alone = True  # times are judged

    def test_a_hundred_backends_of_which_half_are_dead(self) -> None:
        """Each that is dead is named, in no longer than a few backends take, also where a peer's command hangs. Of more VIPs than
        are asked for on the LAN it is said how many are left out."""
        config, box = self.lab.node.config, self.backend(1).box
        before = dict(config.backends), config.more
        alive, dead = range(101, 151), range(151, 201)

        def mend() -> None:
            config.backends, config.more = before
            box.run(["sh", "-ec", "".join(f"ip addr del {backend_address(n, 4)}/24 dev eth0;" for n in alive)])
            self.lab.node.reload()

        with self.broken(mend):
            box.run(["sh", "-ec", "".join(f"ip addr add {backend_address(n, 4)}/24 dev eth0;" for n in alive)])
            config.backends = {number: 100 for number in (*alive, *dead)}
            config.more = "".join(f'[[service]]\nname = "more-{i}"\nvips = ["203.0.113.{64 + i}"]\nprotocol = "udp"\nports = [53]\n'
                                  'pool = "web"\n' for i in range(99))
            self.lab.node.write_config()
            self.lab.node.signal_reload()
            states = {backend_address(n, 4): "up" if n in alive else "down" for n in (*alive, *dead)}
            wait_until(lambda: self.lab.node.backend_states() == states, "half of them are down", 60)
            begun = time.monotonic()
            found = self.findings("--peer", "sleep 60")
            self.assertLess(time.monotonic() - begun, BOUND_S)
            named = {one["subject"].removeprefix("web/") for one in found if one["cause"] in ("backend-down", "tunnel-accepted")}
            self.assertEqual({backend_address(n, 4) for n in dead}, named)  # of some the router says that they are not there
            self.assertIn("peer-silent", {one["cause"] for one in found})
            self.assertIn("not asked of 37 VIPs", self.lab.node.cli("doctor", *SHORT, check=False).stderr)  # 101 less 64


class DoctorInAHurryDpdk(DoctorInAHurry, LabCase):
    engine = "dpdk"


class DoctorInAHurryXdp(DoctorInAHurry, LabCase):
    engine = "xdp"


del DoctorInAHurry  # it is no test of its own
