"""The README as a newcomer follows it: the base installation, an empty folder, block after block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()

# What `pip install .` does not bring: importing one of these fails as it does for a newcomer.
EXTRA = ("sklearn", "pydantic", "filelock", "threadpoolctl", "typst", "torchmetrics", "duckdb", "polars", "lightning")
BARE = f"import sys; sys.modules.update(dict.fromkeys({EXTRA!r})); sys.argv = sys.argv[1:]; "
COMMAND = "from lossatlas.cli import main; sys.exit(main(sys.argv[1:]))"
SCRIPT = "sys.path.insert(0, ''); exec(open(sys.argv[0]).read())"


def newcomer(folder: Path, code: str, *words: str) -> str:
    """What a process prints that lacks the extra packages."""
    environment = {**os.environ, "MPLBACKEND": "agg", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", BARE + code, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the file that the README writes."""
    folder = tmp_path_factory.mktemp("newcomer")
    model, _ = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    (folder / "my_model.py").write_text(model)
    return folder


def test_the_lines_of_python_leave_a_picture(folder):
    _, lines = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    (folder / "lines.py").write_text(lines)
    newcomer(folder, SCRIPT, "lines.py")
    assert (folder / "plane.png").stat().st_size > 10_000


def test_the_commands_of_the_base_installation_work(folder):
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^lossatlas (?:probe|check).*$", README, re.M)]
    assert [words[1] for words in commands] == ["probe", "probe", "check", "check"]
    for words in commands:
        said = newcomer(folder, COMMAND, *words)
        if words[1] == "probe":
            assert "Sequential: all 162 parameters, 1,000 train examples" in said
        if "--problem" in words:
            assert "9 of 9 passed" in said
    for out in ("landscape", "two"):
        assert (folder / out / "report.html").is_file()
