"""Every probe on three networks of one's own: what it costs, and how far it is from an independent witness.

    python -m benchmarks.own_models [ResNet] [transformer] [LSTM]

A ResNet with BatchNorm, a transformer and an LSTM, trained on scikit-learn's digits. Each probe runs with its default
settings in a process of its own, as a user's first call would, `Loss.of` included. Then a witness is asked: plain
forward passes in float64; for curvature, differences of plain gradients in float64; for filled planes, `exact=True` at
every fifth node. Prints a Markdown table for each network. Differences are relative to the largest value that is
compared, "/ λ₁" to the largest eigenvalue, "/ range" to the range of a plane, "/ σ" in standard errors.
"""

from __future__ import annotations

import copy
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.integrate import trapezoid
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import lossatlas as la
from lossatlas.files import read_json, write_json
from lossatlas.operators.hessian import Hessian
from lossatlas.parameters.directions import random_directions
from lossatlas.parameters.subspaces import principal_directions
from lossatlas.probes.curvature.block_spectrum import layers

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit in a dependency of curvlinops
    from curvlinops import HessianLinearOperator

ROOT = Path(__file__).parent.parent
EPOCHS, BATCH = 10, 64
EVERY = 5  # of the 51 points on a line or along an axis of a plane the witness measures every fifth
STEP = 1e-7  # of differences in float64: with a longer one, more units of a ReLU change sides within it
FORMS = 20  # random vectors of the witness for the trace
WEIGHT_DECAY = 1e-3  # of the second network of each kind
TRAIN = "train"  # what to do in a process of its own, beside the probes


# Networks ---------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """relu(skip(x) + BN conv relu BN conv x): He et al. 2016."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.inner(x))


def resnet(channels: int = 24, stages: int = 3) -> nn.Module:
    """Images `(n, 8, 8)`; every stage after the first has twice the channels and half the side of the one before."""
    widths = [channels * 2**stage for stage in range(stages)]
    blocks = [Residual(channels, channels, 1), *(Residual(a, 2 * a, 2) for a in widths[:-1])]
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels),
        nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10),
    )  # fmt: skip


class Transformer(nn.Module):
    """The rows of an image are its tokens, `(n, 8, 8)`."""

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(0.1 * torch.randn(8, width))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, depth), nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(rows) + self.place).mean(1))


class Lstm(nn.Module):
    """The rows of an image are a sequence, `(n, 8, 8)`."""

    def __init__(self, width: int = 108) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.lstm(rows)[0][:, -1])


@dataclass(frozen=True)
class Kind:
    make: Callable[[], nn.Module]
    examples: int
    rate: float  # of Adam


KINDS = {
    "ResNet": Kind(resnet, 1200, 0.003),
    "transformer": Kind(Transformer, 600, 0.003),
    "LSTM": Kind(Lstm, 600, 0.005),
}


