"""The API over TLS: who has no certificate of ours gets nothing, who has one reads, and operators change. The same on the
control socket, where users of the machine read, and root and the group of operators change."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from typing import Any

from case import LabCase
from lab.certificate import make_aged_certificate, make_certificate
from lab.topology import VIP, backend_address
from lab.wait import wait_until

LISTEN = ("127.0.0.1", 9320)
DRAIN = json.dumps({"pool": "web", "backend": backend_address(1, 4)})


class LocalApi(LabCase):
    def test_a_user_of_the_machine_reads_and_changes_nothing(self) -> None:
        """Status, lists and metrics are there for everybody; a change fails with who may, and nothing is changed. Clients'
        addresses are no stranger's matter."""
        node = self.lab.node
        self.assertIn('"lb1"', self.as_nobody("status", "-o", "json").stdout)
        self.assertEqual(node.cli("backend", "list").stdout, self.as_nobody("backend", "list").stdout)
        for words in (("backend", "drain", f"web/{backend_address(1, 4)}"), ("node", "drain"), ("reload",), ("flow", "list"),
                      ("flow", "clear", "--all"), ("trace", "tcp", "192.0.2.2:4242", f"{VIP[4]}:80"), ("trace", "--live", "tcp", "--count", "1")):
            with self.subTest(words=words):
                refused = self.as_nobody(*words, check=False)
                self.assertEqual(1, refused.returncode, refused.stderr)
                self.assertIn("may only read here: try again as root", refused.stderr)
        self.assertEqual(node.config.healthy_states(), node.backend_states())

    def as_nobody(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        node = self.lab.node
        return node.box.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", str(node.cli_program),
                             "--socket", str(node.config.runtime_dir / "control.sock"), *words], check)


