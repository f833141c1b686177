"""The status page in a real browser, with a thousand services: it shows a dead backend within 2 s of the control plane's
knowing, is whole on a phone and on a screen, dark and light, and its console has no complaint. Who clicks through it finds
each section; its form says why a packet goes where it goes; and of a fleet it shows who agrees.

LINIMO_SCREENSHOTS=FOLDER leaves pictures there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import ClassVar

from browser import Browser
from case import LabCase
from fleet_case import FleetCase
from lab.client import Load
from lab.fleet import told
from lab.topology import VIP, backend_address
from lab.wait import wait_until
from relay import Relay

LISTEN = "127.0.0.1:9310"
SERVICES = 1000
WIDTHS = (1400, 360)

MORE = f'[metrics]\nlisten = "{LISTEN}"\npage = true\n' + "".join(
    f'[[service]]\nname = "more-{i}"\nvips = ["203.0.113.{64 + i % 100}"]\nprotocol = "udp"\nports = [{5000 + i}]\npool = "web"\n'
    for i in range(SERVICES - 1))


class PageCase(LabCase):
    alone = True  # a browser takes a core for moments, and how soon something shows is judged
    url: ClassVar[str] = f"http://{LISTEN}/"
    browser: ClassVar[Browser]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        with cls.lab.topology.node.entered():
            cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.browser.open(cls.url)

    def wait_shown(self, script: str, what: str, timeout: float = 10.0) -> None:
        wait_until(lambda: self.browser.evaluate(script), what, timeout)

    def shown(self, selector: str) -> str:
        """The text that is to be seen there."""
        return self.browser.evaluate(f"document.querySelector({selector!r}).innerText")

    def click_through(self) -> None:
        """Each link of the page's head leads to its section, whose heading is then to be seen."""
        links = self.browser.evaluate("[...document.querySelectorAll('nav a')].filter(link => !link.hidden)"
                                      ".map(link => link.getAttribute('href'))")
        for link in links:
            self.browser.evaluate("scrollTo(0, 0)")
            self.browser.click(f'nav a[href="{link}"]')
            self.wait_shown(f"(() => {{ const box = document.querySelector('{link} h2').getBoundingClientRect();"
                            "return box.top >= 0 && box.bottom <= innerHeight; })()", f"{link} is in sight")
            self.assertEqual(link, self.browser.evaluate("location.hash"))

    def assert_fits(self, width: int) -> None:
        """Nothing hangs over the edge."""
        self.assertEqual(width, self.browser.evaluate("document.documentElement.scrollWidth"))
        hidden = self.browser.evaluate("[...document.querySelectorAll('main td, main dd, main li, main h2, .tile, main form *')]"
                                       ".filter(part => part.getClientRects().length && part.getBoundingClientRect().right > innerWidth + 1)"
                                       ".map(part => part.outerHTML).slice(0, 3)")
        self.assertEqual([], hidden, f"{width} pixels wide")

    def assert_no_complaint(self) -> None:
        self.browser.evaluate("0")
        self.assertEqual([], self.browser.complaints)

    def picture(self, name: str, seconds: float = 0) -> None:
        """`seconds` of traffic before, for the plots."""
        folder = os.environ.get("LINIMO_SCREENSHOTS")
        if not folder:
            return
        with Load(self.lab.client, VIP[4], rate=200).in_background():
            time.sleep(seconds)
            for scheme in ("light", "dark"):
                self.browser.prefer(scheme)
                for width in (*WIDTHS, 1100):
                    self.browser.resize(width, 1200)
                    self.browser.screenshot(Path(folder) / f"{name}-{scheme}-{width}.png")
        self.browser.resize(WIDTHS[0])


