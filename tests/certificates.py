"""Certificates for tests: an authority, and what it signs, as the PEM files that settings name.

Owns nothing that outlives its folder.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """One authority; `ca` is its file."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._made = trustme.CA()
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._made.cert_pem.write_to_path(self.ca)

    def server(self, name: str = "server") -> tuple[Path, Path]:
        """Write a new certificate for this host, and its key."""
        made = self._made.issue_cert("localhost", "127.0.0.1", common_name=name)
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        made.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        return certificate, key

    def client(self, name: str = "client") -> Path:
        """Write a client's certificate and key into one file."""
        made = self._made.issue_cert(f"{name}@example.org")
        path = self._folder / f"{name}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Make a client's context that trusts this authority."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context
