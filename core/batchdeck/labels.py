"""Names and tags that people give to runs. They stand in one small file of the data folder, not in the run files: a run
file is written by its engine alone, and a run can be named while it goes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from batchdeck.errors import BatchdeckError, UsageError

LONGEST_NAME = 80
LONGEST_TAG = 32
MOST_TAGS = 12
"""Characters, characters, and tags of one run."""


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person calls a run; ``name`` is empty where it goes by its file's name."""

    name: str = ""
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.name or self.tags)


NONE = Label()


def key(run: Path) -> str:
    """The name under which a run's label is kept: its real path, whichever links lead to it; as text, where a name is
    none."""
    return os.fsencode(os.path.realpath(run)).decode("utf-8", "backslashreplace")


def read(file: Path) -> dict[str, Label]:
    """All labels by ``key``; none where the file is missing or cannot be read, which is no reason to stop."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Label])
    except (OSError, msgspec.DecodeError):
        return {}


def change(file: Path, run: Path, turn: Callable[[Label], Label]) -> Label:
    """Give a run another label, made of the one that it has; an empty one is taken out. Returns the new one.

    Raises ``UsageError`` for a name or tag that is none, ``BatchdeckError`` when the file cannot be written.
    """
    try:
        with _alone(file):
            known = _kept(file)
            label = checked(turn(known.get(key(run), NONE)))
            others = {name: other for name, other in known.items() if name != key(run)}
            changed = others | {key(run): label} if label else others
            if changed != known:
                _write(file, changed)
    except OSError as error:
        raise BatchdeckError(f"{file} cannot be written: {error.strerror}") from error
    return label


def checked(label: Label) -> Label:
    """The label without blanks around it and without tags that stand twice. Raises ``UsageError``."""
    name = label.name.strip()
    tags = tuple(dict.fromkeys(tag.strip().removeprefix("#") for tag in label.tags))
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a name is at most {LONGEST_NAME} characters in one line")
    for tag in tags:
        if not tag or len(tag) > LONGEST_TAG or not tag.isprintable() or " " in tag or "," in tag:
            raise UsageError(f"a tag is one word of at most {LONGEST_TAG} characters, without a comma")
    if len(tags) > MOST_TAGS:
        raise UsageError(f"a run has at most {MOST_TAGS} tags")
    return Label(name, tags)


def written(label: Label) -> str:
    """``reviews, German #de #nightly``; empty for a run without."""
    return " ".join([*([label.name] if label.name else []), *(f"#{tag}" for tag in label.tags)])


def _kept(file: Path) -> dict[str, Label]:
    """As ``read``, but a file that does not read is not written over."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Label])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise BatchdeckError(f"{file} does not read as labels ({error}); mend it or delete it") from error


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One at a time: two who read and write at once would lose what one of them wrote."""
    turnstile = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turnstile)


def _write(file: Path, labels: dict[str, Label]) -> None:
    handle, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # 0600 by its contract
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(labels), indent=2))
        os.replace(draft, file)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise
