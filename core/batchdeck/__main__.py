"""``batchdeck`` and ``python -m batchdeck``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; every known error is one line on standard error and an exit code of its own."""
    try:
        # Imported here: Ctrl+C while a command still loads is no more than Ctrl+C.
        from batchdeck.cli.entry import run

        code = run()
    except KeyboardInterrupt:
        print("batchdeck: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
