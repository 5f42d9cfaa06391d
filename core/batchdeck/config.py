"""Where batchdeck keeps things. ``BATCHDECK_HOME`` moves all of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from batchdeck.errors import BatchdeckError, UsageError

if TYPE_CHECKING:
    from batchdeck import labels  # takes msgspec: no part of the way to the console's first frame

APPLICATION_ID = 0x42444B31
"""``BDK1``: tells a run file from any other SQLite file."""
SCHEMA = 4
"""The newest run file that is understood: as many as there are migrations."""


def home() -> Path:
    """The data folder, made 0700 when missing. Raises ``UsageError``, as all here do for a folder that cannot be."""
    given = os.environ.get("BATCHDECK_HOME")
    if given:
        folder = Path(given)
    else:
        import platformdirs

        folder = Path(platformdirs.user_data_dir("batchdeck", appauthor=False))
    return _made(folder)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be made ({error.strerror}); BATCHDECK_HOME says where batchdeck keeps things"
        ) from error
    return folder


def runs_folder() -> Path:
    """Where run files go that were given no ``--db``."""
    return _made(home() / "runs")


def registry_folder() -> Path:
    """One small file for each run kept elsewhere; its content is the run file's path."""
    return _made(home() / "elsewhere")


def labels_path() -> Path:
    """The names and tags of all runs."""
    return home() / "labels.json"


def known_labels() -> dict[str, labels.Label]:
    """All labels by ``labels.key``; none where there is no data folder and none can be made."""
    from batchdeck import labels

    try:
        return labels.read(labels_path())
    except BatchdeckError:
        return {}


def lock_path(run: Path) -> Path:
    """Beside the run file itself, whichever links lead to it: an engine and its clients must mean the same lock."""
    return Path(os.path.realpath(run) + ".lock")


def log_path(run: Path) -> Path:
    """Beside the run file itself, like the lock."""
    return Path(os.path.realpath(run) + ".log")


def index_path(run: Path) -> Path:
    """Beside the run file itself: what its rows are found by. It may be deleted."""
    return Path(os.path.realpath(run) + ".index")


def socket_path(run: Path) -> Path:
    """A short path (108 bytes is the limit of a Unix socket) for the control socket of a run.

    Raises ``BatchdeckError`` when the folder belongs to somebody else or cannot be made.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"batchdeck-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BatchdeckError(f"no folder for the control socket: {error}; set TMPDIR to one of your own") from error
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
    """Remember a run file that lies outside the data folder, so that ``ls`` finds it. Raises ``BatchdeckError``."""
    real = Path(os.path.realpath(run))
    if real.parent == Path(os.path.realpath(runs_folder())):
        return
    entry = _entry(real)
    if not entry.exists():
        draft = entry.with_suffix(f".{os.getpid()}")
        try:
            draft.write_bytes(os.fsencode(real))
            draft.replace(entry)
        except OSError as error:
            raise BatchdeckError(f"{entry} cannot be written: {error.strerror}") from error


def forget(run: Path) -> None:
    """Take a run off the list of those kept elsewhere, and its name and tags away. Raises ``BatchdeckError``."""
    from batchdeck import labels

    try:
        _entry(Path(os.path.realpath(run))).unlink(missing_ok=True)
    except OSError as error:
        raise BatchdeckError(f"{run} stays on the list: {error.strerror}") from error
    labels.change(labels_path(), run, lambda _: labels.NONE)


def _entry(real: Path) -> Path:
    return registry_folder() / hashlib.blake2b(os.fsencode(real), digest_size=12).hexdigest()


def known_runs() -> list[Path]:
    """All run files known here, newest first."""
    elsewhere = [_registered(entry) for entry in registry_folder().iterdir()]
    found: dict[Path, float] = {}
    for path in [*runs_folder().glob("*.db"), *filter(None, elsewhere)]:
        # a file may be gone since it was listed, a link may lead nowhere
        with contextlib.suppress(OSError):
            found[path] = path.stat().st_mtime
    return sorted(found, key=lambda path: found[path], reverse=True)


def _registered(entry: Path) -> Path | None:
    """The path that an entry of the registry holds, None for a file that is none."""
    try:
        content = entry.read_bytes()
    except OSError:
        return None
    path = Path(os.fsdecode(content)) if b"\0" not in content else None
    return path if path is not None and path.is_absolute() else None


def find_run(name: str, *, whole: bool = False) -> Path:
    """The run file that a person means: a path, a run's name or label, or an unambiguous beginning of one.

    A file that happens to be called like a run (``translate`` beside ``runs/translate.db``) is not meant, unless it is
    a run file itself. whole: a beginning is not enough. Raises ``UsageError`` naming the candidates.
    """
    if not name:
        raise UsageError("an empty name means no run; 'batchdeck ls' lists the runs known here")
    path = Path(name)
    is_file = path.is_file()
    if is_file and (os.sep in name or is_run_file(path)):
        return path
    runs = known_runs()
    # A link and the run that it leads to are one.
    exact = list({os.path.realpath(run): run for run in reversed(runs) if run.stem == name}.values())
    if len(exact) > 1:
        raise UsageError(f"'{name}' means {len(exact)} runs: {', '.join(map(str, exact[:5]))}; say which by its path")
    if exact:
        return exact[0]
    if is_file and path.suffix:
        return path
    from batchdeck import labels

    called = known_labels()
    given = {run: called[key].name for run in runs if (key := labels.key(run)) in called}
    begun = [run for run in runs if given.get(run) == name]
    if not whole:
        begun = begun or [run for run in runs if run.stem.startswith(name) or given.get(run, "").startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise UsageError(
            f"'{name}' means {len(begun)} runs: {', '.join(run.stem for run in begun[:5])}; say more of it"
        )
    if is_file:
        return path
    raise UsageError(f"no run file or run called '{name}'; 'batchdeck ls' lists the runs known here")


def relabel(run: Path, turn: Callable[[labels.Label], labels.Label]) -> labels.Label:
    """Give a run another name and tags, made of those that it has. Returns the new ones.

    Raises ``UsageError`` for what is no name or tag, or is what another run's file is called: by that name it would
    never be found; and ``BatchdeckError`` when they cannot be kept.
    """
    from batchdeck import labels

    def turned(before: labels.Label) -> labels.Label:
        label = turn(before)
        if label.name != before.name and any(
            other.stem == label.name and labels.key(other) != labels.key(run) for other in known_runs()
        ):
            raise UsageError(f"another run's file is called '{label.name}', which is what that name would mean")
        return label

    return labels.change(labels_path(), run, turned)


def is_run_file(path: Path) -> bool:
    """Told by the file's own head, without SQLite: its id at byte 68 (the file format of SQLite, section 1.3)."""
    if not path.is_file():
        return False  # to open a pipe is to wait for its other end
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    if not head.startswith(b"SQLite format 3\0"):
        return False
    # The head of a run that has only just begun still stands in the write-ahead log.
    return head[68:72] == APPLICATION_ID.to_bytes(4) or Path(f"{os.path.realpath(path)}-wal").exists()
