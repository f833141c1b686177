"""Certificates for tests, as small as openssl makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str, subject: str, extension: str = "", by: str = "", days: int = 30) -> None:
    """NAME.key and NAME.pem, signed by another's key that lies there, or by its own."""
    more = (["-addext", extension] if extension else []) + (["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else [])
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
                    "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *more],
                   cwd=folder, check=True, capture_output=True)
