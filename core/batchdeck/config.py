"""Where batchdeck keeps things. ``BATCHDECK_HOME`` moves all of it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from batchdeck.errors import BatchdeckError, UsageError


def home() -> Path:
    """The data folder, made 0700 when missing."""
    given = os.environ.get("BATCHDECK_HOME")
    if given:
        folder = Path(given)
    else:
        import platformdirs

        folder = Path(platformdirs.user_data_dir("batchdeck", appauthor=False))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def runs_folder() -> Path:
    """Where run files go that were given no ``--db``."""
    folder = home() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def registry_folder() -> Path:
    """One small file for each run kept elsewhere; its content is the run file's path."""
    folder = home() / "elsewhere"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def lock_path(run: Path) -> Path:
    return run.with_name(run.name + ".lock")


def log_path(run: Path) -> Path:
    return run.with_name(run.name + ".log")


def socket_path(run: Path) -> Path:
    """A short path (108 bytes is the limit of a Unix socket) for the control socket of a run.

    Raises ``BatchdeckError`` when the folder belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"batchdeck-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    info = os.lstat(folder)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise BatchdeckError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
    if stat.S_IMODE(info.st_mode) != 0o700:
        folder.chmod(0o700)
    name = hashlib.blake2b(os.fsencode(os.path.realpath(run)), digest_size=12).hexdigest()
    path = folder / f"{name}.sock"
    if len(os.fsencode(path)) > 100:
        raise BatchdeckError(f"{folder} is too long for a socket; set TMPDIR to a shorter folder")
    return path


def register(run: Path) -> None:
    """Remember a run file that lies outside the data folder, so that ``ls`` finds it."""
    real = Path(os.path.realpath(run))
    if real.parent == Path(os.path.realpath(runs_folder())):
        return
    entry = registry_folder() / hashlib.blake2b(os.fsencode(real), digest_size=12).hexdigest()
    if not entry.exists():
        draft = entry.with_suffix(f".{os.getpid()}")
        draft.write_text(str(real), encoding="utf-8")
        draft.replace(entry)


def known_runs() -> list[Path]:
    """All run files known here, newest first."""
    found = {path: path.stat().st_mtime for path in runs_folder().glob("*.db")}
    for entry in registry_folder().iterdir():
        path = Path(entry.read_text(encoding="utf-8"))
        if path.exists():
            found[path] = path.stat().st_mtime
    return sorted(found, key=lambda path: found[path], reverse=True)


def find_run(name: str) -> Path:
    """The run file that a person means: a path, a run's name, or an unambiguous beginning of one.

    Raises ``UsageError`` naming the candidates.
    """
    path = Path(name)
    if path.is_file():
        return path
    runs = known_runs()
    exact = [run for run in runs if run.stem == name]
    if exact:
        return exact[0]
    begun = [run for run in runs if run.stem.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise UsageError(
            f"'{name}' begins {len(begun)} runs: {', '.join(run.stem for run in begun[:5])}; say more of it"
        )
    raise UsageError(f"no run file or run called '{name}'; 'batchdeck ls' lists the runs known here")
