"""Certificates for tests, as small as openssl makes them."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path


def make_certificate(folder: Path, name: str, subject: str, extension: str = "", by: str = "") -> None:
    """NAME.key and NAME.pem, signed by another's key that lies there, or by its own."""
    more = (["-addext", extension] if extension else []) + (["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else [])
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *more],
                   cwd=folder, check=True, capture_output=True)


def make_aged_certificate(folder: Path, name: str, subject: str, extension: str, by: str, age_days: int, left_days: int) -> None:
    """The same, of one that has been valid for a while already."""
    now = datetime.now(timezone.utc)
    begin, end = (f"{now + timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (-age_days, left_days))
    (folder / "ca.conf").write_text(f"""[ca]
default_ca = this
[this]
database = index
rand_serial = yes
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
x509_extensions = wanted
[any]
commonName = supplied
[wanted]
{extension}
""")
    (folder / "index").write_text("")
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}",
                    "-keyout", f"{name}.key", "-out", f"{name}.csr"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-notext", "-config", "ca.conf", "-cert", f"{by}.pem", "-keyfile", f"{by}.key",
                    "-startdate", begin, "-enddate", end, "-in", f"{name}.csr", "-out", f"{name}.pem"],
                   cwd=folder, check=True, capture_output=True)
