"""Every command of the console, declared once: keys, footer, palette and help screen are made from this table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

Scope = Literal["app", "runs", "run", "columns", "events", "tune", "limits", "launch"]
TITLES: dict[Scope, str] = {
    "run": "In a run",
    "columns": "In the list of columns",
    "events": "In the log of events",
    "tune": "On the tune screen",
    "limits": "In the form of limits",
    "runs": "In the list of runs",
    "launch": "New run",
    "app": "Everywhere",
}

_CAP = Binding.Group("cap", compact=True)
_TENS = Binding.Group("by ten", compact=True)


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One thing that a person can have done.

    ``keys``: as Textual binds them. ``shown``: how a person reads them. ``label``: in the footer, which leaves out
    those with none. ``title`` and ``does``: in palette and help. ``priority``: carried out before the next key is
    handed to a widget.
    """

    scope: Scope
    keys: str
    shown: str
    action: str
    title: str
    does: str
    label: str = ""
    group: Binding.Group | None = None
    palette: bool = True
    priority: bool = False

    def binding(self) -> Binding:
        return Binding(
            self.keys,
            self.action,
            self.label or self.title,
            show=bool(self.label),
            key_display=self.shown.split()[0],
            tooltip=self.does,
            group=self.group,
            id=f"{self.scope}.{self.action}",
            priority=self.priority,
        )


