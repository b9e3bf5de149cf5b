"""What a probe says of itself, once, for everything that lists, runs, draws or tells of probes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from typing import Any, Literal, get_type_hints

import torch
import xarray as xr
from torch import Generator, Tensor

from lossatlas.errors import SettingError
from lossatlas.hardware import supports_float64
from lossatlas.loss.loss import Loss
from lossatlas.loss.other_models import borrowed_buffers, with_buffers
from lossatlas.work import Work, current, working

Of = Literal["model", "trajectory", "pair", "models", "family"]
Precision = Literal["auto", "float32", "float64"]

EXACT_BELOW = 2_000_000  # parameters: curvature of larger models is measured in their own precision
TYPICAL_NODES = 160  # nodes that the plane of a trained network took on the average (docs/design/surfaces.md)
THIS_MODEL = "this model"  # what it is called among other solutions
PRODUCTS_PER_PAIR = 4  # products with the matrix to the usual tolerance: 2 to 6 (docs/design/eigenvalues.md)


# What a probe is asked about --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Networks that differ in one setting, their weight decay."""

    weight_decays: tuple[float, ...]
    starts: Tensor  # (w, P), initial weights
    ends: Tensor  # (w, P), final weights


@dataclass(frozen=True)
class Subject:
    """Losses by split, and the points of their parameter space that are known."""

    losses: Mapping[str, Loss]
    theta: Tensor  # (P,), the model that it is about
    trajectory: Tensor | None = None  # (t, P), checkpoints in the order of training, the model's own weights last
    others: Mapping[str, Tensor] = field(default_factory=dict)  # (P,) each: other solutions by name
    states: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)  # state dicts of others, where known
    initial: Mapping[str, Tensor] | None = None  # state dict of the first checkpoint, where known
    family: Family | None = None
    precision: Precision = "auto"

    @property
    def loss(self) -> Loss:
        return next(iter(self.losses.values()))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.loss.layout.size

    def losses_among(self, states: Iterable[Mapping[str, Tensor] | None]) -> Mapping[str, Loss]:
        """The losses for this model and others, each with buffers of its own where nobody said which are meant.

        Args:
            states: state dicts of the others; None where one is not known: the losses are then as they are.
        """
        known = [state for state in states if state is not None]
        points = {str(number): self.loss.layout.flatten(state) for number, state in enumerate(known)}
        if self.loss.attrs["buffers"] != "stored" or borrowed_buffers(self.loss, points) is None:
            return self.losses
        models = [self.loss.module, *known]
        return {split: with_buffers(loss, "interpolated", models) for split, loss in self.losses.items()}

    @property
    def dtype(self) -> torch.dtype:
        """That of the curvature."""
        if self.precision != "auto":
            return getattr(torch, self.precision)
        small = self.size < EXACT_BELOW and supports_float64(self.theta.device)
        return torch.float64 if small else self.loss.dtype

    @property
    def sampled_dtype(self) -> torch.dtype | None:
        """That of curvature whose sampling error is far above rounding: the loss's own unless another is asked for."""
        return None if self.precision == "auto" else self.dtype


# How finely -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What a setting must be, said in its annotation: `steps: Annotated[int, ODD] = 51`."""

    words: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raise SettingError for a value of the setting `name` that is not wanted."""
        if not self.holds(value):
            raise SettingError(name, f"is {value}: wanted {self.words}")


ODD = Wanted("an odd number of at least 3", lambda value: value >= 3 and value % 2 == 1)
POSITIVE = Wanted("a number above 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Wanted("a number of at least 0", lambda value: 0 <= value < math.inf)


def at_least(least: int) -> Wanted:
    return Wanted(f"at least {least}", lambda value: value >= least)


@dataclass(frozen=True)
class Settings:
    """How finely a probe measures: keywords of its function, flags of the command line, a table of a study's TOML.

    Raises SettingError, which is both an InputError and a ValueError, for a value that its annotation does not want.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by pydantic: a study has no misspelled settings)

    def __post_init__(self) -> None:
        for name, wanted in _wanted(type(self)).items():
            for one in wanted:
                one.check(name, getattr(self, name))


@cache
def _wanted(kind: type[Settings]) -> dict[str, list[Wanted]]:
    hints = get_type_hints(kind, include_extras=True)
    marked = {name: [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Wanted)]
              for name, hint in hints.items()}  # fmt: skip
    return {name: wanted for name, wanted in marked.items() if wanted}


# What it costs, what it says, what stands in tables ------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a probe takes, about, on each split."""

    evaluations: int = 0  # of the loss
    products: int = 0  # of a matrix of curvature and a vector
    sampled: bool = False  # whether the evaluations may be of a sample of the examples


@dataclass(frozen=True)
class Rows:
    """A table in words: the first column names the rows, the others are numbers."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Told:
    """What a result says: in one sentence for the start of a report, and in lines and tables of its own.

    Args:
        sentence: for the start of a report.
        lines: of the section.
        tables: of the section.
        note: what every caption of its figures ends with.
    """

    sentence: str = ""
    lines: tuple[str, ...] = ()
    tables: tuple[Rows, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One number of a result, for tables: `<probe>_<name>`."""

    words: str  # what a page calls it
    value: Callable[[xr.Dataset], float | bool | None]  # of the result on one split
    boolean: bool = False
    split: str = "train"  # whose number a table of runs has


