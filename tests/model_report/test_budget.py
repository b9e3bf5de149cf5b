"""`lossatlas probe` with a budget of time, and one that is killed: what was measured is kept, and the same command goes
on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lossatlas.cli import main
from lossatlas.model_report.run import Budget
from lossatlas.results.storage import read_result
from lossatlas.work import Work

ASKED = ["--probes", "random_line", "random_plane", "--steps", "21"]


def test_time_is_shared_by_cost(monkeypatch):
    now = 100.0
    monkeypatch.setattr("lossatlas.model_report.run.time", type("time", (), {"monotonic": staticmethod(lambda: now)}))
    budget = Budget.of("40 s", [1.0, 3.0])
    assert budget.deadline() == 130.0  # the costliest starts first
    now = 110.0  # it was done before
    assert budget.deadline() == 140.0
    assert Budget.of(None, [1.0]).deadline() is None


def test_what_ended_early_says_so_and_goes_on(problem_file, tmp_path, monkeypatch, capsys):
    plane = ["--probes", "random_plane", "--steps", "21"]
    command = ["probe", f"{problem_file}:problem", "--out", str(tmp_path / "out"), *plane]
    asked = 0

    def over(self):
        nonlocal asked
        asked += self.deadline is not None
        return asked > 25

    monkeypatch.setattr("lossatlas.probes.sampling.NODES_OPERATIONS", 0)
    monkeypatch.setattr(Work, "over", property(over))
    main([*command, "--budget", "1 h"])
    part = read_result(tmp_path / "out" / "results" / "random_plane.nc")
    assert part.attrs["stopped"] == "by its share of the budget"
    assert 12 <= int(part.measured.sum()) < 30
    assert (tmp_path / "out" / "results" / ".random_plane.journal").is_file()
    ended = "was ended by its share of the budget, before it was done"
    assert ended in (tmp_path / "out" / "report.md").read_text()
    capsys.readouterr()
    monkeypatch.setattr(Work, "over", property(lambda self: False))
    assert main(command) == 0
    whole = read_result(tmp_path / "out" / "results" / "random_plane.nc")
    assert "stopped" not in whole.attrs
    assert ended not in (tmp_path / "out" / "report.md").read_text()
    assert not list((tmp_path / "out" / "results").glob(".*.journal"))
    assert main(["probe", f"{problem_file}:problem", "--out", str(tmp_path / "other"), *plane]) == 0
    again = read_result(tmp_path / "other" / "results" / "random_plane.nc")
    assert whole.identical(again)
    assert "nothing is left to measure" not in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["soon", "-1"])
def test_a_budget_that_is_no_time_is_one_line(problem_file, tmp_path, wrong, capsys):
    command = ["probe", f"{problem_file}:problem", "--out", str(tmp_path / "out"), f"--budget={wrong}"]
    assert main(command) == 2
    assert "wanted seconds, or a text such as" in " ".join(capsys.readouterr().err.split())


def test_the_first_line_comes_before_the_data_are_read(problem_file, tmp_path, capsys):
    main(["probe", f"{problem_file}:problem", "--out", str(tmp_path / "out"), "--probes", "random_line"])
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "Digits: 610 parameters, reading the data"
    assert second.startswith("Digits: all 610 parameters, 200 train examples, loss ")


@pytest.mark.slow
def test_a_killed_probe_goes_on_to_the_same_bytes(problem_file, tmp_path):
    """Ten kills at moments of its own; the results are those of a run that nobody killed."""
    command = [sys.executable, "-m", "lossatlas", "probe", f"{problem_file}:problem", *ASKED, "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    for number in range(10):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        time.sleep(2 + 0.35 * number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    for name in ("random_line.nc", "random_plane.nc"):
        one, other = ((tmp_path / folder / "results" / name).read_bytes() for folder in ("whole", "killed"))
        assert one == other