class RemoteApi(LabCase):
    @classmethod
    def configure(cls) -> None:
        node = cls.lab.node
        cls.certs = node.folder / "certs"
        cls.certs.mkdir()
        for authority in ("ours", "theirs"):
            make_certificate(cls.certs, authority, authority, "keyUsage=critical,keyCertSign")
        for client, authority in (("alice", "ours"), ("bob", "ours"), ("mallory", "theirs")):
            make_certificate(cls.certs, client, client, "extendedKeyUsage=clientAuth", authority)
        cls.make_server_certificate()
        node.config.more = f"""
[api]
listen = "{LISTEN[0]}:{LISTEN[1]}"
cert_file = "{cls.certs}/server.pem"
key_file = "{cls.certs}/server.key"
client_ca_file = "{cls.certs}/ours.pem"
operators = ["alice"]
"""

    def test_without_a_certificate_of_ours_nothing_is_answered(self) -> None:
        """Neither plain HTTP, nor TLS without a certificate, nor with another authority's, nor by an old version."""
        old = self.context("alice")
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertEqual(200, self.ask("GET", "/v1/status", self.context("bob"))[0])
        for name, context, why in (("nobody", self.context(None), "CERTIFICATE_REQUIRED"), ("mallory", self.context("mallory"), "UNKNOWN_CA"),
                                   ("old", old, "PROTOCOL_VERSION")):
            with self.subTest(client=name):
                with self.assertRaises((ssl.SSLError, ConnectionError)) as raised:
                    self.ask("GET", "/v1/status", context)
                if isinstance(raised.exception, ssl.SSLError):  # else the connection went before the alert was read
                    self.assertIn(why, str(raised.exception).upper())
        with self.lab.topology.node.entered(), socket.create_connection(LISTEN, timeout=5) as plain:
            plain.sendall(b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            try:
                while piece := plain.recv(4096):
                    answer += piece
            except ConnectionError:
                pass
        self.assertNotIn(b"HTTP/", answer)

    def test_who_has_a_certificate_reads_and_changes_nothing(self) -> None:
        """What a reader may not is refused with the reason; the state stays what it was."""
        told = self.lab.topology.node.run(["curl", "-sS", "--cert", f"{self.certs}/bob.pem", "--key", f"{self.certs}/bob.key",
                                           "--cacert", f"{self.certs}/ours.pem", f"https://{LISTEN[0]}:{LISTEN[1]}/v1/pools"])
        self.assertIn("web", told.stdout)
        status, body = self.ask("GET", "/v1/status", self.context("bob"))
        self.assertEqual((200, "lb1"), (status, body["node"]["name"] if isinstance(body["node"], dict) else body["node"]))
        for method, path, text in (("POST", "/v1/drain", DRAIN), ("POST", "/v1/reload", None), ("POST", "/v1/node/drain", None),
                                   ("GET", "/v1/flows", None), ("POST", "/v1/flows/clear?all=1", None)):
            with self.subTest(path=path):
                status, body = self.ask(method, path, self.context("bob"), text)
                self.assertEqual(403, status)
                self.assertIn("bob may only read", body["error"])
        self.assertEqual(self.lab.node.config.healthy_states(), self.lab.node.backend_states())

    def test_operators_change_and_the_log_names_them(self) -> None:
        for path, state in (("/v1/drain", "draining"), ("/v1/undrain", "up")):
            status, body = self.ask("POST", path, self.context("alice"), DRAIN)
            self.assertEqual(200, status, body)
            wait_until(lambda wanted=state: self.lab.node.backend_states()[backend_address(1, 4)] == wanted, f"{path} is done")
        self.assertIn('by="API, certificate alice"', self.lab.node.logs(100))

    def test_a_stream_ends_with_its_reader(self) -> None:
        """Events come as they happen; more readers than there may be at a time can come one after another."""
        for _ in range(24):
            with self.lab.topology.node.entered():
                connection = http.client.HTTPSConnection(*LISTEN, timeout=5, context=self.context("bob"))
                connection.request("GET", "/v1/events?past=5")
                response = connection.getresponse()
                self.assertEqual(200, response.status)
                self.assertTrue(response.readline())
                response.close()

    def test_a_refusal_reaches_who_is_still_sending(self) -> None:
        """The answer is read though half a megabyte of body follows that nobody wants."""
        with self.lab.topology.node.entered():
            connection = http.client.HTTPSConnection(*LISTEN, timeout=5, context=self.context("alice"))
            connection.putrequest("POST", "/v1/reload")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for _ in range(32):
                connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            self.assertEqual(411, connection.getresponse().status)
            connection.close()

    def test_rights_that_are_withdrawn_end_what_is_open(self) -> None:
        """Who is no operator any more loses the connection that was open, and may only read."""
        node = self.lab.node
        text = node.config.render()
        with self.lab.topology.node.entered():
            connection = http.client.HTTPSConnection(*LISTEN, timeout=5, context=self.context("alice"))
            connection.request("GET", "/v1/events?past=5")
            response = connection.getresponse()
            self.assertTrue(response.readline())
            node.write_config(text.replace('operators = ["alice"]', "operators = []"))
            node.cli("reload")
            with self.assertRaises((ConnectionError, ssl.SSLError, http.client.HTTPException, StopIteration)):
                while response.readline():
                    pass
                raise StopIteration
        wait_until(lambda: self.ask("POST", "/v1/reload", self.context("alice"))[0] == 403, "alice may only read")
        node.write_config(text)
        node.cli("reload")
        wait_until(lambda: self.ask("POST", "/v1/reload", self.context("alice"))[0] == 200, "alice may change again")
        self.assertRegex(node.logs(100), r'msg="configuration loaded".*changes="?api')

    def test_certificates_are_renewed_by_a_reload(self) -> None:
        """New files count for new connections; files that will not do are named, and the earlier certificate stays."""
        node = self.lab.node
        before = self.server_certificate()
        self.make_server_certificate()
        self.assertEqual(before, self.server_certificate())
        node.cli("reload")
        wait_until(lambda: self.server_certificate() != before, "the new certificate is shown")
        renewed = self.server_certificate()
        shutil.copy(self.certs / "server.key", self.certs / "kept.key")
        (self.certs / "server.key").write_text("no key\n")
        node.cli("reload")
        wait_until(lambda: "the earlier certificates stay" in node.logs(100) and "server.key" in node.logs(100), "it is said")
        self.assertEqual(renewed, self.server_certificate())
        shutil.copy(self.certs / "kept.key", self.certs / "server.key")
        node.cli("reload")

    def test_what_is_not_served_is_a_condition(self) -> None:
        """A certificate that ends soon, and an address that another has, are shown with what mends them. Soon is a week, or
        of one that does not live for three the last third."""
        node = self.lab.node
        aged = ("server", "server", "subjectAltName=IP:127.0.0.1", "ours")
        for age, left, soon in ((20, 6, True), (5, 1, True), (2, 3, False)):
            make_aged_certificate(self.certs, *aged, age, left)
            node.cli("reload")
            wait_until(lambda: ("expires" in self.failing()) == soon, f"{left} days left of {age + left}")
        make_aged_certificate(self.certs, *aged, 1, 365 * 7000)
        node.cli("reload")
        self.assertEqual("", self.failing(), "of the year 9026")
        self.make_server_certificate()
        node.cli("reload")
        wait_until(lambda: not self.failing(), "the new one will do")
        text = node.config.render()
        with self.lab.topology.node.entered(), socket.create_server(("127.0.0.1", 9321)):
            node.write_config(text.replace(str(LISTEN[1]), "9321"))
            node.cli("reload")
            wait_until(lambda: "in use" in self.failing(), "the address that is taken is named")
        wait_until(lambda: not self.failing(), "it is served once the address is free", 10)
        node.write_config(text)
        node.cli("reload")
        wait_until(lambda: self.ask("GET", "/v1/status", self.context("bob"))[0] == 200, "it is where it was")

    def failing(self) -> str:
        """What the condition says that the API's listener is part of; empty: it holds."""
        return next(" ".join((one["evidence"], one["mend"])) if one["state"] == "fails" else ""
                    for one in self.lab.node.status()["conditions"] if one["name"] == "served-over-tcp")

    @classmethod
    def make_server_certificate(cls) -> None:
        make_certificate(cls.certs, "server", "server", "subjectAltName=IP:127.0.0.1", "ours")
        subprocess.run(["chmod", "-R", "a+rX", cls.certs], check=True)

    def ask(self, method: str, path: str, context: ssl.SSLContext, body: str | None = None) -> tuple[int, Any]:
        with self.lab.topology.node.entered():
            connection = http.client.HTTPSConnection(*LISTEN, timeout=5, context=context)
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                return response.status, json.loads(response.read())
            finally:
                connection.close()

    def context(self, client: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certs / "ours.pem"))
        if client:
            context.load_cert_chain(self.certs / f"{client}.pem", self.certs / f"{client}.key")
        return context

    def server_certificate(self) -> bytes:
        with self.lab.topology.node.entered(), socket.create_connection(LISTEN, timeout=5) as plain, \
                self.context("bob").wrap_socket(plain, server_hostname=LISTEN[0]) as secured:
            certificate = secured.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate
