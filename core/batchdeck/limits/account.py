"""What the runs of one machine go by when they share: which account, which start of the machine, which clock."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from batchdeck.limits.pool import PoolUnavailable

_PORTS = {"http": 80, "https": 443}


def since_boot() -> float:
    """Seconds since the machine was started, the same in all its processes; those that it slept count too."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # noqa: TID251 - the one place where the clock that processes share is chosen


def boot_id() -> str:
    """Names this start of the machine: times of another one mean nothing. Raises ``PoolUnavailable``."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for name in ("kern.bootsessionuuid", "kern.boottime"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True).stdout
            if said.strip():
                return said.strip()
    raise PoolUnavailable("this system does not say when it was started; its runs do not share a quota")


def account_id(base_url: str, key: str, home: Path) -> str:
    """What names a provider account without telling its key. Raises ``PoolUnavailable``."""
    url = urlsplit(base_url)
    scheme = url.scheme.lower()
    place = f"{scheme}://{url.hostname or ''}:{url.port or _PORTS.get(scheme, 0)}"
    said = msgspec.msgpack.encode((place, key))
    return hashlib.blake2b(said, key=_secret(home / "account.key"), digest_size=16).hexdigest()


def _secret(path: Path) -> bytes:
    """32 bytes that only this user can read; of several who make them at once, all get those of the first."""
    try:
        if not path.exists():
            place(path, secrets.token_bytes(32))
        secret = path.read_bytes()
    except OSError as error:
        raise PoolUnavailable(f"{path} cannot be made or read: {error.strerror}") from error
    if len(secret) != 32:
        raise PoolUnavailable(f"{path} is damaged; delete it")
    return secret


def place(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Make a 0600 file that has its whole content from the first moment on; one that is there stays, or is replaced."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        if replace:
            draft.replace(path)
        else:
            # To open the file itself and close it would drop the locks of another connection of this process.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
