"""What a dry run says of connections that would break is what then happens to real ones, change by change."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack

from case import LabCase
from lab.standing import PORT, EchoServer, Standing
from lab.topology import VIP, VIP2
from lab.wait import wait_until

COUNT = 400  # connections of each service
FACTOR = 1.5
VIPS = {"kept": VIP[4], "bare": VIP2[4]}
BARE = f'''
[[service]]
name = "bare"
vips = ["{VIPS["bare"]}"]
protocol = "tcp"
ports = [{PORT}]
pool = "web"
tracking = "off"
'''
KEPT = BARE.replace('"bare"', '"kept"').replace(VIPS["bare"], VIPS["kept"]).replace('"off"', '"full"')
MORE = BARE.replace('"bare"', '"more"').replace(str(PORT), "7001")

# Each is made of the configuration before it, which is the usual one again where nothing follows.
CHANGES = {
    # First: a dry run does not know of flows that tracking alone keeps where the table no longer has them.
    "nothing is tracked": lambda text: text.replace('tracking = "full"', 'tracking = "off"'),
    "a service is added": lambda text: text + MORE,
    "a backend drains": lambda text: text.replace("weight = 100 }", "weight = 100, drain = true }", 1),
    "a backend has no weight": lambda text: text.replace("weight = 100 }", "weight = 0 }", 1),
    "a weight is less": lambda text: text.replace("weight = 100 }", "weight = 20 }", 1),
    "a backend is removed": lambda text: re.sub(r".*10\.0\.1\.2\b.*\n", "", text),
    "it is added again": lambda text: text.replace("backends = [\n", "backends = [\n  { address = \"10.0.1.2\" },\n"),
    "two backends are removed": lambda text: re.sub(r".*10\.0\.1\.[12]\b.*\n", "", text),
    "the table has another size": lambda text: text.replace('name = "web"\n', 'name = "web"\ntable_size = 131071\n', 1),
    "a service hashes the source alone": lambda text: text.replace('tracking = "off"', 'tracking = "off"\nscheduler = "source-hash"'),
    "all is tracked": lambda text: text.replace('tracking = "off"', 'tracking = "full"'),
    "a service is removed": lambda text: text.replace(BARE, ""),
}


class DryRun(LabCase):
    engine = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.more = KEPT + BARE

    def test_what_is_foretold_happens(self) -> None:
        """For each kind of change, of each service's connections as many break as was said, within a factor of 1.5;
        where none is to break, none does."""
        usual = self.lab.node.config.render()
        with ExitStack() as stack:
            for backend in self.lab.backends.values():
                stack.enter_context(EchoServer(backend.box))
            text = usual
            for what, change in CHANGES.items():
                if "again" not in what and text != usual:
                    text = usual
                    self.take(text)
                with self.subTest(change=what):
                    after = change(text)
                    self.assertNotEqual(text, after, "that is no change")
                    text = after
                    self.try_change(what, text)
            self.take(usual)

    def try_change(self, what: str, text: str) -> None:
        node, file = self.lab.node, self.lab.node.folder / "wanted.toml"
        with ExitStack() as stack:
            standing = {name: stack.enter_context(Standing(self.lab.client, vip, COUNT)) for name, vip in VIPS.items()}
            self.assertEqual([COUNT] * len(standing), [one.opened() for one in standing.values()])
            file.write_text(text)
            told = json.loads(node.cli("reload", "--dry-run", str(file), "-o", "json").stdout)
            foretold = {service["name"]: service["share_breaking"] for service in told["services"]}
            self.take(text)
            broken = {name: one.broken() / COUNT for name, one in standing.items()}
        print(f"    {what}: " + ", ".join(f"{name} {foretold[name]:.3f} foretold, {broken[name]:.3f} broken" for name in VIPS))
        for name in VIPS:
            least, most = foretold[name] / FACTOR, foretold[name] * FACTOR
            self.assertTrue(least <= broken[name] <= most, f"{name}: {foretold[name]:.3f} foretold, {broken[name]:.3f} broken")

    def take(self, text: str) -> None:
        """The configuration, and nothing else, is in force; whoever was added is up."""
        node = self.lab.node
        node.write_config(text)
        node.cli("reload")
        wanted = text.count('address = "10.0.1.')
        wait_until(lambda: len(node.backend_list()) == wanted and node.up_to_date() and
                  not {"unknown", "down"} & {one["state"] for one in node.backend_list()}, "the change is in force")


class DryRunXdp(DryRun):
    engine = "xdp"


