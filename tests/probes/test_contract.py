"""What every probe promises: nothing of the caller's is touched, and a seed is an answer."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import lossatlas
from lossatlas import hardware
from lossatlas.figures.plot import kinds
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.probes import PROBES
from lossatlas.probes.probe import Family, Probe, Subject
from tests.conftest import seeded


@dataclass(frozen=True)
class Case:
    """A probe with its points: `path` is `(4, P)`, its last row the centre."""

    run: Callable[[object, Tensor, torch.Generator], xr.Dataset]
    main: str  # the variable that a figure shows
    centre: Callable[[xr.Dataset, Tensor], tuple[xr.DataArray, Tensor]] | None = None  # measured there, and where
    tolerance: float = 1e-12
    of_the_first: bool = False  # the plane is one of the first split's, whatever the others are
    splits: tuple[str, ...] = ("train", "test")  # that it measures


OWN = {
    "interpolate": Case(
        lambda losses, path, _: lossatlas.interpolate(losses, path[-1], path[0], steps=7),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0), path[-1]),
    ),
    "interpolate_by_weight_decay": Case(
        lambda losses, path, _: lossatlas.interpolate_by_weight_decay(losses, path[:2], path[2:], (0, 0.1), steps=7),
        "loss",
        lambda result, path: (result.loss.sel(alpha=1, weight_decay=0.1), path[-1]),
    ),
    "linear_connectivity": Case(
        lambda losses, path, _: lossatlas.linear_connectivity(losses, path[-1], path[0], steps=5),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0), path[-1]),
    ),
    "block_spectrum": Case(
        lambda losses, path, generator: lossatlas.block_spectrum(
            losses, path[-1], generator=generator, k=1, samples=2, tol=1e-9
        ),
        "eigenvalues",
        tolerance=1e-6,
    ),
    "epsilon_sharpness": Case(
        lambda losses, path, generator: lossatlas.epsilon_sharpness(losses, path[-1], generator=generator, samples=7),
        "even",
    ),
    "eigenvector_plane": Case(
        lambda losses, path, generator: lossatlas.eigenvector_plane(
            losses, path[-1], generator=generator, radius=0.5, steps=5, tol=1e-10
        ),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0, beta=0), path[-1]),
        tolerance=1e-7,
        of_the_first=True,
    ),
    "model_plane": Case(
        lambda losses, path, _: lossatlas.model_plane(
            losses, path[1:], trajectories={"long": path[:3], "short": path[2:]}, steps=5
        ),
        "loss",
        lambda result, path: (result.path_loss.isel(point=-1), path[-1]),
    ),
    "random_line": Case(
        lambda losses, path, generator: lossatlas.random_line(losses, path[-1], generator=generator, steps=7),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0), path[-1]),
    ),
    "random_plane": Case(
        lambda losses, path, generator: lossatlas.random_plane(losses, path[-1], generator=generator, steps=5),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0, beta=0), path[-1]),
    ),
    "slice_by_weight_decay": Case(
        lambda losses, path, generator: lossatlas.slice_by_weight_decay(
            losses, path[2:], (0, 0.1), generator=generator, steps=5
        ),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0, beta=0, weight_decay=0.1), path[-1]),
    ),
    "spectral_density": Case(
        lambda losses, path, generator: lossatlas.spectral_density(
            losses, path[-1], generator=generator, k=3, steps=5, draws=3, tol=1e-9
        ),
        "density",
        tolerance=1e-6,
    ),
    "spectrum": Case(
        lambda losses, path, generator: lossatlas.spectrum(
            losses, path[-1], generator=generator, k=3, samples=5, tol=1e-9
        ),
        "eigenvalues",
        tolerance=1e-8,
    ),
    "trajectory_plane": Case(
        lambda losses, path, _: lossatlas.trajectory_plane(losses, path, steps=5),
        "loss",
        lambda result, path: (result.loss.sel(alpha=0, beta=0), path[-1]),
    ),
    "trajectory_sharpness": Case(
        lambda losses, path, generator: lossatlas.trajectory_sharpness(
            losses, path, generator=generator, samples=4, tol=1e-9
        ),
        "sharpness",
        tolerance=1e-6,
        of_the_first=True,
        splits=("train",),
    ),
}


def declared(probe: Probe) -> Case:
    """A probe as its declaration has it measured, coarsely."""
    few = {"steps": 5, "draws": 2, "samples": 5, "k": 2}
    settings = probe.settings(**{name: few[name] for name in vars(probe.settings()) if name in few})

    def run(losses, path: Tensor, generator: torch.Generator) -> xr.Dataset:
        named = losses if isinstance(losses, dict) else {"": losses}
        family = Family((0.0, 0.1), path[:2], path[2:])
        others = {"one": path[0], "two": path[1]}
        subject = Subject(named, path[-1], trajectory=path, others=others, family=family)
        return probe.measure(subject, settings, generator)

    return Case(run, "loss")


# Every probe of PROBES; those whose points are worth choosing, or with more to say, as OWN has it.
CASES = {probe.name: OWN.get(probe.name) or declared(probe) for probe in PROBES}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request) -> Case:
    return request.param


@pytest.fixture
def module(moons) -> nn.Module:
    """Everything that can be spoiled: batch statistics, dropout, a frozen bias, gradients, mixed modes."""

    def make() -> nn.Module:
        network = nn.Sequential(
            nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.4), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)
        ).double()
        network[4].bias.requires_grad_(False)
        nn.functional.cross_entropy(network(moons[0]), moons[1]).backward()
        return network

    network = seeded(make).train()
    network[3].eval()
    return network


@pytest.fixture
def losses(module, ragged, moons) -> dict[str, Loss]:
    def of(data) -> Loss:
        return Loss.of(module, data, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}, buffers="stored")

    return {"train": of(ragged), "test": of((moons[0][:11], moons[1][:11]))}


@pytest.fixture
def path(losses) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    loss = losses["train"]
    return loss.theta + torch.randn(4, loss.layout.size, generator=generator, dtype=torch.float64).cumsum(0)


def run(case: Case, losses, path: Tensor, number: int = 5) -> xr.Dataset:
    return case.run(losses, path, torch.Generator().manual_seed(number))


def state(module: nn.Module) -> dict[str, object]:
    """All of a module that a probe could change, as bytes and plain values."""
    held = {f"state {name}": t.detach().numpy().tobytes() for name, t in module.state_dict(keep_vars=True).items()}
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        held[f"gradient {name}"] = None if gradient is None else gradient.numpy().tobytes()
        held[f"asks {name}"] = parameter.requires_grad
        held[f"storage {name}"] = parameter.data_ptr()
    held |= {f"mode {name}": part.training for name, part in module.named_modules()}
    held |= {f"hooks {name}": len(part._forward_hooks) for name, part in module.named_modules()}
    return held


def test_every_probe_is_under_contract():
    functions = {name for name in lossatlas.__all__ if inspect.isfunction(getattr(lossatlas, name))}
    no_probes = {
        "accuracy", "export", "load", "multilabel_accuracy", "one_hot_accuracy", "read_checkpoints",
        "read_loss_landscape", "save", "top_k_accuracy",
    }  # fmt: skip
    assert functions - no_probes == set(CASES)
    assert set(OWN) <= set(CASES)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_measures_as_it_declares(probe, losses, path):
    """Called through its declaration it gives what its function gives, with numbers in its columns and words to say."""
    result = declared(probe).run(losses, path, torch.Generator().manual_seed(5))
    assert result.attrs["probe"] == probe.name
    assert kinds(result), "no figure shows it"
    told = probe.tell(result, "other")
    assert told.sentence or told.lines or told.tables
    for rows in told.tables:
        assert all(len(row) == len(rows.headings) for row in rows.rows)
    for name, column in probe.columns.items():
        value = column.value(result.sel(split=column.split))
        assert isinstance(value, bool if column.boolean else float), name
    assert set(vars(probe.settings())) <= probe.keywords
    assert {"generator", "dtype"}.isdisjoint(vars(probe.settings()))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_the_cost_that_a_probe_declares_is_about_what_it_takes(probe, losses, path):
    settings = probe.settings()
    subject = Subject(
        losses, path[-1], trajectory=path, others={"one": path[0], "two": path[1]},
        family=Family((0.0, 0.1), path[:2], path[2:]),
    )  # fmt: skip
    cost = probe.cost(subject, settings)
    assert cost.evaluations or cost.products
    assert not probe.lacking(subject)
    bare = Subject(losses, path[-1])
    assert (probe.of == "model") == (not probe.lacking(bare))


def test_the_module_stays_bit_for_bit(case, module, ragged, path):
    before = state(module)
    loss = Loss.of(module, ragged, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}, buffers="stored")
    assert state(module) == before
    run(case, loss, path)
    assert state(module) == before


def test_the_data_and_the_points_stay_bit_for_bit(case, losses, path, ragged):
    def held():
        return [t.numpy().tobytes() for t in (path, *(part for batch in ragged for part in batch))]

    before = held()
    run(case, losses, path)
    assert held() == before
    assert not path.requires_grad
    assert path.grad is None


def test_the_losses_own_module_stays_too(case, losses, path):
    before = state(losses["train"].module)
    run(case, losses, path)
    assert state(losses["train"].module) == before


def test_global_settings_stay(case, losses, path):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)

    def held():
        return (
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
        )

    before = held()
    run(case, losses, path)
    assert held() == before


def test_the_same_seed_gives_the_same_result(case, losses, path):
    xr.testing.assert_identical(run(case, losses, path), run(case, losses, path))


def test_another_seed_gives_another_result_where_there_is_chance(case, losses, path):
    one, two = run(case, losses["train"], path, 5), run(case, losses["train"], path, 6)
    by_chance = case.main != "loss" or "normalize" in one.attrs or "residuals" in one  # the last by rounding
    assert one.identical(two) != by_chance


def test_the_chunk_changes_nothing_beyond_rounding(case, module, ragged, path, monkeypatch):
    results = []
    for chunk_bytes in (1, 3000, 2**30):
        monkeypatch.setattr(hardware, "CHUNK_BYTES", chunk_bytes)
        loss = Loss.of(module, ragged, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}, buffers="stored")
        results.append(run(case, loss, path))
    for other in results[1:]:
        for name, variable in results[0].variables.items():
            if name == "products" or variable.dtype.kind not in "fib":
                continue
            assert np.allclose(other[name], results[0][name], rtol=1e-9, atol=case.tolerance, equal_nan=True), name


def test_in_no_grad_mode_too(case, losses, path):
    with torch.no_grad():
        inside = run(case, losses, path)
    xr.testing.assert_identical(inside, run(case, losses, path))


def test_variables_and_axes_have_units_and_names(case, losses, path):
    result = run(case, losses, path)
    measured = [name for name, variable in result.data_vars.items() if variable.dtype.kind == "f"]
    assert case.main in measured
    for name in [*measured, *(axis for axis in ("alpha", "beta") if axis in result.coords)]:
        assert result[name].attrs.get("units"), f"{name} has no units"
        assert result[name].attrs.get("long_name"), f"{name} has no long_name"


def test_a_mapping_has_a_leading_split_and_a_single_loss_has_none(case, losses, path):
    both, one = run(case, losses, path), run(case, losses["train"], path)
    assert both[case.main].dims == ("split", *one[case.main].dims)
    assert tuple(both.split.values) == case.splits
    assert "split" not in one.variables
    assert set(both.data_vars) == set(one.data_vars)
    for name in (
        "alpha", "beta", "path_alpha", "path_beta", "off_plane", "explained_variance", "model_alpha", "model_beta",
        "model_off_plane", "path_off_plane",
    ):  # fmt: skip
        if name in both:
            assert "split" not in both[name].dims, f"{name} does not depend on the split"


def test_each_split_is_what_its_loss_gives_alone(case, losses, path):
    both = run(case, losses, path)
    for split, loss in list(losses.items())[: 1 if case.of_the_first else None]:
        one = run(case, loss, path)[case.main]
        found = both[case.main].sel(split=split)
        if "alpha" in one.dims:  # refined around the peaks of all splits, or of one
            found = found.sel(alpha=np.intersect1d(found.alpha, one.alpha))
            one = one.sel(alpha=found.alpha)
        assert np.allclose(found, one, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.centre])
def test_the_centre_is_the_loss_at_theta(name, losses, path):
    case = CASES[name]
    measured, point = case.centre(run(case, losses, path), path)
    for split, loss in losses.items():
        assert float(measured.sel(split=split)) == pytest.approx(loss(point).item(), rel=1e-13)


def test_evaluations_are_counted(case, losses, path):
    result = run(case, losses["train"], path)
    assert "evaluations" in result.attrs or "products" in result


def test_a_point_of_another_network_is_an_error(case, losses, path):
    with pytest.raises(ValueError, match=rf"but the module has {path.shape[1]} parameters"):
        run(case, losses, path[:, :-1])


def test_a_result_names_its_probe(losses, path):
    """Of a surface, the variables alone do not tell what it is."""
    for name, case in CASES.items():
        assert run(case, losses, path).attrs["probe"] == name


def test_results_survive_the_disk(case, losses, path, tmp_path):
    from lossatlas.results.storage import load, save

    result = run(case, losses, path)
    save(result, tmp_path / "result.nc")
    xr.testing.assert_identical(load(tmp_path / "result.nc"), result)
