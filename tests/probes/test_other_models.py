"""No value is said to be another model's loss that is not: its buffers go along, or somebody says which are meant."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import lossatlas
from lossatlas import (
    Problem,
    interpolate,
    interpolate_by_weight_decay,
    linear_connectivity,
    model_plane,
    random_line,
    spectrum,
    trajectory_plane,
)
from lossatlas.errors import InputError
from lossatlas.loss.loss import Loss
from lossatlas.loss.other_models import with_buffers
from lossatlas.probes.connectivity.linear_connectivity import PROBE as CONNECTIVITY
from lossatlas.probes.probe import Subject
from lossatlas.probes.slices.interpolate import PROBE as INTERPOLATE
from lossatlas.probes.slices.model_plane import PROBE as PLANE
from tests.conftest import seeded

CRITERION = nn.CrossEntropyLoss()


class Average(nn.Module):
    """A norm that is none of torch's: it follows the mean of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(6))
        self.register_buffer("scale", torch.full((6,), 0.7))  # a constant: training does not write it

    def forward(self, x):
        if self.training:
            self.center = 0.9 * self.center + 0.1 * x.detach().mean(0)
        return (x - self.center) * self.scale


KINDS = {
    "batch norm": lambda: nn.BatchNorm1d(6),
    "instance norm": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()
    ),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)),
    "an average of one's own": Average,
}


def trained(kind: str, seed: int) -> nn.Module:
    x, y = data()
    module = seeded(
        lambda: [nn.Sequential(nn.Linear(2, 6), KINDS[kind](), nn.ReLU(), nn.Linear(6, 2)) for _ in range(seed + 1)][-1]
    ).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    for step in range(12):
        optimizer.zero_grad()
        CRITERION(module(x[step % 3 :: 3] + 3 * seed), y[step % 3 :: 3]).backward()
        optimizer.step()
    return module.eval()


def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 2, generator=g, dtype=torch.float64)
    return x, (x[:, 0] > x[:, 1]).long()


@pytest.fixture(params=KINDS)
def models(request) -> list[nn.Module]:
    return [trained(request.param, seed) for seed in range(3)]


def thetas(models: list[nn.Module]) -> torch.Tensor:
    return torch.stack([nn.utils.parameters_to_vector(model.parameters()).detach() for model in models])


def own(models: list[nn.Module]) -> list[float]:
    """The loss of each in plain PyTorch."""
    x, y = data()
    return [CRITERION(model(x), y).item() for model in models]