class StatusPage(PageCase):
    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.more = MORE
        cls.lab.node.config.health.interval_ms = cls.lab.node.config.health.timeout_ms = 500

    def state_shown(self, address: str) -> str:
        return f"document.querySelector('[data-backend=\"web/{address}\"]')?.dataset.state"

    def test_it_shows_what_is(self) -> None:
        """All services and backends; and traffic, as it flows."""
        browser = self.browser
        self.wait_shown(f"document.querySelectorAll('#services-rows tr').length === {SERVICES}", "all services are there")
        for backend in (1, 2, 3):
            self.wait_shown(f"{self.state_shown(backend_address(backend, 4))} === 'up'", "the backends are up")
        self.assertEqual("live", browser.evaluate("document.getElementById('link').textContent"))
        self.assertIn("sent to a backend", browser.evaluate("document.getElementById('outcome-rows').textContent"))
        browser.type("#services-filter", "More-17")
        names = "[...document.querySelectorAll('#services-rows tr')].map(row => row.cells[0].textContent)"
        self.assertEqual(["more-17", *(f"more-17{i}" for i in range(10))], browser.evaluate(names))
        browser.type("#services-filter", "")
        with Load(self.lab.client, VIP[4], rate=100).in_background():
            self.wait_shown("[...document.querySelectorAll('#services-rows tr')].some(row => row.cells[0].textContent === 'web'"
                            " && row.cells[4].textContent !== '0')", "the service's rate shows", 20)

    def test_a_dead_backend_shows(self) -> None:
        """Within 2 s of the control plane's knowing, and the event that tells of it."""
        address = backend_address(2, 4)
        self.wait_shown(f"{self.state_shown(address)} === 'up'", "it is up")
        # Its time from the event, which the control plane stamps, to the page, all of it by the same clock.
        self.browser.evaluate(f"""globalThis.seen = new Promise(resolve => {{
            const look = () => {self.state_shown(address)} === 'down' ? resolve(Date.now()) : setTimeout(look, 10);
            look(); }}); 0""")
        backend = self.lab.backends[2]
        backend.kill_nginx()
        try:
            seen = self.browser.evaluate("globalThis.seen")
            told = ("[...document.querySelectorAll('#event-rows li[data-kind=health]')].find(row => "
                    f"row.textContent.includes('{address}') && row.textContent.includes('to=down'))")
            self.wait_shown(f"!!{told}", "the event is there")
            known = self.browser.evaluate(f"Date.parse({told}.querySelector('time').dateTime)")
            print(f"a dead backend was on the page {seen - known:.0f} ms after the control plane knew")
            self.assertLess(seen - known, 2000)
            self.picture("dead-backend", 20)
        finally:
            backend.start_nginx()
            backend.wait_ready()
            self.lab.node.wait_settled()
        self.wait_shown(f"{self.state_shown(address)} === 'up'", "it is up again")

    def test_it_fits_phones_and_screens(self) -> None:
        """Nothing hangs over the edge, and each section has room, in both schemes."""
        browser = self.browser
        for scheme in ("dark", "light"):
            browser.prefer(scheme)
            grounds = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            self.assertEqual(scheme == "dark", int(grounds.split("(")[1].split(",")[0]) < 128, grounds)
            for width in WIDTHS:
                browser.resize(width)
                self.assert_fits(width)
        browser.resize(WIDTHS[0])

    def test_it_needs_nothing_from_elsewhere(self) -> None:
        asked = self.browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        self.assertGreater(len(asked), 5)
        self.assertEqual([], [url for url in asked if not url.startswith(f"http://{LISTEN}/")])

    def test_its_sections_by_clicks(self) -> None:
        """On a screen and on a phone; a pool unfolds and folds."""
        self.wait_shown(f"document.querySelectorAll('#services-rows tr').length === {SERVICES}", "all services are there")
        for width in WIDTHS:
            self.browser.resize(width)
            self.click_through()
            for unfolded in (False, True):
                self.browser.click('[data-pool="web"] summary')
                self.assertEqual(unfolded, self.browser.evaluate("document.querySelector('[data-pool=\"web\"] details').open"))
        self.assertIn(backend_address(1, 4), self.shown('[data-pool="web"]'))
        self.browser.resize(WIDTHS[0])

    def test_where_a_trace_is_not_on_offer(self) -> None:
        """It says so, and where it is, and asks for none; nor does it show a fleet to a node without."""
        self.wait_shown("document.getElementById('trace-not-here')?.hidden === false", "it says where to trace")
        self.assertIn("linimo trace tcp", self.shown("#trace"))
        self.assertIn("ssh -L 8080:/run/linimo/control.sock", self.shown("#trace"))
        for part in ("#trace-form", "#fleet", "#fleet-link"):
            self.assertFalse(self.browser.evaluate(f"document.querySelector('{part}').checkVisibility()"), part)

    def test_zz_the_console_has_no_complaint(self) -> None:
        """After all the others."""
        self.assert_no_complaint()


