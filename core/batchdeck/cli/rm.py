"""``batchdeck rm``: delete runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from batchdeck.removal import Doomed


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="What was deleted as one JSON object; needs --yes.")
def command(runs: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete each RUN (a name from 'batchdeck ls', or a run file): its file with all answers, and what lies beside it.

    A beginning of a name is not enough here. A run that an engine works on is refused, and so is a file that is no
    run: then nothing at all is deleted.

    \b
    Examples:
      batchdeck rm prompts-1120-173400
      batchdeck rm old.db older.db --yes
    """
    from batchdeck.config import find_run
    from batchdeck.errors import UsageError
    from batchdeck.format import some
    from batchdeck.inert import inert
    from batchdeck.removal import examine, remove

    examined = [examine(find_run(run, whole=True)) for run in runs]
    # The same file by two names is one; a link, or another hard link, is a name of its own.
    doomed = list({one.path.absolute() if one.link else one.path.resolve(): one for one in examined}.values())
    if not yes:
        if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("what is deleted is gone; --yes says that it is meant")
        for one in doomed:
            click.echo(inert(described(one)), err=True)
        if not click.confirm(f"Delete {some(len(doomed), 'run')}?", err=True):
            raise UsageError("nothing was deleted")
    gone: list[Doomed] = []
    try:
        for one in doomed:
            left = remove(one)
            gone.append(one)
            if not as_json:
                click.echo(inert(f"deleted {described(one)}"), err=True)
            if left:
                click.echo(inert(f"batchdeck: {left}"), err=True)
    finally:
        if as_json:
            from batchdeck.export import inert_json

            click.echo(inert_json({"deleted": [str(one.path) for one in gone], "bytes": sum(one.size for one in gone)}))


def described(one: Doomed) -> str:
    """A run that goes, in one line."""
    from batchdeck.format import size, some

    if one.link:
        return f"{one.path}: a link, which goes alone"
    return f"{one.path}: {some(one.items, 'item')}, {size(one.size)}"