VERBS: tuple[Verb, ...] = (
    Verb(
        scope="run",
        keys="+,=",
        shown="+ =",
        action="concurrency(1)",
        label="cap",
        group=_CAP,
        title="Concurrency +1",
        does="one more request at a time",
    ),
    Verb(
        scope="run",
        keys="-",
        shown="-",
        action="concurrency(-1)",
        label="cap",
        group=_CAP,
        title="Concurrency -1",
        does="one fewer; never below one",
    ),
    Verb(
        scope="run",
        keys="]",
        shown="]",
        action="concurrency(10)",
        title="Concurrency +10",
        does="ten more requests at a time",
    ),
    Verb(
        scope="run",
        keys="[",
        shown="[",
        action="concurrency(-10)",
        title="Concurrency -10",
        does="ten fewer; never below one",
    ),
    Verb(
        scope="run",
        keys="t",
        shown="t",
        action="tune",
        label="tune",
        title="Tune the concurrency",
        does="throughput at each concurrency, where more stops paying, and what to set",
    ),
    Verb(
        scope="run",
        keys="a",
        shown="a",
        action="autotune",
        title="Autotune on and off",
        does="the engine turns the concurrency by itself; again, take it back as it stands",
    ),
    Verb(
        scope="run",
        keys="L",
        shown="L",
        action="limits",
        label="limits",
        title="Limits and budgets",
        does="a form of all that can be changed; of a stopped run too",
    ),
    Verb(
        scope="run",
        keys="}",
        shown="}",
        action="rpm(1)",
        title="Requests a minute +10%",
        does="raise the limit, from what the account has or the run does now",
    ),
    Verb(
        scope="run",
        keys="{",
        shown="{",
        action="rpm(-1)",
        title="Requests a minute -10%",
        does="lower the limit",
    ),
    Verb(
        scope="run",
        keys="u",
        shown="u",
        action="undo",
        label="undo",
        title="Undo a change of limits",
        does="the last one made here; again, the one before",
    ),
    Verb(
        scope="run",
        keys="space",
        shown="␣ space",
        action="pause",
        label="pause",
        title="Pause",
        does="send nothing new; what is in flight ends",
    ),
    Verb(
        scope="run",
        keys="space",
        shown="␣ space",
        action="unpause",
        label="go on",
        title="Go on",
        does="end the pause",
    ),
    Verb(
        scope="run",
        keys="d",
        shown="d",
        action="drain",
        label="drain",
        title="Drain",
        does="end what is in flight, then stop; R goes on later",
    ),
    Verb(
        scope="run",
        keys="x",
        shown="x",
        action="cancel",
        label="cancel",
        title="Cancel",
        does="stop now and drop what is in flight (asks first)",
    ),
    Verb(
        scope="run",
        keys="R",
        shown="R",
        action="resume",
        label="resume",
        title="Resume",
        does="go on with what is not done; nothing done is sent again",
    ),
    Verb(
        scope="run",
        keys="r",
        shown="r",
        action="retry",
        label="retry",
        title="Retry failed items",
        does="queue every failed item again",
    ),
    Verb(
        scope="run",
        keys="enter",
        shown="⏎",
        action="open",
        label="detail",
        title="Detail of the row",
        does="prompt, whole answer and every attempt; ↑ ↓ move along",
    ),
    Verb(
        scope="run",
        keys="/",
        shown="/",
        action="search",
        label="find",
        title="Search",
        does="words in prompt, answer, error or id; also time>5s tok<10 cost>0.01 finish:length error:http_500",
        priority=True,
    ),
    Verb(
        scope="run",
        keys="n",
        shown="n",
        action="match(1)",
        title="Next match",
        does="the next row with the words searched for last; N, the one before",
    ),
    Verb(
        scope="run",
        keys="N",
        shown="N",
        action="match(-1)",
        title="Match before",
        does="the row before with the words searched for last",
    ),
    Verb(
        scope="run",
        keys=":",
        shown=":",
        action="goto",
        title="Go to a row",
        does="by its number, by 50% of the way, or by its custom_id",
        priority=True,
    ),
    Verb(
        scope="run",
        keys="f",
        shown="f",
        action="filter",
        title="Filter by state",
        does="all, in flight, queued, done, failed; F goes the other way",
    ),
    Verb(
        scope="run",
        keys="F",
        shown="F",
        action="filter(-1)",
        title="Filter the other way",
        does="failed, done, queued, in flight, all",
    ),
    Verb(
        scope="run",
        keys="o",
        shown="o",
        action="columns",
        title="Columns and order",
        does="which columns, how wide, and by which the rows are ordered; a click on a title orders too",
    ),
    Verb(
        scope="run",
        keys="m",
        shown="m",
        action="mark",
        title="Mark the row",
        does="for r (retry) and E (export); once more, take the mark away",
    ),
    Verb(
        scope="run",
        keys="*",
        shown="*",
        action="mark_all",
        title="Mark all rows listed",
        does="once more, take their marks away",
    ),
    Verb(
        scope="run",
        keys="M",
        shown="M",
        action="unmark",
        title="Take all marks away",
        does="of rows that are not listed too",
    ),
    Verb(
        scope="run",
        keys="E",
        shown="E",
        action="export",
        title="Export rows",
        does="the marked ones, else those listed, to a JSONL or CSV file",
    ),
    Verb(
        scope="run",
        keys="y",
        shown="y",
        action="copy",
        title="Copy the answer",
        does="of the marked rows, else of the one under the cursor, to the terminal's clipboard",
    ),
    Verb(
        scope="run",
        keys="e",
        shown="e",
        action="events",
        title="Log of events",
        does="every turn of a knob, pause, limit and stop, with its time",
    ),
    Verb(
        scope="run",
        keys="w",
        shown="w",
        action="window",
        title="Time that the charts show",
        does="the whole run, the last hour, ten minutes, one minute",
    ),
    Verb(
        scope="run",
        keys="l",
        shown="l",
        action="follow",
        title="Follow the live rows",
        does="keep the newest row in flight in view, as at first; moving about ends it",
    ),
    Verb(
        scope="run",
        keys="c",
        shown="c",
        action="charts",
        title="Charts on and off",
        does="more room for the table",
    ),
    Verb(
        scope="run",
        keys="escape",
        shown="esc",
        action="back",
        title="Back",
        does="close the detail, clear search and filter, then go to the list of runs",
    ),
    Verb(
        scope="run",
        keys="q",
        shown="q",
        action="detach",
        label="detach",
        title="Detach",
        does="back to the shell; the run goes on",
    ),
    Verb(
        scope="columns",
        keys="space",
        shown="␣ space",
        action="turn",
        title="Show or hide",
        does="the column under the cursor",
        palette=False,
    ),
    Verb(
        scope="columns",
        keys="+,=",
        shown="+ =",
        action="width(1)",
        title="Wider",
        does="by one cell; what is left over is the answer's",
        palette=False,
    ),
    Verb(scope="columns", keys="-", shown="-", action="width(-1)", title="Narrower", does="by one cell", palette=False),
    Verb(
        scope="columns",
        keys="o",
        shown="⏎ o",
        action="order",
        title="Order the rows by it",
        does="the largest first; again, the other way; again, as in the input",
        palette=False,
    ),
    Verb(
        scope="columns",
        keys="0",
        shown="0",
        action="reset",
        title="As at first",
        does="the usual columns and widths",
        palette=False,
    ),
    Verb(
        scope="columns",
        keys="escape,q",
        shown="esc q",
        action="close",
        title="Close the list",
        does="what was chosen is kept",
        palette=False,
    ),
    Verb(
        scope="events",
        keys="f",
        shown="f",
        action="kind(1)",
        label="kind",
        title="Only one kind",
        does="turns through the kinds of events; F goes the other way",
    ),
    Verb(
        scope="events",
        keys="F",
        shown="F",
        action="kind(-1)",
        title="The kind before",
        does="turns the other way",
    ),
    Verb(
        scope="events",
        keys="escape,e,q",
        shown="esc e",
        action="back",
        label="back",
        title="Back to the run",
        does="the log goes on being written",
    ),
    Verb(
        scope="tune",
        keys="enter",
        shown="⏎",
        action="set",
        label="set it",
        title="Set what is recommended",
        does="the best level, or while too little is known the next one to measure",
    ),
    Verb(
        scope="tune",
        keys="+,=",
        shown="+ =",
        action="concurrency(1)",
        label="cap",
        group=_CAP,
        title="Concurrency +1",
        does="one more request at a time",
    ),
    Verb(
        scope="tune",
        keys="-",
        shown="-",
        action="concurrency(-1)",
        label="cap",
        group=_CAP,
        title="Concurrency -1",
        does="one fewer; never below one",
    ),
    Verb(
        scope="tune",
        keys="]",
        shown="]",
        action="concurrency(10)",
        label="by ten",
        group=_TENS,
        title="Concurrency +10",
        does="ten more requests at a time",
    ),
    Verb(
        scope="tune",
        keys="[",
        shown="[",
        action="concurrency(-10)",
        label="by ten",
        group=_TENS,
        title="Concurrency -10",
        does="ten fewer; never below one",
    ),
    Verb(
        scope="tune",
        keys="s",
        shown="s",
        action="sweep",
        label="sweep",
        title="Sweep",
        does="measure several levels in a row, with items of this run (asks first)",
    ),
    Verb(
        scope="tune",
        keys="s",
        shown="s",
        action="end_sweep",
        label="end sweep",
        title="End the sweep",
        does="what it measured so far stays",
    ),
    Verb(
        scope="tune",
        keys="a",
        shown="a",
        action="autotune",
        label="auto",
        title="Autotune on and off",
        does="the engine turns the concurrency by itself; again, take it back as it stands",
    ),
    Verb(
        scope="tune",
        keys="escape,t",
        shown="esc t",
        action="back",
        label="back",
        title="Back to the run",
        does="what was measured is kept",
    ),
    Verb(
        scope="tune",
        keys="q",
        shown="q",
        action="detach",
        title="Detach",
        does="back to the shell; the run goes on",
    ),
    Verb(
        scope="limits",
        keys="ctrl+s",
        shown="^s",
        action="apply",
        title="Apply the changes",
        does="all at once; a run without an engine is resumed with them",
        priority=True,
    ),
    Verb(
        scope="limits",
        keys="down,tab",
        shown="↓ tab",
        action="app.focus_next",
        title="Next field",
        does="↑ and shift+tab go back",
        palette=False,
        priority=True,
    ),
    Verb(
        scope="limits",
        keys="escape",
        shown="esc",
        action="leave",
        title="Leave the form",
        does="nothing is changed",
        palette=False,
    ),
    Verb(
        scope="runs",
        keys="enter",
        shown="⏎",
        action="open",
        label="open",
        title="Open the run",
        does="watch it, or look at its results",
    ),
    Verb(scope="runs", keys="n", shown="n", action="launch", label="new run", title="New run", does="launch a batch"),
    Verb(
        scope="runs",
        keys="R",
        shown="R",
        action="resume",
        label="resume",
        title="Resume the run",
        does="go on with what is not done, and watch it",
    ),
    Verb(
        scope="runs",
        keys="/",
        shown="/",
        action="search",
        label="filter",
        title="Filter the list",
        does="only runs whose name, model, provider or state contains the words",
        priority=True,
    ),
    Verb(
        scope="runs",
        keys="escape",
        shown="esc",
        action="back",
        title="Show all runs",
        does="clear the filter",
    ),
    Verb(scope="runs", keys="q", shown="q", action="quit", label="quit", title="Leave", does="runs go on without it"),
    Verb(
        scope="launch",
        keys="ctrl+s",
        shown="^s",
        action="start",
        label="start",
        title="Start the run",
        does="launch it and watch it",
        priority=True,
    ),
    Verb(
        scope="launch",
        keys="tab",
        shown="tab",
        action="app.focus_next",
        label="next field",
        title="Next field",
        does="shift+tab goes back, → takes the suggested path",
        palette=False,
    ),
    Verb(
        scope="launch",
        keys="escape",
        shown="esc",
        action="back",
        label="back",
        title="Back to the list",
        does="nothing is launched",
    ),
    Verb(
        scope="app",
        keys="?",
        shown="?",
        action="help",
        label="help",
        title="Help",
        does="all keys, and what the columns and charts say",
    ),
    Verb(
        scope="app",
        keys="ctrl+p",
        shown="^p",
        action="command_palette",
        title="Command palette",
        does="every command by name; themes too",
        palette=False,
    ),
    Verb(
        scope="app",
        keys="ctrl+z",
        shown="^z",
        action="suspend_process",
        title="Suspend",
        does="back to the shell; fg returns",
        palette=False,
    ),
)


def bindings(scope: Scope) -> list[BindingType]:
    """The key bindings of one screen (or of the app)."""
    return [verb.binding() for verb in VERBS if verb.scope == scope]


def verbs(scope: Scope) -> list[Verb]:
    return [verb for verb in VERBS if verb.scope == scope]


def palette(screen: Screen[object]) -> Iterable[SystemCommand]:
    """The commands that apply on this screen now, for the command palette."""
    scope = getattr(screen, "SCOPE", None)
    for verb in VERBS:
        if not verb.palette or verb.scope not in (scope, "app"):
            continue
        node = screen.app if verb.scope == "app" else screen
        name, _, rest = verb.action.partition("(")
        # The same question that greys the footer: what does not apply is not offered.
        if node.check_action(name, (rest,) if rest else ()) is not True:
            continue

        async def carry_out(action: str = verb.action, node: object = node) -> None:
            await screen.app.run_action(action, default_namespace=node)  # type: ignore[arg-type]

        # Textual reads this text as markup, and one of our keys opens a tag.
        yield SystemCommand(verb.title, f"{verb.shown}   {verb.does}".replace("[", r"\["), carry_out)