# The declaration --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)  # there is one of each, whatever it holds
class Probe:
    """A question to the landscape, and all that the package knows of it beside the function itself.

    A probe is one file that ends in `PROBE = Probe(...)`, and one line in `probes/__init__.py`.

    Args:
        function: what measures: (losses, points..., *, keywords) -> dataset. Its name is the probe's name everywhere.
        settings: the class of its settings; every field is a keyword of the function.
        of: what it is about, which says how it is called: a "model" (losses, θ), a "trajectory" (losses, checkpoints),
            a "pair" of solutions (losses, θ, other), "models" (losses, stack, names=), or a "family" of networks.
        title: what a report calls it, a few words.
        meaning: what it measures, in sentences for a report.
        misleads: how it can mislead, in sentences for a report.
        cost: what it takes, known before the work.
        tell: (result, name of the other solution or "") -> what a report says of the result.
        variables: meaning and unit of variables and coordinates that only its results have, by name.
        columns: numbers for tables, by name; tables call them `<probe>_<name>`.
        fewest: least number of checkpoints of a "trajectory", or of other solutions for "models".
        lacks: what a subject lacks, in half a sentence, where `of` and `fewest` do not say it.
        call: (subject, settings, generator) -> result, where the function is not called as `of` says.
        folder: of its results in a study, where that is not its name.
        suffix: ".json" for small results that people read; they have no coordinates but those of dimensions.
        standard: whether a study measures it without being asked.
        every_draw: settings with which a study measures it on the further draws of its data too, other than those of
            the first; None where it does not. For what findings rest on: a mean over draws needs no precision of each.
    """

    function: Callable[..., xr.Dataset]
    settings: type[Settings]
    of: Of
    title: str
    meaning: str
    misleads: str
    cost: Callable[[Subject, Any], Cost]
    tell: Callable[[xr.Dataset, str], Told]
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    fewest: int = 2
    lacks: Callable[[Subject], str] | None = None
    call: Callable[[Subject, Any, Generator], xr.Dataset] | None = None
    folder: str = ""
    suffix: Literal[".nc", ".json"] = ".nc"
    standard: bool = False
    every_draw: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Probe({self.name}: {self.title})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process finds a probe where it is declared: nothing of it need be picklable."""
        return _declared_in, (self.function.__module__,)

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def heading(self) -> str:
        """Of its section in a report: its name, and what that means."""
        return f"{self.name.replace('_', ' ').capitalize()}: {self.title}"

    @property
    def place(self) -> str:
        """The folder of its results in a study."""
        return self.folder or self.name

    @property
    def file(self) -> str:
        """The name of a result's file."""
        return f"{self.name}{self.suffix}"

    def figure(self, kind: str, form: str = "png") -> str:
        """The name of a figure's file, such as random_plane_contour.png."""
        return f"{self.name}_{kind}.{form}"

    @cached_property
    def keywords(self) -> frozenset[str]:
        """Of the function."""
        parameters = inspect.signature(self.function).parameters.values()
        return frozenset(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)

    def column(self, name: str) -> str:
        """What tables call one of its columns."""
        return f"{self.name}_{name}"

    def lacking(self, subject: Subject) -> str:
        """What the subject lacks for this probe, as the end of "it wants ...", or "" where it can be asked."""
        if self.lacks is not None:
            return self.lacks(subject)
        trajectory = 0 if subject.trajectory is None else len(subject.trajectory)
        if self.of == "trajectory" and trajectory < self.fewest:
            return f"{_in_words(self.fewest)} checkpoints at least, the model's own weights among them"
        if self.of == "pair" and not subject.others:
            return "other solutions of the same architecture (solutions=)"
        if self.of == "models" and len(subject.others) < self.fewest:
            return f"{_in_words(self.fewest)} other solutions at least (solutions=)"
        if self.of == "family" and subject.family is None:
            return "networks trained at several weight decays, as a study has them"
        return ""

    def measure(self, subject: Subject, settings: Settings, generator: Generator) -> xr.Dataset:
        """The result for one subject; of a "pair" the other end is the first of the subject's other solutions."""
        with working(current() or Work()):  # what asks for many bounds, shows and keeps its work itself
            return self._measured(subject, settings, generator)

    def _measured(self, subject: Subject, settings: Settings, generator: Generator) -> xr.Dataset:
        if self.call is not None:
            return self.call(subject, settings, generator)
        knobs = dict(vars(settings))
        if "generator" in self.keywords:
            knobs["generator"] = generator
        if self.of == "models":
            knobs["names"] = [THIS_MODEL, *subject.others]
        losses = subject.losses
        if self.of in ("pair", "models"):
            losses = subject.losses_among(map(subject.states.get, subject.others))
        return self.function(losses, *self._points(subject), **knobs)

    def _points(self, subject: Subject) -> tuple[Any, ...]:
        if self.of == "trajectory":
            return (subject.trajectory,)
        if self.of == "pair":
            return subject.theta, next(iter(subject.others.values()))
        if self.of == "models":
            return (torch.stack([subject.theta, *subject.others.values()]),)
        if self.of == "family":
            family = subject.family
            assert family is not None  # `lacking` says so
            return family.ends, family.weight_decays
        return (subject.theta,)


def _declared_in(module: str) -> Probe:
    return import_module(module).PROBE


def declarations(*functions: Callable[..., xr.Dataset]) -> tuple[Probe, ...]:
    """The `PROBE` of the file that each function stands in."""
    return tuple(_declared_in(function.__module__) for function in functions)


def nodes(steps: int, *, exact: bool) -> int:
    """Evaluations that a plane of `steps` x `steps` nodes takes, about."""
    return steps**2 if exact else min(steps**2, TYPICAL_NODES)


def _in_words(count: int) -> str:
    return {2: "two", 3: "three"}.get(count, str(count))
