"""Each header compiles by itself: whoever includes it needs nothing before it.

Where `x.cc` includes `x.h` before anything else, the build shows it already; the others are compiled here."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .tree import ROOT, files, read

_LIBRARIES = ["libdpdk", "libbpf", "libxdp", "fmt", "spdlog", "libmnl", "nlohmann_json", "libcurl", "gtest"]
_CXX = ["g++", "-std=c++20", "-fsyntax-only", "-D_GNU_SOURCE", "-I.", "-isystem", "maglev/libraries", "-x", "c++"]
_BPF = ["clang-14", "-target", "bpf", "-O2", "-fsyntax-only", "-I.", f"-I/usr/include/{os.uname().machine}-linux-gnu",
        "-include", "linux/types.h", "-x", "c"]
# Headers for some CPUs alone, as dataplane/meson.build compiles them.
_LANES = ["-mavx2", "-mbmi", "-mbmi2", "-DLINIMO_LANES=avx2"]
_MORE = {"dataplane/forward/lanes.h": _LANES, "dataplane/forward/lane_recognize.h": _LANES}


def check() -> list[str]:
    wanted = [name for name in files(".h") if not _shown_by_the_build(name) and not name.startswith("maglev/libraries")]
    flags = subprocess.run(["pkg-config", "--cflags", *_LIBRARIES], check=True, capture_output=True, text=True).stdout.split()

    def compile_alone(name: str) -> list[str]:
        command = _BPF if name.startswith("bpf/") else [*_CXX, *flags, *_MORE.get(name, [])]
        done = subprocess.run([*command, "-"], cwd=ROOT, input=f'#include "{name}"\n', capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        return [f"{name} does not compile alone: {(errors or ['no error named'])[0]}"] if done.returncode else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [complaint for found in pool.map(compile_alone, wanted) for complaint in found]


def _shown_by_the_build(header: str) -> bool:
    source = Path(header).with_suffix(".cc")
    if not (ROOT / source).exists():
        return False
    first = re.search(r'^#include [<"]([^>"]+)[>"]', read(str(source)), re.MULTILINE)
    return first is not None and first[1] == header
