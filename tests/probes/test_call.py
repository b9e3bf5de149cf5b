"""Every probe can be bounded, watched, stopped and gone on with, by the same three keywords."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas
from lossatlas import PROBES, Loss, interpolate, random_plane, spectral_density, spectrum
from lossatlas.loss import toys
from lossatlas.probes.call import KEYWORDS
from lossatlas.work import Journal, Stopped, Work, working


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Clock:
    """A clock that moves by a second whenever a module is asked."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Ticking(nn.Module):
    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
        self.passes = 0

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.fixture
def data():
    inputs = torch.randn(400, 3, generator=seeded(0))
    return inputs, (inputs[:, 0] > inputs[:, 1] ** 2).long()


@pytest.fixture
def loss(data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Loss.of(Ticking(), data, nn.CrossEntropyLoss())


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock of a call takes a second."""
    found = Clock()

    def look() -> float:
        found.now += 1.0
        return found.now

    monkeypatch.setattr("lossatlas.work.time", type("time", (), {"monotonic": staticmethod(look)}))
    monkeypatch.setattr("lossatlas.probes.call.time", type("time", (), {"monotonic": staticmethod(found.monotonic)}))
    return found


def test_every_probe_takes_them_and_says_so():
    for probe in PROBES:
        parameters = inspect.signature(getattr(lossatlas, probe.name)).parameters
        assert [name for name in parameters if name in KEYWORDS] == list(KEYWORDS)
        assert all(f"        {name}: " in (probe.function.__doc__ or "") for name in KEYWORDS)


def one_node_at_a_time(monkeypatch):
    monkeypatch.setattr("lossatlas.probes.sampling.NODES_OPERATIONS", 0)


def test_a_budget_gives_the_surface_that_can_be_had_with_its_larger_error(loss, clock, monkeypatch):
    one_node_at_a_time(monkeypatch)
    part = random_plane(loss, loss.theta, generator=seeded(1), steps=21, budget="60 s")
    assert part.attrs["stopped"] == "by its budget of 60 s"
    assert 12 <= int(part.measured.sum()) < 62
    every = random_plane(loss, loss.theta, generator=seeded(1), steps=21, exact=True)
    assert "stopped" not in every.attrs
    np.testing.assert_allclose(part.loss.values[part.measured], every.loss.values[part.measured], rtol=1e-6)
    off = np.abs(part.loss - every.loss).values
    assert off.max() > 0
    assert (off <= part.loss_error + 1e-6).mean() > 0.99
    more = random_plane(loss, loss.theta, generator=seeded(1), steps=21, budget=10_000)
    assert "stopped" not in more.attrs
    assert int(more.measured.sum()) > int(part.measured.sum())


def test_a_surface_without_enough_nodes_says_what_was_done(loss, clock, monkeypatch):
    one_node_at_a_time(monkeypatch)
    with pytest.raises(TimeoutError, match=r"a budget of 8 s was over after \d evaluations and 0 products, without a"):
        random_plane(loss, loss.theta, generator=seeded(1), steps=21, budget=8)


def test_eigenvalues_that_are_found_in_time_carry_their_residuals(loss, clock):
    part = spectrum(loss, loss.theta, generator=seeded(0), k=3, tol=1e-8, budget=14, mixed=False, check=False)
    whole = spectrum(loss, loss.theta, generator=seeded(0), k=3, tol=1e-8, mixed=False, check=False)
    assert part.attrs["stopped"].startswith("by its budget")
    assert not bool(part.converged)
    assert bool(whole.converged)
    assert int(part.products) < int(whole.products)
    for found, residual in zip(part.eigenvalues.values, part.residuals.values, strict=True):
        assert np.abs(whole.eigenvalues.values - found).min() <= residual or residual > 0.01
    assert np.isnan(part.trace)


def test_a_density_of_fewer_steps_is_a_density(loss, clock):
    part = spectral_density(loss, loss.theta, generator=seeded(0), draws=2, steps=40, budget=40)
    whole = spectral_density(loss, loss.theta, generator=seeded(0), draws=2, steps=40)
    assert part.attrs["stopped"].startswith("by its budget")
    assert int(part.products) < int(whole.products)
    assert float(part.trace) == pytest.approx(float(whole.trace), abs=4 * float(whole.trace_error) + 1e-9)


@pytest.mark.parametrize("wrong", ["soon", "-3", 0, "5 days", ""])
def test_a_budget_that_is_no_time_is_refused(loss, wrong):
    with pytest.raises(ValueError, match="wanted seconds, or a text such as"):
        random_plane(loss, loss.theta, generator=seeded(1), steps=5, budget=wrong)


@pytest.fixture
def keyboard():
    """Ctrl-C as in a shell: what was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_gives_what_there_is(loss, monkeypatch):
    one_node_at_a_time(monkeypatch)
    asked = []

    def press(count):
        asked.append(count)
        if len(asked) == 40:
            os.kill(os.getpid(), signal.SIGINT)

    part = random_plane(loss.watched(press), loss.theta, generator=seeded(1), steps=21)
    assert part.attrs["stopped"] == "by Ctrl-C"
    assert 39 <= int(part.measured.sum()) <= 41
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_without_a_result_is_what_it_always_is(loss):
    def press(count):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="without a result"):
        interpolate(loss.watched(press), 0 * loss.theta, loss.theta, steps=200)


