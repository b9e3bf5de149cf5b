from __future__ import annotations

import io
import os
import signal

import pytest
from rich.console import Console

from lossatlas.errors import WorkersDied
from lossatlas.execution.jobs import Job, run_jobs
from lossatlas.execution.processes import start_workers
from lossatlas.execution.progress import Progress
from tests.study.tiny import quiet


def work(name: str) -> dict[str, float]:
    return {name: 1.0, "all": 0.5}


def threads() -> dict[str, float]:
    import torch

    return {"threads": torch.get_num_threads()}


def fail() -> dict[str, float]:
    raise ValueError("this one fails")


def die() -> dict[str, float]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_jobs_add_up_and_each_worker_has_one_thread():
    with start_workers(2) as pool:
        seconds = run_jobs(pool, [Job(work, (name,), 1.0) for name in "aab"], quiet(), "work")
        assert seconds == {"a": 2.0, "b": 1.0, "all": 1.5}
        assert run_jobs(pool, [Job(threads, (), 1.0)], quiet(), "work") == {"threads": 1}
        assert run_jobs(pool, [], quiet(), "nothing") == {}


def test_the_exception_of_a_job_comes_through():
    with start_workers(1) as pool, pytest.raises(ValueError, match="this one fails"):
        run_jobs(pool, [Job(fail, (), 1.0), Job(work, ("a",), 1.0)], quiet(), "work")


def test_a_worker_killed_from_outside_is_told():
    with (
        start_workers(1) as pool,
        pytest.raises(WorkersDied, match=r"a worker process was killed.*run the same command"),
    ):
        run_jobs(pool, [Job(die, (), 1.0)], quiet(), "work")


def test_without_a_terminal_progress_is_plain_lines(monkeypatch):
    monkeypatch.setattr("lossatlas.execution.progress.SECONDS_BETWEEN_LINES", -1.0)
    text = io.StringIO()
    with Progress(Console(file=text)).stage("probes", 4, 8.0) as advance:
        advance(2.0)
        advance(2.0)
    lines = text.getvalue().splitlines()
    assert lines[0] == "probes: 4 to do"
    assert lines[1].startswith("probes: 1 of 4, about")
    assert lines[2] == "probes: 2 of 4, about 0 s left"
    assert lines[-1].startswith("probes: done in")


def test_a_terminal_gets_a_bar():
    text = io.StringIO()
    with Progress(Console(file=text, force_terminal=True, width=80)).stage("probes", 2, 2.0) as advance:
        advance(1.0)
    assert "1/2" in text.getvalue()