class TraceForm(PageCase):
    """The page by way of the control socket, as an operator's `ssh -L` has it."""

    @classmethod
    def configure(cls) -> None:
        address, port = LISTEN.split(":")
        relay = Relay(cls.lab.topology.node, int(port), cls.lab.node.config.runtime_dir / "control.sock")
        cls.addClassCleanup(relay.close)

    def ask(self, protocol: str, source: str, destination: str, flags: str | None = None) -> str:
        """Fills in the form, clicks, and waits for the answer that is about this packet."""
        browser = self.browser
        browser.choose("#trace-protocol", protocol)
        browser.type("#trace-from", source)
        browser.type("#trace-to", destination)
        if flags is not None:
            browser.type("#trace-flags", flags)
        browser.click("#trace-ask")
        self.wait_shown(f"document.querySelector('#trace-answer dl')?.dataset.packet.startsWith('{protocol} {source} -> {destination}')",
                        "it answers")
        return self.shown("#trace-answer")

    def test_why_a_packet_goes_where_it_goes(self) -> None:
        """Each step as `linimo trace` has it; of a packet that nobody serves and of one without a connection, the reason. On a
        screen and on a phone."""
        browser = self.browser
        self.wait_shown("document.getElementById('trace-form')?.checkVisibility()", "the form is there")
        for width in WIDTHS:
            browser.resize(width)
            source, vip = "198.51.100.7:4242", f"{VIP[4]}:80"
            said = self.ask("tcp", source, vip)
            steps = json.loads(self.lab.node.cli("trace", "tcp", source, vip, "-o", "json").stdout)["steps"]
            self.assertGreater(len(steps), 5)
            shown = browser.evaluate("[...document.querySelectorAll('#trace-answer dd')].map(part => part.textContent)")
            self.assertEqual([step["says"] for step in steps], shown)
            self.assertIn("forwarded", said)
            self.assertIn("ip neigh", said)
            self.assert_fits(width)
            self.picture(f"trace-{width}")
            browser.resize(width)
            self.assertIn("no_service", self.ask("udp", source, f"{VIP[4]}:81"))
            self.assertIn("echo_reply", self.ask("icmp", "198.51.100.7", VIP[4]))
            self.assertTrue(browser.evaluate("document.getElementById('trace-flags').disabled"))
            self.assertIn("flags A, in by", self.ask("tcp", source, vip, "a"))
            browser.type("#trace-flags", "")
            self.click_through()
        self.assert_no_complaint()

    def test_what_makes_no_sense_is_said(self) -> None:
        """In the API's words, and the next question is answered."""
        self.wait_shown("document.getElementById('trace-form')?.checkVisibility()", "the form is there")
        self.browser.choose("#trace-protocol", "tcp")
        self.browser.type("#trace-from", "198.51.100.7")
        self.browser.type("#trace-to", f"{VIP[4]}:80")
        self.browser.click("#trace-ask")
        self.wait_shown("document.querySelector('#trace-answer .wrong')?.textContent.includes('from and to are ADDRESS:PORT')", "it is said")
        self.assertEqual(1, len(self.browser.complaints), self.browser.complaints)  # a browser notes each answer that is no 200
        self.assertIn("status of 400", self.browser.complaints.pop())
        self.assertIn("forwarded", self.ask("tcp", "198.51.100.7:1", f"{VIP[4]}:80"))


class FleetPage(FleetCase, PageCase):
    """On the metrics address of one of three nodes."""

    def test_who_agrees_and_who_leads(self) -> None:
        """Three nodes agree, on a screen and on a phone; what one of them refuses, and that it waits, is said until all agree again."""
        node, other = self.nodes[0], self.nodes[1]
        self.rewrite(node, node.config_file.read_text() + f'\n[metrics]\nlisten = "{LISTEN}"\npage = true\n')
        self.browser.open(self.url)
        self.wait_shown("document.getElementById('fleet')?.checkVisibility()", "the fleet shows", 20)
        agreed = "document.getElementById('fleet-badges').textContent.includes('all agree') && !document.getElementById('fleet-wrong').textContent"
        self.wait_shown(agreed, "all agree", 20)
        pills = "[...document.querySelectorAll('#fleet-rows .pill')].map(pill => pill.textContent).join()"
        for width in WIDTHS:
            self.browser.resize(width)
            self.click_through()
            self.assertEqual("agrees,agrees,agrees", self.browser.evaluate(pills))
            text = self.shown("#fleet")
            for one in self.nodes:
                self.assertIn(one.config.name, text)
            self.assertIn(f"{told(node)['leader']} leads", text)
            self.assert_fits(width)
        self.browser.click("#fleet-link")
        self.picture("fleet")
        text = other.config_file.read_text()
        self.rewrite(other, text.replace(f', "{other.config.addresses[6]}"', ""))
        try:
            bad = self.fleet.file(self.lab.node.config.shared().replace('address = "10.0.1.3"', 'address = "2001:db8:1::3"'))
            self.refused(0, "config", "apply", bad)
            self.wait_shown("document.getElementById('fleet-badges').textContent.includes('not all agree')", "it shows")
            self.assertRegex(self.shown("#fleet-wrong"), f"revision-refused: .*node {other.config.name}")
        finally:
            self.rewrite(other, text)
            self.fleet.apply()
        self.fleet.wait_agreed()
        self.wait_shown(agreed, "all agree again", 20)
        self.assert_no_complaint()
