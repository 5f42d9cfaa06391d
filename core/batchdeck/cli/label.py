"""``batchdeck label``: a name and tags for a run."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--name", metavar="NAME", help="What the run is called from now on; '' takes the name away.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Add a tag; may be given more than once.")
@click.option("--untag", "untags", multiple=True, metavar="TAG", help="Take a tag away; may be given more than once.")
@click.option("--json", "as_json", is_flag=True, help="The label as one JSON object.")
def command(run: str, name: str | None, tags: tuple[str, ...], untags: tuple[str, ...], as_json: bool) -> None:
    """Give RUN (a name from 'batchdeck ls', or a run file) a name and tags; without options: show them.

    They are labels: the file stays where it is, and a run can have them while it goes. Every command that takes a run
    takes its label, too.

    \b
    Examples:
      batchdeck label prompts-1120-173400 --name "reviews, German" --tag de --tag nightly
      batchdeck label prompts-1120-173400 --untag nightly --name ''
    """
    from batchdeck import labels
    from batchdeck.config import find_run, labels_path, relabel
    from batchdeck.export import inert_json
    from batchdeck.inert import inert

    path = find_run(run)
    taken = {tag.removeprefix("#") for tag in untags}

    def turned(before: labels.Label) -> labels.Label:
        kept = tuple(tag for tag in before.tags if tag not in taken)
        return labels.Label(before.name if name is None else name, (*kept, *tags))

    if name is None and not tags and not untags:
        label = labels.read(labels_path()).get(labels.key(path), labels.NONE)
    else:
        label = relabel(path, turned)
    if as_json:
        click.echo(inert_json({"path": str(path), "name": label.name, "tags": label.tags}))
    else:
        click.echo(inert(f"{path.stem}: {labels.written(label) or 'no name, no tags'}"))
