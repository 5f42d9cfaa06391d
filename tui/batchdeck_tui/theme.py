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

LIGHT = Theme(
    name="batchdeck-light",
    primary="#1d6f86",
    secondary="#4a5fa0",
    accent="#8a5a00",
    success="#2c7a3a",
    warning="#8a6100",
    error="#b3332e",
    foreground="#1e252c",
    background="#fbfbf9",
    surface="#f1f2ef",
    panel="#e5e8e6",
    boost="#000000",
    dark=False,
    variables={
        "block-cursor-foreground": "#10161c",
        "block-cursor-background": "#bfdde6",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-foreground": "#1e252c",
        "block-cursor-blurred-background": "#dbe6ea",
        "border": "#5b98a8",
        "border-blurred": "#c2cacc",
        "footer-background": "#e5e8e6",
        "footer-key-foreground": "#1d6f86",
        "footer-description-foreground": "#4d5963",
    },
)
CONTRAST = Theme(
    name="batchdeck-contrast",
    primary="#4de1ff",
    secondary="#b8c8ff",
    accent="#ffd54a",
    success="#5dff8a",
    warning="#ffe14d",
    error="#ff8a80",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1a1a1a",
    boost="#ffffff",
    dark=True,
    variables={
        "block-cursor-foreground": "#000000",
        "block-cursor-background": "#ffffff",
        "block-cursor-blurred-foreground": "#ffffff",
        "block-cursor-blurred-background": "#404040",
        "border": "#ffffff",
        "footer-background": "#1a1a1a",
        "footer-key-foreground": "#4de1ff",
        "footer-description-foreground": "#ffffff",
    },
)
SAFE = Theme(
    # The colours of Okabe and Ito (2008), told apart with any kind of colour blindness.
    name="batchdeck-colour-blind",
    primary="#56b4e9",
    secondary="#cc79a7",
    accent="#f0e442",
    success="#009e73",
    warning="#e69f00",
    error="#d55e00",
    foreground="#dfe3e8",
    background="#0f1318",
    surface="#151b22",
    panel="#1b232c",
    boost="#ffffff",
    dark=True,
    variables={**DARK.variables, "footer-key-foreground": "#56b4e9"},
)
THEMES = (DARK, LIGHT, CONTRAST, SAFE)

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
