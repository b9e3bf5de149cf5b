"""Eigenvalues from a sample of the examples, against those of the whole Hessian of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lossatlas import spectrum
from lossatlas.loss.loss import Loss
from lossatlas.loss.single_examples import LinkedExamples
from lossatlas.operators.hessian import dense_hessian
from lossatlas.probes import sampled_spectrum

EXAMPLES = 8000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def loss() -> Loss:
    inputs = torch.randn(EXAMPLES, 3, generator=seeded(1))
    targets = (inputs[:, 0] * inputs[:, 1] + 0.4 * torch.randn(EXAMPLES, generator=seeded(2)) > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 2)).double()
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(150):
            optimizer.zero_grad()
            cross_entropy(network(inputs.double()), targets).backward()
            optimizer.step()
    return Loss.of(network, (inputs.double(), targets), nn.CrossEntropyLoss())


@pytest.fixture(scope="module")
def truth(loss) -> np.ndarray:
    """Every eigenvalue of the Hessian of all examples, the largest first."""
    matrix = dense_hessian(loss, loss.theta)
    return torch.linalg.eigvalsh((matrix + matrix.T) / 2).flip(0).numpy()


def test_the_error_of_the_sample_holds_in_nineteen_of_twenty_draws(loss, truth):
    held = []
    for seed in range(30):
        found = spectrum(loss, loss.theta, generator=seeded(seed), k=3, samples=4, examples=400, check=False)
        assert int(found.sampled_examples) == 400
        held.append(np.abs(found.eigenvalues.values - truth[:3]) <= found.sampling_error.values)
    assert np.mean(held) >= 0.93


def test_it_is_smaller_with_more_examples(loss, truth):
    errors = [
        np.mean([
            float(spectrum(loss, loss.theta, generator=seeded(seed), k=1, samples=2, examples=count, check=False)
                  .sampling_error[0])
            for seed in range(6)
        ])
        for count in (200, 1800)
    ]  # fmt: skip
    assert errors[1] < errors[0] / 1.8
    assert errors[1] < 0.3 * truth[0]


def test_the_trace_has_both_errors(loss, truth):
    off = []
    for seed in range(12):
        found = spectrum(loss, loss.theta, generator=seeded(seed), k=2, samples=20, examples=600, check=False)
        error = np.hypot(float(found.trace_error), float(found.trace_sampling_error))
        off.append(abs(float(found.trace) - truth.sum()) / error)
    assert np.mean(np.array(off) < 3) >= 0.9


def test_by_itself_a_sample_grows_until_the_error_is_a_tenth(loss, truth, monkeypatch):
    monkeypatch.setattr(sampled_spectrum, "SAMPLED_OPERATIONS", 0)
    monkeypatch.setattr(sampled_spectrum, "FIRST_EXAMPLES", 64)
    found = spectrum(loss, loss.theta, generator=seeded(0), k=2, samples=4, check=False)
    largest = float(found.eigenvalues[0])
    assert 64 <= int(found.sampled_examples) <= EXAMPLES / 2
    assert float(found.sampling_error[0]) <= 0.1 * largest or int(found.sampled_examples) * 3 > EXAMPLES / 2
    assert abs(largest - truth[0]) <= float(found.sampling_error[0]) + 0.02 * truth[0]
    every = spectrum(loss, loss.theta, generator=seeded(0), k=2, samples=4, check=False, examples="all")
    assert "sampled_examples" not in every
    np.testing.assert_allclose(every.eigenvalues.values, truth[:2], rtol=1e-3)


def test_a_sum_is_scaled_to_all_examples(loss, truth):
    data = next(iter(loss._components.data))
    summed = Loss.of(loss.module, data, nn.CrossEntropyLoss(reduction="sum"))
    total = len(data[1])
    found = spectrum(summed, summed.theta, generator=seeded(0), k=1, samples=2, examples=total // 4, check=False)
    whole = spectrum(summed, summed.theta, generator=seeded(0), k=1, samples=2, examples="all", check=False)
    assert abs(float(found.eigenvalues[0] - whole.eigenvalues[0])) <= float(found.sampling_error[0])
    assert float(whole.eigenvalues[0]) > 10 * truth[0]


@pytest.mark.parametrize("wrong", [3, EXAMPLES - 1, "few"])
def test_a_number_that_cannot_be_had_is_refused(loss, wrong):
    with pytest.raises(ValueError, match="wanted 'auto', 'all', or 16 to 4,000"):
        spectrum(loss, loss.theta, generator=seeded(0), k=1, examples=wrong)


def test_examples_that_see_each_other_are_refused(loss):
    data = next(iter(loss._components.data))
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0], dtype=torch.float64))
    weighted = Loss.of(loss.module, data, criterion)
    with pytest.raises(LinkedExamples, match="cannot be told apart; wanted examples='all'"):
        spectrum(weighted, weighted.theta, generator=seeded(0), k=1, examples=100)
