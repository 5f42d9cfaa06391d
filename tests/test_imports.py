"""What may be loaded where: the core draws nothing, and a command loads no more than it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "core" / "batchdeck"
DRAWING = {"textual", "rich", "plotext", "textual_plotext", "batchdeck_tui"}
HEAVY = {"jinja2", "httpx", "aiohttp", "sqlite_utils", "click", "uvloop", "genai_prices", "asyncio"}


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``code``."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def imported(path: Path) -> set[str]:
    """The top packages that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_no_file_of_the_core_imports_what_draws(path: Path) -> None:
    assert not imported(path) & DRAWING


def test_the_whole_core_loads_no_console() -> None:
    """Everything together in one process. httpx's own command line loads Rich, so Rich is judged by the test above."""
    names = [".".join(path.relative_to(CORE.parent).with_suffix("").parts) for path in sorted(CORE.rglob("*.py"))]
    modules = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    assert "batchdeck.store.reader" in modules
    code = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    assert not loaded(code) & (DRAWING - {"rich"})


@pytest.mark.parametrize(
    "code",
    [
        "import batchdeck",
        "from batchdeck import run_batch",
        "import batchdeck.model, batchdeck.config, batchdeck.lock, batchdeck.inert, batchdeck.errors",
        "import batchdeck.inputs.open, batchdeck.inputs.check, batchdeck.prompts",
        "import batchdeck.store.reader",
        "import batchdeck.export, batchdeck.format",
    ],
)
def test_what_is_light_stays_light(code: str) -> None:
    assert not loaded(code) & (HEAVY | DRAWING)


def test_a_plain_import_loads_nothing_but_itself() -> None:
    """Every command pays for it."""
    assert loaded("import batchdeck") - loaded("import __future__, typing") == {"batchdeck", "batchdeck.version"}


@pytest.mark.parametrize("verb", ["ls", "show", "export"])
def test_a_command_that_reads_loads_only_the_command_line(verb: str) -> None:
    assert not loaded(f"import batchdeck.cli.{verb}") & ((HEAVY - {"click"}) | DRAWING)
    assert "sqlite3" not in loaded(f"import batchdeck.cli.{verb}")
