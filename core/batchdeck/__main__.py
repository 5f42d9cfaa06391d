"""``batchdeck`` and ``python -m batchdeck``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line; every known error is one line on standard error and an exit code of its own."""
    import click

    from batchdeck.cli import root
    from batchdeck.errors import EXIT_INTERRUPTED, EXIT_USAGE, BatchdeckError
    from batchdeck.inert import inert

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without Unicode gets question marks, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        code = root(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        code = EXIT_USAGE
    except click.ClickException as error:
        print(f"batchdeck: {inert(error.format_message())}", file=sys.stderr)
        code = EXIT_USAGE
    except BatchdeckError as error:
        print(f"batchdeck: {inert(str(error))}", file=sys.stderr)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("batchdeck: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