# What is measured, and the witness -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A trained network in eval mode, a second one that was trained from another seed with weight decay, and data."""

    module: nn.Module
    other: Tensor  # (P,)
    checkpoints: Tensor  # (t, P), one before each epoch; the last is the module's θ
    inputs: Tensor
    targets: Tensor
    folder: Path

    @property
    def theta(self) -> Tensor:
        return self.checkpoints[-1]

    def loss(self) -> la.Loss:
        data = self.inputs, self.targets
        return la.Loss.of(self.module, data, nn.CrossEntropyLoss(), metrics={"accuracy": la.accuracy}, buffers="stored")

    @cached_property
    def double(self) -> nn.Module:
        return copy.deepcopy(self.module).double()

    def losses(self, points: Iterable[Tensor]) -> np.ndarray:
        """Plain forward passes in float64, `(n,)`."""
        values = []
        with torch.no_grad():
            for theta in points:
                vector_to_parameters(theta.double(), self.double.parameters())
                values.append(float(nn.functional.cross_entropy(self.double(self.inputs.double()), self.targets)))
        return np.array(values)

    def gradient(self, theta: Tensor) -> Tensor:
        """A plain backward pass in float64, `(P,)`."""
        vector_to_parameters(theta.double(), self.double.parameters())
        self.double.zero_grad()
        nn.functional.cross_entropy(self.double(self.inputs.double()), self.targets).backward()
        return torch.cat([p.grad.flatten() for p in self.double.parameters() if p.grad is not None])

    def product(self, vector: Tensor) -> Tensor:
        """Hv at θ as (g(θ + hu) − g(θ − hu)) ‖v‖ / 2h with u = v / ‖v‖: no second derivative is taken."""
        vector, theta = vector.double(), self.theta.double()
        length = vector.norm()
        way = STEP * vector / length
        return (self.gradient(theta + way) - self.gradient(theta - way)) * (length / (2 * STEP))

    def remembered(self, name: str, make: Callable[[], list[float]]) -> np.ndarray:
        """What `make` gives, from the folder once it is there."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            write_json(file, make())
        return np.array(read_json(file))

    def ends(self) -> np.ndarray:
        """The ten largest eigenvalues, descending, and the smallest, by ARPACK on differences of gradients."""
        return self.remembered("ends", lambda: [*self.arpack(10, "LA")[::-1], *self.arpack(1, "SA")])

    def arpack(self, k: int, which: str, rows: slice = slice(None)) -> list[float]:
        """Eigenvalues, ascending, of the Hessian or of the block of these parameters."""
        size = len(self.theta[rows])

        def times(vector: np.ndarray) -> np.ndarray:
            whole = torch.zeros(len(self.theta), dtype=torch.float64)
            whole[rows] = torch.from_numpy(vector.reshape(-1)).double()
            return self.product(whole)[rows].numpy()

        start = np.random.default_rng(0).normal(size=size)
        operator = LinearOperator((size, size), matvec=times, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        found = eigsh(operator, k, which=which, tol=1e-4, v0=start, return_eigenvectors=False)  # pyright: ignore[reportArgumentType]
        return np.asarray(found).tolist()

    def forms(self) -> np.ndarray:
        """vᵀHv of random signs: their mean is the trace."""
        signs = torch.randint(0, 2, (FORMS, len(self.theta)), generator=seed(99)).double() * 2 - 1
        return self.remembered("forms", lambda: [float(v @ self.product(v)) for v in signs])


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def train(kind: str, folder: Path) -> None:
    """Two networks of a kind, kept in the folder."""
    recipe, (inputs, targets) = KINDS[kind], digits(KINDS[kind].examples)
    for number, decay in enumerate((0.0, WEIGHT_DECAY)):
        torch.manual_seed(number)
        module = recipe.make()
        optimizer = torch.optim.Adam(module.parameters(), recipe.rate, weight_decay=decay)
        checkpoints = []
        for _ in range(EPOCHS):
            checkpoints.append(parameters_to_vector(module.parameters()).detach())
            for batch in torch.randperm(len(inputs)).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
                optimizer.step()
        checkpoints.append(parameters_to_vector(module.parameters()).detach())
        torch.save((module.state_dict(), torch.stack(checkpoints)), folder / f"{number}.pt")


def load(kind: str, folder: Path) -> Subject:
    (state, checkpoints), (_, others) = (torch.load(folder / f"{number}.pt") for number in (0, 1))
    module = KINDS[kind].make().eval()
    module.load_state_dict(state)
    return Subject(module, others[-1].clone(), checkpoints, *digits(KINDS[kind].examples), folder)


def digits(examples: int) -> tuple[Tensor, Tensor]:
    """The first images, `(n, 8, 8)` with pixels from 0 to 1, and their classes."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels[:examples], dtype=torch.float32).view(-1, 8, 8) / 16, torch.tensor(labels[:examples])


# Probes -----------------------------------------------------------------------------------------------------------

Differences = dict[str, float]  # what was compared, and in which unit -> the largest difference


@dataclass(frozen=True)
class Probe:
    run: Callable[[Subject, la.Loss], Any]
    judge: Callable[[Subject, Any], Differences]


