"""The child process behind ``--provider local``: llama.cpp's HTTP server on a free loopback port.

Prints its base URL as the first and only line of stdout when the model is loaded; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOG_ERRORS_AND_WARNINGS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if given.exit_with_parent:
        # From before the model is loaded: that can take minutes.
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # The native code may write to descriptor 1; whoever reads our stdout wants the base URL and nothing else.
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        server = serve(given)
    except ImportError as error:
        print(f"llama.cpp's server cannot be loaded: {error}; pip install 'batchdeck[local]'", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"llama.cpp cannot serve {given.model_path}: {error}", file=sys.stderr)
        return 1
    os.write(out, f"{server.listening_address}/v1\n".encode())
    os.close(out)
    threading.Event().wait()
    return 0


def serve(given: argparse.Namespace) -> Any:
    """The server, listening and with its model loaded; it lives as long as the object that is returned.

    Raises ``RuntimeError`` for a model that it cannot load.
    """
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = given.model_path
    settings.model_alias = {Path(given.model_path).stem}
    settings.n_parallel = given.parallel
    settings.n_ctx = given.ctx
    if given.threads:
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = given.threads
    settings.hostnames = ["127.0.0.1"]
    settings.port = given.port
    settings.ui = False
    settings.cache_ram_mib = 0  # its default keeps up to 8 GB of finished prompts in memory
    settings.verbosity = LOG_ERRORS_AND_WARNINGS
    return xllamacpp.Server(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batchdeck.providers.local_server", description=__doc__)
    parser.add_argument("--model-path", required=True, metavar="FILE.gguf")
    parser.add_argument("--parallel", type=int, default=4, help="requests that are answered at once")
    parser.add_argument("--ctx", type=int, default=8192, help="tokens of context of all of them together")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when stdin does")
    return parser


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _end(number: int, frame: Any) -> None:
    # Without the native threads' own shutdown, which waits for open streams.
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