QUESTIONS = {
    "linear_connectivity": lambda loss, points: linear_connectivity(loss, *points[:2], steps=3),
    "interpolate": lambda loss, points: interpolate(loss, *points[:2], steps=3),
    "model_plane": lambda loss, points: model_plane(loss, points, steps=3),
    "interpolate_by_weight_decay": lambda loss, points: interpolate_by_weight_decay(
        loss, points[:2], points[1:], [0.0, 1.0], steps=3
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_whose_buffers_are_meant_is_asked(question, models):
    ask, points = QUESTIONS[question], thetas(models)
    loss = Loss.of(models[0], data(), CRITERION)
    with pytest.raises(
        ValueError, match=r"would be measured with buffers .* another model, .*say which are meant, Loss"
    ):
        ask(loss, points)
    with pytest.raises(ValueError, match="say which are meant"):
        ask({"train": loss.to(torch.float32)}, points.float())
    assert ask(Loss.of(models[0], data(), CRITERION, buffers="stored"), points).attrs["buffers"] == "stored"


def test_interpolated_buffers_make_every_end_the_models_own(models):
    loss = Loss.of(models[0], data(), CRITERION, buffers="interpolated", between=models)
    path = linear_connectivity(loss, *thetas(models)[1:], steps=3)
    assert path.loss.values[[0, -1]] == pytest.approx(own(models[1:]), rel=1e-12)
    other = trained("batch norm", 5) if "1.running_mean" in dict(models[0].named_buffers()) else None
    if other is not None:  # of a fourth model they say nothing
        with pytest.raises(ValueError, match="end would be measured with buffers"):
            linear_connectivity(loss, *thetas([models[0], other]), steps=3)


def test_one_model_alone_is_asked_nothing(models):
    """Also where the module has buffers that no training writes."""
    loss = Loss.of(models[0], data(), CRITERION)
    g = torch.Generator().manual_seed(0)
    random_line(loss, loss.theta, generator=g, steps=3)
    spectrum(loss, loss.theta, generator=g, k=1)
    linear_connectivity(loss, loss.theta, loss.theta.clone(), steps=3)
    fixed = seeded(lambda: FixedScale().double())
    of_fixed = Loss.of(fixed, data(), CRITERION)
    assert linear_connectivity(of_fixed, of_fixed.theta, -of_fixed.theta, steps=3).barrier >= 0


class FixedScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("scale", torch.full((2,), 0.7))

    def forward(self, x):
        return self.linear(x) * self.scale


def test_re_estimation_is_of_norms_alone():
    """What else training writes is then still another model's."""
    models = [trained("spectral norm", seed) for seed in range(2)]
    loss = Loss.of(models[0], data(), CRITERION, buffers="re-estimated")
    with pytest.raises(ValueError, match=r"end would be measured with buffers .*_u and 1 more"):
        linear_connectivity(loss, *thetas(models), steps=3)
    norms = [trained("batch norm", seed) for seed in range(2)]
    linear_connectivity(Loss.of(norms[0], data(), CRITERION, buffers="re-estimated"), *thetas(norms), steps=3)


def test_a_path_of_training_is_measured_and_said():
    models = [trained("batch norm", seed) for seed in range(4)]
    loss = Loss.of(models[-1], data(), CRITERION)
    with pytest.warns(UserWarning, match=r"the first checkpoint is measured with buffers .* with their own") as said:
        trajectory_plane(loss, thetas(models), steps=3)
    assert [one.filename for one in said] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trajectory_plane(Loss.of(models[-1], data(), CRITERION, buffers="stored"), thetas(models), steps=3)


def test_the_module_stays_as_it_is(models):
    before = copy.deepcopy(models[0].state_dict())
    loss = Loss.of(models[0], data(), CRITERION)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="say which are meant"):
        interpolate(loss, *thetas(models)[:2])
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(models[0].state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(loss.module.state_dict(), before, rtol=0, atol=0)


def test_statistics_that_were_said_are_not_changed_silently():
    models = [trained("batch norm", seed) for seed in range(2)]
    loss = Loss.of(models[0], data(), CRITERION, buffers="re-estimated")
    with pytest.raises(ValueError, match="buffers is 're-estimated' already"):
        with_buffers(loss, "interpolated", models)


# A problem, which holds the others ------------------------------------------------------------------------------


def subject_of(problem: Problem) -> Subject:
    losses = problem.losses()
    loss = losses["train"]
    return Subject(
        losses, loss.theta, problem.trajectory(loss), problem.others(loss), problem.states(loss), problem.initial(loss)
    )


def ask(probe, subject: Subject, **settings):
    return probe.measure(subject, probe.settings(**settings), torch.Generator().manual_seed(0))


def test_buffers_of_other_solutions_go_along_by_themselves(models, tmp_path):
    first, second, third = models
    torch.save({"model_state_dict": third.state_dict(), "epoch": 3}, tmp_path / "third.pt")
    others = {"second": second, "third": tmp_path / "third.pt"}
    subject = subject_of(Problem(first, data(), CRITERION, solutions=others))
    path = ask(CONNECTIVITY, subject, steps=3)
    assert path.loss.sel(split="train").values[[0, -1]] == pytest.approx(own([first, second]), rel=1e-12)
    plane = ask(PLANE, subject, steps=3)
    assert plane.model_loss.sel(split="train").values == pytest.approx(own(models), rel=1e-12)
    assert {path.attrs["buffers"], plane.attrs["buffers"]} == {"interpolated"}


def test_what_the_options_say_is_done(models):
    problem = Problem(models[0], data(), CRITERION, solutions={"b": models[1]}, options={"buffers": "stored"})
    path = ask(CONNECTIVITY, subject_of(problem), steps=3)
    moved = copy.deepcopy(models[0])
    nn.utils.vector_to_parameters(thetas(models)[1], moved.parameters())
    assert float(path.loss[0, -1]) == pytest.approx(own([moved])[0], rel=1e-12)
    assert path.attrs["buffers"] == "stored"


def test_a_solution_without_buffers_is_not_guessed_at(models):
    problem = Problem(models[0], data(), CRITERION, solutions={"flat": thetas(models)[1]})
    with pytest.raises(ValueError, match="end would be measured with buffers"):
        ask(CONNECTIVITY, subject_of(problem), steps=3)


def test_the_line_from_the_first_checkpoint_has_its_buffers(models):
    first, second, last = models
    path = ask(INTERPOLATE, subject_of(Problem(last, data(), CRITERION, checkpoints=[first, second])), steps=3)
    assert path.loss.sel(split="train").values[[0, -1]] == pytest.approx(own([first, last]), rel=1e-12)
    subject = subject_of(Problem(last, data(), CRITERION, checkpoints=list(thetas(models)[:2])))
    with pytest.warns(UserWarning, match="the first checkpoint is measured with buffers"):
        path = ask(INTERPOLATE, subject, steps=3)
    assert path.attrs["buffers"] == "stored"


def test_solutions_that_differ_beside_theta_are_refused():
    a, b = (seeded(lambda: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()) for _ in range(2))
    with torch.no_grad():
        b[0].weight += 1
    problem = Problem(a, data(), CRITERION, solutions={"b": b}, options={"params": "2.*"})
    with pytest.raises(InputError, match=r"solution 'b' differs from the model in 0.weight, which θ does not hold"):
        subject_of(problem)


@pytest.mark.parametrize(
    "name",
    [
        "spectrum",
        "spectral_density",
        "block_spectrum",
        "eigenvector_plane",
        "random_line",
        "random_plane",
        "epsilon_sharpness",
    ],
)
def test_the_surroundings_of_another_model_are_told(name, models):
    """Curvature and slices at its weights are measured with the buffers of the first."""
    options = {
        "eigenvector_plane": {"steps": 3, "radius": 0.1},
        "epsilon_sharpness": {"samples": 2, "curve_samples": 2},
    }
    options |= {"random_line": {"steps": 3}, "random_plane": {"steps": 3}}
    probe, generator = getattr(lossatlas, name), torch.Generator().manual_seed(0)
    loss, (own, other, _) = Loss.of(models[0], data(), CRITERION), thetas(models)
    with pytest.warns(UserWarning, match=r"θ is measured with buffers that training wrote for other weights, 1\."):
        probe(loss, other, generator=generator, **options.get(name, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".* cannot be vectorised")
        probe(loss, own, generator=generator, **options.get(name, {}))
