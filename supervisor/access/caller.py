"""A caller: what is known of who is at the other end of a connection.

Owns how it is found out. Pure. Runs in the supervisor and in further fronts.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection's client.

    `address` is its numeric address, "" where there is none; `encrypted` says that it came over
    TLS, `operator` that it came over the operators' unix socket.
    """

    address: str = ""
    encrypted: bool = False
    operator: bool = False

    @property
    def loopback(self) -> bool:
        """Say whether it is on this host, reached over TCP."""
        try:
            address = ipaddress.ip_address(self.address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback


NOBODY = Caller()
OPERATOR = Caller(operator=True)


def caller_of(transport: asyncio.BaseTransport) -> Caller:
    """Say who is at the other end of a TCP connection."""
    peer = transport.get_extra_info("peername")
    address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    return Caller(address, transport.get_extra_info("sslcontext") is not None)
