"""The doorbell: an eventfd that counts descriptors.

Owns one eventfd. One count is rung for each descriptor published, and the consumer takes exactly as
many descriptors as the count that it read: the kernel's hand-over then orders the memory on every
architecture, no wake-up can be lost, and nobody spins. Runs in both processes.
"""

from __future__ import annotations

import os


class Doorbell:
    """One eventfd, non-blocking; wait for it with poll or an event loop."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)

    @classmethod
    def create(cls) -> Doorbell:
        """Create a doorbell with a count of zero."""
        return cls(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def ring(self, count: int = 1) -> None:
        """Say that `count` more descriptors are published."""
        os.eventfd_write(self.fd, count)

    def answer(self) -> int:
        """Read and clear the count; 0 when it did not ring."""
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
