"""The Linimo node: its two daemons in the node's namespace, its configuration file, and the CLI's view of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

from .config import NodeConfig
from .netns import Namespace
from .orphan import Orphan, adopt_orphans
from .rights import Rights
from .wait import PATIENCE, wait_until


HUGEPAGES = Path("/dev/hugepages")
LIBXDP_LOCKS = Path("/run/xdp")  # it insists on this place, and on writing there


def kept_tables(runtime_dir: Path) -> Path:
    """The folder of what outlives a data plane of engine dpdk."""
    return HUGEPAGES / f"linimo@{'-'.join(runtime_dir.parts[1:])}"


class Node:
    def __init__(self, box: Namespace, folder: Path, build: Path) -> None:
        self.box = box
        self.folder = folder
        self.config = NodeConfig(runtime_dir=folder / "run")
        self.config_file = folder / "linimo.toml"
        self.dataplane_program = self._built_dataplane = build / "dataplane/linimo-dataplane"
        self._controlplane_program = build / "controlplane/linimo-controlplane"
        self.cli_program = build / "controlplane/linimo"
        self.dataplane_wrapper: list[str] = []  # a command that starts the data plane
        self.controlplane_wrapper: list[str] = []  # one that starts the control plane and has its rights already
        self.rights: Rights | None = None  # root's
        self.dataplane: subprocess.Popen[bytes] | None = None
        self.controlplane: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Both daemons, until every configured backend is up and the data plane forwards by that table."""
        self.prepare()
        self.start_dataplane()
        self.start_controlplane()
        self.wait_settled()

    def prepare(self) -> None:
        self.config.runtime_dir.mkdir(parents=True, exist_ok=True)
        self.config.runtime_dir.chmod(0o755)
        if not self.config.seed_file.exists():
            self.config.seed_file.touch(0o600)
            self.config.seed_file.write_text(secrets.token_hex(16) + "\n")
        self.write_config()

    def command(self, program: Path, wrapper: list[str] | None = None) -> list[str]:
        """Starts a daemon as it is to run here."""
        self.give_rights()
        rights = self.rights.command(program.name, self.config.takes_netdev) if self.rights else []
        return [*rights, *(wrapper or []), str(program), "--config", str(self.config_file)]

    def give_rights(self) -> None:
        """What units and packages do for a user of their own, before each start."""
        if not self.rights:
            return
        runtime, state = self.config.runtime_dir, self.config.runtime_dir.parent / "state"
        state.mkdir(mode=0o750, exist_ok=True)
        if not self.config.takes_netdev and not (runtime / "bpf").is_mount():
            (runtime / "bpf").mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "bpf", "-o", "nosuid,nodev,noexec,mode=0700", "bpf", runtime / "bpf"], check=True)
        if self.config.takes_netdev:
            LIBXDP_LOCKS.mkdir(mode=0o700, exist_ok=True)
            self.rights.give(LIBXDP_LOCKS)
            if HUGEPAGES.is_mount():
                self.kept_tables.mkdir(mode=0o700, exist_ok=True)
                self.rights.give(self.kept_tables)
        for path in (runtime, runtime / "bpf", state, self.config.seed_file, *runtime.iterdir(), *state.iterdir()):
            self.rights.give(path)

    def start_dataplane(self) -> None:
        before = self._dataplane_socket()
        self.spawn_dataplane()
        wait_until(lambda: self._dataplane_socket() not in (None, before)
                   and (not self.config.takes_netdev or self.has_link("linimo0")),
                   "the data plane opens its socket and, with dpdk, linimo0", 30, alive=self.check_alive)

    def spawn_dataplane(self) -> None:
        """Returns at once."""
        self.dataplane = self._start(self.dataplane_program, self.dataplane_wrapper)

    def start_controlplane(self) -> None:
        self.controlplane = self._start(self._controlplane_program, inner=self.controlplane_wrapper)

    def stop_controlplane(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Returns the exit code, as subprocess has it: negative for a signal."""
        assert self.controlplane
        code = self._end(self.controlplane, sig)
        self.controlplane = None
        return code

    def stop_dataplane(self, sig: signal.Signals = signal.SIGTERM) -> int:
        assert self.dataplane
        code = self._end(self.dataplane, sig)
        self.dataplane = None
        return code

    def stop(self) -> None:
        if self.controlplane:
            self.stop_controlplane()
        if self.dataplane:
            self.stop_dataplane()
        self.detach()

    @property
    def kept_tables(self) -> Path:
        return kept_tables(self.config.runtime_dir)

    def detach(self) -> subprocess.CompletedProcess[str] | None:
        """What engine xdp leaves forwarding is taken off; nothing where there is nothing."""
        if not self.config_file.exists():
            return None
        return self.box.run([str(self.dataplane_program), "--config", str(self.config_file), "--detach"], check=False)

    def upgrade(self, what: str = "dataplane") -> subprocess.CompletedProcess[str]:
        """`linimo dataplane upgrade`, or `linimo node upgrade`. The process that then forwards is the data plane."""
        upgrade = self.spawn_upgrade(what)
        out, err = upgrade.communicate(timeout=60 * PATIENCE)
        if upgrade.returncode == 0 or self.dataplane is None or self.dataplane.poll() is not None:
            self.follow_dataplane()  # else it goes on by itself, or starts anew in its place
        return subprocess.CompletedProcess(upgrade.args, upgrade.returncode, out, err)

    def spawn_upgrade(self, what: str = "dataplane") -> subprocess.Popen[str]:
        """Returns at once; to be followed by follow_dataplane()."""
        adopt_orphans()
        found = {"PATH": f"{self._built_dataplane.parent}:/usr/sbin:/usr/bin:/sbin:/bin"}  # where the CLI looks for it
        cli = self.folder / self.cli_program.name  # beside which there is none
        cli.unlink(missing_ok=True)
        cli.symlink_to(self.cli_program)
        command = [str(cli), "--socket", str(self.config.runtime_dir / "control.sock"), what, "upgrade", "--config", str(self.config_file)]
        with self.box.entered():
            return subprocess.Popen(command, env=found, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def follow_dataplane(self) -> None:
        """The data plane is whichever process has the runtime folder, once the one before has ended."""
        assert self.dataplane
        pid = int((self.config.runtime_dir / "dataplane.lock").read_text())
        if pid != self.dataplane.pid:
            self.dataplane.wait(10 * PATIENCE)
            self.dataplane = Orphan(pid, self.dataplane.args)

    # The configuration

    def write_config(self, text: str | None = None) -> None:
        """The file is replaced whole: a watcher must never read half of one."""
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(self.config.render() if text is None else text)
        fresh.rename(self.config_file)

    def reload(self) -> dict[str, Any]:
        """Write the configuration, say so to the control plane, and wait until the data plane forwards by it."""
        before = self.status()
        self.write_config()
        self.signal_reload()
        wait_until(lambda: self.status()["config"]["revision"] != before["config"]["revision"],
                   "the control plane takes the configuration over", alive=self.check_alive)
        return self.wait_settled(after_generation=before["generation"])

    def reload_if_changed(self) -> None:
        if self.config_file.read_text() != self.config.render():
            self.reload()

    def signal_reload(self) -> None:
        assert self.controlplane
        self.controlplane.send_signal(signal.SIGHUP)

    # What the CLI says

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.box.run([str(self.cli_program), "--socket", str(self.config.runtime_dir / "control.sock"),
                             *arguments], check)

    def ask(self, path: str) -> Any:
        """What the API answers to a GET."""
        return json.loads(self.box.run(["curl", "-sS", "--unix-socket", str(self.config.runtime_dir / "control.sock"),
                                        f"http://linimo{path}"]).stdout)

    def status(self) -> dict[str, Any]:
        return json.loads(self.cli("status", "-o", "json").stdout)

    def backend_list(self) -> list[dict[str, Any]]:
        return json.loads(self.cli("backend", "list", "-o", "json").stdout)

    def service_list(self) -> list[dict[str, Any]]:
        return json.loads(self.cli("service", "list", "-o", "json").stdout)

    def service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.service_list() if service["name"] == name)

    def backend_states(self, pool: str = "web") -> dict[str, str]:
        return {backend["address"]: backend["state"] for backend in self.backend_list() if backend["pool"] == pool}

    def up_to_date(self) -> bool:
        """The data plane forwards by all that was configured and found out until now."""
        return bool(self.status()["up_to_date"])

    def outcomes(self) -> dict[str, int]:
        return self.status()["outcomes"]

    def wait_settled(self, after_generation: int = -1, timeout: float = 15.0) -> dict[str, Any]:
        """The backends are those of the configuration, all of them well, and the data plane forwards by that."""
        expected = self.config.healthy_states()

        def settled() -> dict[str, Any] | None:
            with contextlib.suppress(RuntimeError, json.JSONDecodeError):  # the control socket is not there yet
                # In this order: what the status is up to date with is then at least as new as these states.
                well = self.backend_states() == expected
                status = self.status()
                if well and status["up_to_date"] and status["generation"] > after_generation:
                    return status
            return None

        try:
            return wait_until(settled, f"a generation with {expected} is in the data plane", timeout,
                              alive=self.check_alive)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs()}") from None

    # What can be seen of it from outside

    def _dataplane_socket(self) -> int | None:
        """When it was made: a data plane that was killed has left one, which the next replaces."""
        with contextlib.suppress(FileNotFoundError):
            return (self.config.runtime_dir / "dataplane.sock").stat().st_ctime_ns
        return None

    def has_link(self, link: str) -> bool:
        return self.box.run(["ip", "link", "show", "dev", link], check=False).returncode == 0

    def check_alive(self) -> None:
        for name, process in (("data plane", self.dataplane), ("control plane", self.controlplane)):
            if process and process.poll() is not None:
                raise RuntimeError(f"the {name} ended with {process.returncode}\n{self.logs()}")

    def logs(self, lines: int = 40) -> str:
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"--- {path}", *tail]))
        return "\n".join(parts)

    def _start(self, program: Path, wrapper: list[str] | None = None, inner: list[str] | None = None) -> subprocess.Popen[bytes]:
        if not program.exists():
            raise FileNotFoundError(f"{program} is not built: run scripts/build")
        with open(self.folder / f"{program.name}.log", "ab") as log:
            spawn = self.box.spawn if self.config.takes_netdev else self.box.spawn_sharing_mounts
            return spawn([*(wrapper or []), *self.command(program, inner)], log)

    def _end(self, process: subprocess.Popen[bytes], sig: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, sig)
        try:
            return process.wait(10 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{process.args} did not end within {10 * PATIENCE:g} s of {sig.name}\n{self.logs()}") from None
