"""The status page in a real browser, with a thousand services: it shows a dead backend within 2 s of the control plane's
knowing, is whole on a phone and on a screen, dark and light, and its console has no complaint.

LINIMO_SCREENSHOTS=FOLDER leaves pictures there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from browser import Browser
from case import LabCase
from lab.client import Load
from lab.topology import VIP, backend_address
from lab.wait import wait_until

LISTEN = "127.0.0.1:9310"
SERVICES = 1000
WIDTHS = (1400, 360)

MORE = f'[metrics]\nlisten = "{LISTEN}"\npage = true\n' + "".join(
    f'[[service]]\nname = "more-{i}"\nvips = ["203.0.113.{64 + i % 100}"]\nprotocol = "udp"\nports = [{5000 + i}]\npool = "web"\n'
    for i in range(SERVICES - 1))


class StatusPage(LabCase):
    alone = True  # a browser takes a core for moments, and how soon something shows is judged
    browser: Browser

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.more = MORE
        cls.lab.node.config.health.interval_ms = cls.lab.node.config.health.timeout_ms = 500

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        with cls.lab.topology.node.entered():
            cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.browser.open(f"http://{LISTEN}/")

    def wait_shown(self, script: str, what: str, timeout: float = 10.0) -> None:
        wait_until(lambda: self.browser.evaluate(script), what, timeout)

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
        browser.evaluate("globalThis.filter = document.getElementById('services-filter'); filter.value = 'More-17';"
                         "filter.dispatchEvent(new Event('input'))")
        names = "[...document.querySelectorAll('#services-rows tr')].map(row => row.cells[0].textContent)"
        self.assertEqual(["more-17", *(f"more-17{i}" for i in range(10))], browser.evaluate(names))
        browser.evaluate("filter.value = ''; filter.dispatchEvent(new Event('input'))")
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
            self.picture("dead-backend")
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
                self.assertEqual(width, browser.evaluate("document.documentElement.scrollWidth"))
                hidden = browser.evaluate("[...document.querySelectorAll('main td, main dd, main li, main h2, .tile')].filter(part => "
                                          "part.getClientRects().length && part.getBoundingClientRect().right > innerWidth + 1)"
                                          ".map(part => part.textContent).slice(0, 3)")
                self.assertEqual([], hidden, f"{width} pixels wide")
        browser.resize(WIDTHS[0])

    def test_it_needs_nothing_from_elsewhere(self) -> None:
        asked = self.browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        self.assertGreater(len(asked), 5)
        self.assertEqual([], [url for url in asked if not url.startswith(f"http://{LISTEN}/")])

    def test_zz_the_console_has_no_complaint(self) -> None:
        """After all the others."""
        self.browser.evaluate("0")
        self.assertEqual([], self.browser.complaints)

    def picture(self, name: str) -> None:
        folder = os.environ.get("LINIMO_SCREENSHOTS")
        if not folder:
            return
        with Load(self.lab.client, VIP[4], rate=200).in_background():
            time.sleep(20)  # for the plots
            for scheme in ("light", "dark"):
                self.browser.prefer(scheme)
                for width in (*WIDTHS, 1100):
                    self.browser.resize(width, 1200)
                    self.browser.screenshot(Path(folder) / f"{name}-{scheme}-{width}.png")
        self.browser.resize(WIDTHS[0])
