"""A container with a systemd of its own: Debian 12 from debootstrap, booted by systemd-nspawn.

Owns the root directory (built once, copied for each run), the container's processes, and what is
run inside. The network is the host's. Needs root. Runs in pytest's process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import psutil

from tests.harness import ROOT, wait_for

BACKPORTS: Final = bool(os.environ.get("SYSTEMD_FROM_BACKPORTS"))  # 254 instead of 252
BASE: Final = ROOT / ".cache" / ("systemd-base-backports" if BACKPORTS else "systemd-base")
PACKAGES: Final = "systemd,systemd-sysv,dbus,python3,python3-venv,procps,libgomp1"
RELEASE: Final = "bookworm"
MIRROR: Final = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
# Paths inside.
VENV: Final = "/opt/hotpaddle"
LIBRARIES: Final = "/opt/libraries"  # the packages of the tests' own environment
WHEEL: Final = "/opt/wheel"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build_base() -> None:
    """Make the root directory that is copied for each run; takes two minutes, once."""
    if (BASE / "done").exists():
        return
    shutil.rmtree(BASE, ignore_errors=True)
    BASE.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(BASE), MIRROR],
        check=True,
    )
    if BACKPORTS:
        sources = BASE / "etc/apt/sources.list.d/backports.list"
        sources.write_text(f"deb {MIRROR} {RELEASE}-backports main\n")
        for command in (
            ["update", "-qq"],
            ["install", "-y", "-qq", "-t", f"{RELEASE}-backports", "systemd", "systemd-sysv"],
        ):
            subprocess.run(["chroot", str(BASE), "apt-get", *command], check=True)
    (BASE / "done").touch()


def build_wheel(folder: Path) -> Path:
    """Build the wheel that is installed inside: what is not packaged is missing there."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
            "--wheel-dir", str(folder), str(ROOT),
        ],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("hotpaddle-*.whl")
    return wheel


class Container:
    """One booted container."""

    def __init__(self, folder: Path, models: Path, wheel: Path) -> None:
        self.root = folder / "root"
        self.log_path = folder / "boot.log"
        subprocess.run(["cp", "-a", "--reflink=auto", str(BASE), str(self.root)], check=True)
        binds = {
            sysconfig.get_path("purelib"): LIBRARIES,
            str(wheel.parent): WHEEL,
            str(models): "/srv/models",
        }
        for target in binds.values():
            (self.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "systemd-nspawn", f"--directory={self.root}",
                    f"--machine=hotpaddle-{os.getpid()}", "--boot",
                    "--register=no", "--keep-unit", "--link-journal=no",
                    "--console=pipe", *(f"--bind-ro={a}:{b}" for a, b in binds.items()),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        self._init = 0
        wait_for(self._booted, "the container has booted", 60, poll_s=0.2)

    def _booted(self) -> bool:
        assert self._process.poll() is None, self.log_path.read_text(errors="replace")
        children = psutil.Process(self._process.pid).children()
        if not children:
            return False
        self._init = children[0].pid
        state = self.run("systemctl", "is-system-running", check=False)
        return state.stdout.strip() in ("running", "degraded")

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init}", "-m", "-u", "-i", "-p", "-n", "-C", *command],
            env={"PATH": _PATH, "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def install(self) -> None:
        """Install the wheel into a virtual environment; its dependencies are those of the tests."""
        self.run("python3", "-m", "venv", VENV)
        (wheel,) = self.run("sh", "-c", f"ls {WHEEL}/*.whl").stdout.split()
        self.run(f"{VENV}/bin/pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
        (packages,) = self.run(
            "sh", "-c", f"ls -d {VENV}/lib/python3*/site-packages"
        ).stdout.split()
        self.write(f"{packages}/libraries.pth", f"{LIBRARIES}\n")
        inside = Path(packages).parent.name
        ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
        assert inside == ours, f"the container has {inside}, the packages are for {ours}"

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Give properties of a unit."""
        text = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        pairs = (line.partition("=") for line in text.splitlines())
        return {name: value for name, _, value in pairs}

    def journal(self, unit: str = "hotpaddle.service") -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def stop(self) -> None:
        """Power it off, and remove its root."""
        self.run("systemctl", "poweroff", check=False)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(self._init, signal.SIGKILL)
            self._process.wait(30)
        shutil.rmtree(self.root, ignore_errors=True)
