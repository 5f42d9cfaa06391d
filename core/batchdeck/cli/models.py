"""``batchdeck models``: which models an endpoint offers."""

from __future__ import annotations

import asyncio
import os

import click

from batchdeck.cli.options import Seconds


@click.command()
@click.option("--provider", help="A provider by its name, as 'batchdeck run' takes it.")
@click.option("--base-url", help="Any OpenAI-compatible endpoint, with its /v1.")
@click.option("--timeout", type=Seconds(), default=10.0, show_default=True, help="Seconds for the whole answer.")
@click.option("--json", "as_json", is_flag=True, help='One JSON object: {"provider", "url", "models"}.')
def command(provider: str | None, base_url: str | None, timeout: float, as_json: bool) -> None:
    """List the models that an endpoint offers at /v1/models. Its key is sent as a run's requests send it.

    \b
    Examples:
      batchdeck models --provider openai
      batchdeck models --base-url http://127.0.0.1:8000/v1 --json
    """
    from batchdeck.export import inert_json
    from batchdeck.inert import inert
    from batchdeck.providers.presets import resolve

    endpoint = resolve(provider, base_url, os.environ)
    url, models = asyncio.run(_list(endpoint.name, endpoint.base_url, endpoint.key_env, timeout))
    if as_json:
        click.echo(inert_json({"provider": endpoint.name, "url": url, "models": list(models)}))
        return
    for name in models:
        click.echo(inert(name))
    if not models:
        click.echo(f"{inert(url)} lists no models", err=True)


async def _list(provider: str, base_url: str, key_env: str | None, seconds: float) -> tuple[str, tuple[str, ...]]:
    from batchdeck.model import RunConfig
    from batchdeck.providers.connect import connect
    from batchdeck.providers.models import list_models
    from batchdeck.providers.presets import MANAGED

    asked = RunConfig(
        name="",
        input="",
        input_format=None,
        model="",
        provider=provider,
        base_url=base_url,
        key_env=key_env,
        stream=False,
        managed={} if provider in MANAGED else None,
    )
    async with connect(asked, {}, os.environ) as connection:
        return connection.base_url, await list_models(connection, key_env, seconds)
