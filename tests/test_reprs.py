"""What users print says in one line what it is."""

from __future__ import annotations

import torch
from torch import nn

import lossatlas as la

MODEL = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2))
DATA = (torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64))


def test_a_recorder(tmp_path):
    optimizer = torch.optim.SGD(MODEL.parameters(), 0.1)
    recorder = la.Recorder(MODEL, "somewhere", every=20)
    assert repr(recorder) == (
        "Recorder(Sequential, 242 parameters, into 'somewhere' every 20 steps: 0 done, nothing written last)"
    )
    with la.Recorder(MODEL, tmp_path, every=2, optimizer=optimizer) as recorder:
        for _ in range(3):
            nn.functional.cross_entropy(MODEL(DATA[0]), DATA[1]).backward()
            optimizer.step()
        assert repr(recorder).endswith("every 2 steps: 3 done, step 2 written last)")
    assert repr(recorder).endswith("3 done, step 3 written last)")


def test_a_problem():
    plain = la.Problem(MODEL, DATA)
    assert repr(plain) == "Problem(Sequential, the module's own loss)"
    full = la.Problem(
        MODEL, DATA, nn.CrossEntropyLoss(), test_data=DATA, metrics={"accuracy": la.accuracy}, checkpoints="folder",
        solutions={"a": MODEL, "b": MODEL}, options={"batch_size": 2}, name="Digits",
    )  # fmt: skip
    assert repr(full) == (
        "Problem(Digits, Sequential, criterion CrossEntropyLoss, test data, metrics accuracy, checkpoints, "
        "solutions a, b, options batch_size)"
    )


def test_a_layout():
    assert repr(la.Layout.of(MODEL)) == (
        "Layout(242 parameters: 0.weight (40, 3), 0.bias (40,), 2.weight (2, 40), 2.bias (2,))"
    )
    deep = nn.Sequential(*(nn.Linear(1, 1) for _ in range(30)))
    assert repr(la.Layout.of(deep)) == (
        "Layout(60 parameters: 0.weight (1, 1), 0.bias (1,), 1.weight (1, 1), 1.bias (1,), and 56 more)"
    )


def test_everything_public_prints_as_one_short_line():
    loss = la.Loss.of(MODEL, DATA, nn.CrossEntropyLoss())
    line = la.interpolate(loss, 0 * loss.theta, loss.theta, steps=3)
    for thing in (loss, loss.layout, line.atlas, la.Recorder(MODEL, "x"), la.Problem(MODEL, DATA), *la.PROBES):
        text = repr(thing)
        assert len(text) < 200
        assert "\n" not in text
        assert " object at 0x" not in text
