"""The console's own theme: calm greys, one cold colour for what lives, warm ones only for what wants attention."""

from __future__ import annotations

from textual.theme import Theme

from batchdeck.model import RunState

DARK = Theme(
    name="batchdeck",
    primary="#5fb3c8",
    secondary="#8aa4d6",
    accent="#e0af68",
    success="#7fc28c",
    warning="#e6b450",
    error="#e5736f",
    foreground="#d3d9e1",
    background="#0f1318",
    surface="#151b22",
    panel="#1b232c",
    boost="#ffffff",
    dark=True,
    variables={
        "block-cursor-foreground": "#eef3f7",
        "block-cursor-background": "#24424e",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-foreground": "#d3d9e1",
        "block-cursor-blurred-background": "#1d2c35",
        "border": "#3f7d8d",
        "border-blurred": "#2a3540",
        "footer-background": "#151b22",
        "footer-key-foreground": "#5fb3c8",
        "footer-description-foreground": "#8d99a6",
        "scrollbar": "#2c3845",
        "scrollbar-hover": "#3c4b5b",
        "scrollbar-active": "#5fb3c8",
        "scrollbar-background": "#0f1318",
        "scrollbar-background-hover": "#0f1318",
        "scrollbar-background-active": "#0f1318",
        "scrollbar-corner-color": "#0f1318",
        "input-selection-background": "#5fb3c8 35%",
    },
)

MUTED = "$foreground 55%"
"""A style for what is read second; ``$text-muted`` is no colour that text inside a line can take."""

STATES: dict[RunState, tuple[str, str]] = {
    "starting": ("…", "primary"),
    "running": ("▶", "success"),
    "paused": ("‖", "warning"),
    "draining": ("▽", "warning"),
    "done": ("✓", "foreground"),
    "drained": ("◇", "secondary"),
    "cancelled": ("×", "foreground"),
    "stopped": ("■", "error"),
    "interrupted": ("↯", "warning"),
    "failed": ("✗", "error"),
}
"""How a run's state looks in a list: a glyph, and a variable of the theme."""
