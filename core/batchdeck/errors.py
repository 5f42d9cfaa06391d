"""The one root of every error that a person may see, and the exit code each one carries.

Adapters translate: no ``httpx``, ``aiohttp`` or ``sqlite3`` error leaves the module that made it.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_STOPPED = 4
EXIT_INTERRUPTED = 130


class BatchdeckError(Exception):
    """Something a person must know, said in one line that names what is wrong and how to mend it."""

    exit_code = EXIT_FAILED


class UsageError(BatchdeckError):
    """The command cannot be carried out as it was given."""

    exit_code = EXIT_USAGE


class InputError(UsageError):
    """The input cannot be read: names the file, the line where there is one, and the mend."""


class RunLocked(UsageError):
    """Another engine holds this run file."""


class StoreError(BatchdeckError):
    """The run file cannot be read or written."""


class EngineGone(BatchdeckError):
    """Nothing answers on the run's control socket."""


class TransportError(BatchdeckError):
    """A request got no complete response.

    kind: ``connect`` | ``connect_timeout`` | ``stale`` (a reused connection closed before any byte of a response) |
    ``disconnected`` (a fresh one did) | ``reset`` (in the middle of a response) | ``protocol`` (not HTTP, bad TLS).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class PageRefused(TransportError):
    """A page was answered with something else than a 200. ``status``: with what."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("protocol", message)
        self.status = status


class DecodeError(BatchdeckError):
    """A 2xx body is not what the protocol promises.

    kind: ``truncated`` (ended before its end mark) | ``garbage`` (does not parse) | ``provider_error`` (an error object
    inside a 200 response).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
