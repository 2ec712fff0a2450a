"""A shared-memory segment without a name: a sealed memfd and its mapping.

Owns one descriptor and one mapping. Never gives the memory a name, so that nothing is left behind
whatever is killed. The supervisor creates segments; workers map them from inherited descriptors.
"""

from __future__ import annotations

import fcntl
import mmap
import os

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Segment:
    """Shared memory of a fixed size, addressed by a descriptor.

    The size is sealed: nobody can truncate it under a reader (which would be SIGBUS). The pages are
    allocated at once, so that running out of memory is an error at start, not a crash later.
    """

    def __init__(self, fd: int, size: int, *, writable: bool = True) -> None:
        self.fd = fd
        self.size = size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self.memory = memoryview(self._map)

    @classmethod
    def create(cls, name: str, size: int) -> Segment:
        """Create a segment of `size` bytes; `name` only shows up in /proc/PID/maps.

        Raises:
            OSError: there is not enough memory (ENOMEM, ENOSPC).

        """
        fd = os.memfd_create(f"hotpaddle-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(fd, 0, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(fd, size)
        except OSError:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int, *, writable: bool) -> Segment:
        """Map a segment that came as an inherited descriptor."""
        return cls(fd, os.fstat(fd).st_size, writable=writable)

    def read_only_fd(self) -> int:
        """Open a second descriptor that can only be mapped for reading; the caller closes it."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Unmap and close. Views that were handed out must be released before."""
        self.memory.release()
        self._map.close()
        os.close(self.fd)