def test_the_same_call_goes_on_in_its_folder(data, tmp_path, clock, monkeypatch):
    one_node_at_a_time(monkeypatch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Ticking()
    counts: list[int] = []
    loss = Loss.of(net, data, nn.CrossEntropyLoss()).watched(counts.append)

    def ask(**keywords):
        return random_plane(loss, loss.theta, generator=seeded(1), steps=21, folder=tmp_path, **keywords)

    part = ask(budget=60)
    assert "stopped" in part.attrs
    first = work_of(lambda: ask(budget=90))
    whole = ask()
    assert "stopped" not in whole.attrs
    assert whole.identical(random_plane(loss, loss.theta, generator=seeded(1), steps=21))
    before = len(counts)
    assert ask().identical(whole)
    assert len(counts) == before
    assert first is not None


def work_of(call):
    return call()


def test_another_call_does_not_take_what_was_kept_for_this_one(data, loss, tmp_path):
    one = interpolate(loss, 0 * loss.theta, loss.theta, steps=5, folder=tmp_path)
    other_data = Loss.of(Ticking(), (data[0] + 1, data[1]), nn.CrossEntropyLoss())
    zero = 0 * loss.theta
    for losses, start, steps in [(loss, loss.theta * 0.5, 5), (loss, zero, 7), (other_data, zero, 5)]:
        kept = interpolate(losses, start, loss.theta, steps=steps, folder=tmp_path)
        assert kept.identical(interpolate(losses, start, loss.theta, steps=steps))
        assert not kept.identical(one)


@pytest.mark.parametrize("damage", [lambda whole: whole[:40], lambda whole: b"", lambda whole: b"x" + whole[1:]])
def test_a_damaged_result_is_made_again(loss, tmp_path, damage):
    def ask():
        return interpolate(loss, 0 * loss.theta, loss.theta, steps=5, folder=tmp_path)

    whole, file = ask(), tmp_path / "interpolate.nc"
    file.write_bytes(damage(file.read_bytes()))
    assert ask().identical(whole)
    assert ask().identical(whole)


def test_a_killed_call_goes_on(tmp_path):
    """The first process dies in the middle; the second measures the rest only, to the same numbers."""
    code = textwrap.dedent(
        """
        import os, sys, torch, lossatlas
        from torch import nn
        torch.manual_seed(0)
        net, x = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)), torch.randn(50, 3)
        seen = []
        def count(points):
            seen.append(points)
            if len(sys.argv) > 2 and sum(seen) >= int(sys.argv[2]):
                os._exit(9)
        loss = lossatlas.Loss.of(net, (x, x[:, :1] ** 2), nn.MSELoss(), memory=1)
        loss = loss.watched(count)
        line = lossatlas.interpolate(loss, 0 * loss.theta, loss.theta, steps=300, folder=sys.argv[1], examples="all")
        print(sum(seen), line.loss.values.sum())
        """
    )

    def run(*arguments):
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    killed = run(str(tmp_path / "kept"), "120")
    assert killed.returncode == 9
    again, fresh = run(str(tmp_path / "kept")), run(str(tmp_path / "other"))
    assert again.returncode == fresh.returncode == 0, again.stderr + fresh.stderr
    assert again.stdout.split()[1] == fresh.stdout.split()[1]


def test_a_journal_forgets_what_is_not_whole(tmp_path):
    path = tmp_path / "answers"
    journal = Journal(path, b"call")
    questions = [torch.tensor([float(number)]) for number in range(5)]
    for question in questions:
        journal.answer(question, lambda question=question: question * 2)
    journal.close()
    size = path.stat().st_size
    for damage in (lambda raw: raw[: size - 3], lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:]):
        path.with_name("damaged").write_bytes(damage(path.read_bytes()))
        again, asked = Journal(path.with_name("damaged"), b"call"), []
        for question in questions:
            answer = again.answer(question, lambda question=question, asked=asked: asked.append(1) or question * 2)
            assert torch.equal(answer, question * 2)
        again.close()
        assert 0 < len(asked) < 5


def test_progress_says_what_is_done(loss, capsys):
    random_plane(loss, loss.theta, generator=seeded(1), steps=9, progress=True)
    assert "random_plane: " in capsys.readouterr().err
    random_plane(loss, loss.theta, generator=seeded(1), steps=9, progress=False)
    assert capsys.readouterr().err == ""


def test_time_that_is_left_is_that_of_the_clock():
    assert Work().seconds_left == float("inf")
    assert 4 < Work(time.monotonic() + 5).seconds_left <= 5
    with working(Work(time.monotonic() - 1)), pytest.raises(Stopped):
        toys.bowl(2)(torch.zeros(2))
