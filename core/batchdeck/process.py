"""What a process of ours asks of the system for itself."""

from __future__ import annotations

import os
import sys

OPEN_FILES = 65_536


def allow_open_files() -> int:
    """Raise this process's limit of open files as far as it may, and return it: each request is a socket."""
    if sys.platform == "win32":
        return OPEN_FILES
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def resident() -> int | None:
    """Bytes of memory that this process holds now; where the system tells no more, the most it ever held.

    None: unknown.
    """
    if sys.platform == "linux":
        try:
            with open("/proc/self/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:  # no /proc, or no file may be opened: not worth a run
            return None
    if sys.platform == "win32":
        return None
    import resource

    # BSD counts kilobytes as Linux does, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