def relative(found: Any, wanted: Any) -> float:
    """Largest difference relative to the largest of what is wanted."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _vectors(subject: Subject) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(10, len(subject.theta), generator=seed()), dim=-1)


def _products(subject: Subject, found: Tensor) -> Differences:
    wanted = torch.stack([subject.product(v) for v in _vectors(subject)])
    return {"product": relative(found, wanted)}


def _curvlinops(subject: Subject, _: la.Loss) -> Tensor:
    """The same products by another library, which has forward mode in it: LSTMs in float32 have none on a CPU."""
    vector_to_parameters(subject.theta.double(), subject.double.parameters())
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has none either
        operator = HessianLinearOperator(
            subject.double, nn.CrossEntropyLoss(), list(subject.double.parameters()),
            [(subject.inputs.double(), subject.targets)], check_deterministic=False,
        )  # fmt: skip
        product = operator @ _vectors(subject).double().T
    return torch.as_tensor(product).T


def _line(subject: Subject, found: xr.Dataset, start: Tensor, way: Tensor) -> Differences:
    """`found` along `alpha` against start + α · way."""
    some = found.isel(alpha=slice(None, None, EVERY))
    alphas = torch.tensor(some.alpha.values)
    return {"loss": relative(some.loss, subject.losses(start.double() + alpha * way.double() for alpha in alphas))}


def _plane(found: xr.Dataset, wanted: np.ndarray) -> Differences:
    """`found` at every fifth node against the loss there; and the error that it states, of the same range."""
    some = found.loss.isel(alpha=slice(None, None, EVERY), beta=slice(None, None, EVERY))
    span = float(np.ptp(wanted))
    return {
        "loss / range": float(np.abs(some.values - wanted).max()) / span,
        "stated": float(found.loss_error.max()) / span,
    }


def _random_line(subject: Subject, found: xr.Dataset) -> Differences:
    (way,) = random_directions(subject.loss().layout, subject.theta, 1, generator=seed())
    return _line(subject, found, subject.theta, way)


def _random_plane(subject: Subject, found: xr.Dataset) -> Differences:
    exact = la.random_plane(subject.loss(), subject.theta, generator=seed(), steps=11, exact=True)
    return _plane(found, exact.loss.values)


def _trajectory_plane(subject: Subject, found: xr.Dataset) -> Differences:
    axes, _ = principal_directions(subject.checkpoints, subject.theta)
    alphas, betas = (torch.tensor(found[axis].values[::EVERY]) for axis in ("alpha", "beta"))
    moves = torch.cartesian_prod(alphas, betas) @ axes
    wanted = subject.losses(subject.theta.double() + move for move in moves).reshape(len(alphas), len(betas))
    return _plane(found, wanted) | {"path": relative(found.path_loss, subject.losses(subject.checkpoints))}


def _models(subject: Subject) -> Tensor:
    return torch.stack([subject.theta, subject.other, subject.checkpoints[0]])


def _model_plane(subject: Subject, found: xr.Dataset) -> Differences:
    exact = la.model_plane(subject.loss(), _models(subject), steps=11, exact=True)
    return _plane(found, exact.loss.values) | {"models": relative(found.model_loss, subject.losses(_models(subject)))}


def _eigenvector_plane(subject: Subject, found: xr.Dataset) -> Differences:
    exact = la.eigenvector_plane(
        subject.loss(), subject.theta, generator=seed(), steps=11, exact=True, radius=found.attrs["radius"]
    )
    return _plane(found, exact.loss.values) | {"eigenvalues / λ₁": relative(found.eigenvalues, subject.ends()[:2])}


def _sharpness(subject: Subject, found: xr.Dataset) -> Differences:
    drawn = random_directions(
        subject.loss().layout, subject.theta, found.sizes["sample"], generator=seed(), normalize="layer", biases="layer"
    )
    theta, steps = subject.theta.double(), found.attrs["radius"] * drawn[:10].double()
    here, *values = subject.losses([theta, *(theta + steps), *(theta - steps)])
    up, down = np.array(values).reshape(2, 10) - here
    return {"even": relative(found.even[:10], (up + down) / 2), "odd": relative(found.odd[:10], (up - down) / 2)}


def _connectivity(subject: Subject, found: xr.Dataset) -> Differences:
    one, two = subject.theta.double(), subject.other.double()
    path = subject.losses(torch.lerp(one, two, alpha) for alpha in torch.linspace(0, 1, 101).double())
    barrier = path.max() - max(path[0], path[-1])
    return {"barrier": relative(found.barrier, barrier)}


def _by_weight_decay(subject: Subject) -> tuple[Tensor, Tensor]:
    return subject.checkpoints[:1].expand(2, -1), torch.stack([subject.theta, subject.other])


def _lines_by_weight_decay(subject: Subject, found: xr.Dataset) -> Differences:
    start, end = subject.checkpoints[0], subject.other
    return _line(subject, found.isel(weight_decay=1), start, end.double() - start.double())


def _slices_by_weight_decay(subject: Subject, found: xr.Dataset) -> Differences:
    exact = la.slice_by_weight_decay(
        subject.loss(), _by_weight_decay(subject)[1], (0.0, WEIGHT_DECAY), generator=seed(), steps=11, exact=True
    )
    each = [_plane(found.isel(weight_decay=n), exact.loss.values[n]) for n in range(2)]
    return {name: max(differences[name] for differences in each) for name in each[0]}


def _in_errors(subject: Subject, value: float, error: float) -> float:
    """How far a trace is from that of the witness, in standard errors of the difference."""
    forms = subject.forms()
    return abs(value - forms.mean()) / math.hypot(error, forms.std(ddof=1) / len(forms) ** 0.5)


def _spectrum(subject: Subject, found: xr.Dataset) -> Differences:
    ends = subject.ends()
    return {
        "eigenvalues / λ₁": relative(found.eigenvalues, ends[:10]),
        "smallest / λ₁": abs(float(found.smallest) - ends[10]) / ends[0],
        "trace / σ": _in_errors(subject, float(found.trace), float(found.trace_error)),
    }


def _block_spectrum(subject: Subject, found: xr.Dataset) -> Differences:
    layout = subject.loss().layout
    largest = str(found.block.values[found.parameters.argmax()])
    places = [layout.slices[name] for name in layers(layout)[largest]]  # one after the other
    rows = slice(places[0].start, places[-1].stop)
    error = float((found.trace_error**2).sum() ** 0.5)
    return {
        f"eigenvalues / λ₁ of {largest}": relative(
            found.eigenvalues.sel(block=largest), subject.arpack(3, "LA", rows)[::-1]
        ),
        "sum of traces / σ": _in_errors(subject, float(found.trace.sum()), error),
    }


def _spectral_density(subject: Subject, found: xr.Dataset) -> Differences:
    size = len(subject.theta)
    return {
        "mass": abs(float(trapezoid(found.density, found.axis)) - 1),
        "mean / σ": _in_errors(subject, size * float(found["mean"]), size * float(found.mean_error)),
    }


PROBES = {
    "Loss.of and one evaluation": Probe(
        lambda subject, loss: float(loss(subject.theta)),
        lambda subject, found: {"loss": relative(found, subject.losses([subject.theta]))},
    ),
    "gradient": Probe(
        lambda subject, loss: loss.gradient(subject.theta),
        lambda subject, found: {"gradient": relative(found, subject.gradient(subject.theta))},
    ),
    "Hessian, 10 products": Probe(lambda subject, loss: Hessian(loss, subject.theta)(_vectors(subject)), _products),
    "(curvlinops in float64, 10 products)": Probe(_curvlinops, _products),
    "interpolate": Probe(
        lambda subject, loss: la.interpolate(loss, subject.checkpoints[0], subject.theta),
        lambda subject, found: _line(
            subject, found, subject.checkpoints[0], subject.theta.double() - subject.checkpoints[0].double()
        ),
    ),
    "random_line": Probe(lambda subject, loss: la.random_line(loss, subject.theta, generator=seed()), _random_line),
    "random_plane": Probe(lambda subject, loss: la.random_plane(loss, subject.theta, generator=seed()), _random_plane),
    "trajectory_plane": Probe(lambda subject, loss: la.trajectory_plane(loss, subject.checkpoints), _trajectory_plane),
    "model_plane": Probe(lambda subject, loss: la.model_plane(loss, _models(subject)), _model_plane),
    "eigenvector_plane": Probe(
        lambda subject, loss: la.eigenvector_plane(loss, subject.theta, generator=seed()), _eigenvector_plane
    ),
    "epsilon_sharpness": Probe(
        lambda subject, loss: la.epsilon_sharpness(loss, subject.theta, generator=seed()), _sharpness
    ),
    "linear_connectivity": Probe(
        lambda subject, loss: la.linear_connectivity(loss, subject.theta, subject.other), _connectivity
    ),
    "interpolate_by_weight_decay": Probe(
        lambda subject, loss: la.interpolate_by_weight_decay(loss, *_by_weight_decay(subject), (0.0, WEIGHT_DECAY)),
        _lines_by_weight_decay,
    ),
    "slice_by_weight_decay": Probe(
        lambda subject, loss: la.slice_by_weight_decay(
            loss, _by_weight_decay(subject)[1], (0.0, WEIGHT_DECAY), generator=seed()
        ),
        _slices_by_weight_decay,
    ),
    "spectrum": Probe(lambda subject, loss: la.spectrum(loss, subject.theta, generator=seed()), _spectrum),
    "block_spectrum": Probe(
        lambda subject, loss: la.block_spectrum(loss, subject.theta, generator=seed()), _block_spectrum
    ),
    "spectral_density": Probe(
        lambda subject, loss: la.spectral_density(loss, subject.theta, generator=seed()), _spectral_density
    ),
}


# Measuring --------------------------------------------------------------------------------------------------------


def measure(kind: str, name: str, folder: Path) -> dict[str, Any]:
    """One probe in this process: seconds, peak MiB over what was held before, what it counted, differences.

    On Linux the peak starts from what the process held that started this one, which has loaded as much and done less.
    """
    subject, probe = load(kind, folder), PROBES[name]
    torch.linalg.eigh(torch.eye(3))  # loads what is loaded once
    before, start = _peak(), time.perf_counter()
    found = probe.run(subject, subject.loss())
    seconds, held = time.perf_counter() - start, _peak() - before
    return {
        "seconds": seconds,
        "MiB": held / 2**20,
        "count": _count(found) if isinstance(found, xr.Dataset) else "",
        "differences": probe.judge(subject, found),
        "witness seconds": time.perf_counter() - start - seconds,
    }


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _count(found: xr.Dataset) -> str:
    counts = {
        "evaluations": found.attrs.get("evaluations", 0),
        "products": int(found.products.sum()) if "products" in found else 0,
    }
    return ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)


def describe(kind: str, folder: Path) -> str:
    subject = load(kind, folder)
    with torch.no_grad():
        right = float(la.accuracy(subject.module(subject.inputs), subject.targets))
    return f"{kind}: {len(subject.theta):,} parameters, {len(subject.inputs):,} examples, accuracy {right:.3f}"


def in_a_process(*arguments: str) -> Any:
    """What `--one` prints of these; None, with the reason on stderr, where that fails."""
    command = [sys.executable, "-m", "benchmarks.own_models", "--one", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def table(kind: str, folder: Path) -> str:
    folder.mkdir()
    lines = [
        f"**{in_a_process(kind, TRAIN, str(folder))}**", "",
        "| probe | seconds | peak MiB | work | largest difference from the witness |",
        "| --- | ---: | ---: | --- | --- |",
    ]  # fmt: skip
    for name in PROBES:
        row = in_a_process(kind, name, str(folder))
        if row is None:
            lines.append(f"| {name} | failed | | | |")
            continue
        differences = ", ".join(f"{what} {value:.1e}" for what, value in row["differences"].items())
        lines.append(f"| {name} | {row['seconds']:.2f} | {row['MiB']:.0f} | {row['count']} | {differences} |")
        print(f"{lines[-1]} witness: {row['witness seconds']:.1f} s", file=sys.stderr, flush=True)
    return "\n".join(lines)


def main(*arguments: str) -> None:
    if arguments[:1] == ("--one",):
        kind, name, folder = arguments[1:]
        if name == TRAIN:  # not in the process that starts the others: its peak would count as theirs
            train(kind, Path(folder))
            print(json.dumps(describe(kind, Path(folder))))
        else:
            print(json.dumps(measure(kind, name, Path(folder))))
        return
    busy, start = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments or KINDS:
            print(table(kind, Path(folder) / kind), end="\n\n", flush=True)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; load average {busy:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; {time.perf_counter() - start:.0f} s in all"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
