"""How a person wants the console, whichever command opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

CONSOLE = {
    "no-color": ("NO_COLOR", "1", "Shapes and weights only."),
    "ascii": ("BATCHDECK_ASCII", "1", "Nothing but ASCII on the screen."),
    "reduced-motion": ("BATCHDECK_REDUCED_MOTION", "1", "Two frames a second; nothing slides or blinks."),
    "bell": ("BATCHDECK_BELL", "1", "Ring when the run has ended."),
    "notify": ("BATCHDECK_NOTIFY", "1", "Have the terminal notify the desktop when the run has ended."),
    "no-mouse": ("BATCHDECK_MOUSE", "0", "Leave the mouse to the terminal."),
}
"""Options of the console: each is a variable of the environment as well, and a switch in its preferences."""


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command. Each is said to the console through the environment."""

    def told(ctx: click.Context, option: click.Parameter, is_given: bool) -> None:
        if is_given:
            variable, value, _ = CONSOLE[str(option.name).replace("_", "-")]
            os.environ[variable] = value

    for name, (_, _, words) in reversed(CONSOLE.items()):
        function = click.option(f"--{name}", is_flag=True, expose_value=False, callback=told, help=words)(function)
    return function
