"""What a study is: one frozen value, read from a TOML file and checked field by field."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from lossatlas.errors import InputError, SettingError
from lossatlas.probes import PROBES
from lossatlas.probes.probe import Of, Settings
from lossatlas.probes.probe import Probe as Declaration
from lossatlas.study.models import PRESETS, Activation, Architecture, parse_architecture

Dataset = Literal["moons", "circles", "gaussians", "xor"]
Optimizer = Literal["sgd", "adam"]
if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    Probe = str
else:
    Probe = Literal[tuple(probe.name for probe in PROBES)]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [f"{value:g}" if isinstance(value, float) else value for value in values]
    twice = [value for value, name in zip(values, names, strict=True) if names.count(name) > 1]
    if twice:
        raise ValueError(f"wanted every entry once, {twice[0]!r} is there more than once")
    return values


Distinct = AfterValidator(_distinct)
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]  # results hold them with 32 bits


class _Frozen(BaseModel):
    # No name is reserved: those of the probes are fields, `model_plane` too.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Data(_Frozen):
    """The data sets. Each is drawn once for every data seed; networks on one draw share its examples."""

    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1), Distinct] = ("moons",)
    train: Annotated[int, Field(ge=2)] = 1024
    """Training examples."""
    test: Annotated[int, Field(ge=2)] = 1024
    """Test examples: one of 1,024 is a step of 0.001 in accuracy."""
    noise: NonNegative = 0.1
    """Standard deviation of the noise added to the inputs of moons, circles and xor."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Distinct] = (0,)
    """Seeds of the examples, one draw each. From three draws on, intervals speak of other draws too."""
    clusters: Annotated[int, Field(ge=2, le=4)] = 3
    """Gaussian clusters, labelled alternately 0 and 1."""
    dimension: Annotated[int, Field(ge=2)] = 2
    """Dimension of the Gaussian clusters; the other data sets have two."""
    spread: Positive = 0.25
    """Standard deviation of a Gaussian cluster whose centre is at distance 1 from the origin."""


class Model(_Frozen):
    """The networks, each with two logits."""

    architectures: tuple[str, ...] = tuple(PRESETS.values())
    """Hidden layers x width, such as 4x250; a preset's name; ConvNets as conv4x16, residual MLPs as res3x64."""
    depth: tuple[Count, ...] = ()
    """Depths that replace those of the architectures; with width, every combination of the two as an MLP."""
    width: tuple[Count, ...] = ()
    """Widths that replace those of the architectures."""
    activations: Annotated[tuple[Activation, ...], Field(min_length=1), Distinct] = ("relu", "tanh", "gelu")

    @field_validator("architectures")
    @classmethod
    def _readable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(parse_architecture(name)) for name in names)

    @model_validator(mode="after")
    def _not_empty(self) -> Model:
        if not self.grid():
            raise ValueError("no architecture: give architectures, or both depth and width")
        return self

    def grid(self) -> tuple[str, ...]:
        """Every architecture of the study once, as depth x width, in the order given."""
        named = [parse_architecture(name) for name in self.architectures]
        if self.depth and self.width:
            named = [Architecture("mlp", depth, width) for depth in self.depth for width in self.width]
        elif self.depth:
            named = [one._replace(depth=depth) for one in named for depth in self.depth]
        elif self.width:
            named = [one._replace(width=width) for one in named for width in self.width]
        return tuple(dict.fromkeys(map(str, named)))


class Training(_Frozen):
    """How every network is trained."""

    optimizers: Annotated[tuple[Optimizer, ...], Field(min_length=1), Distinct] = ("sgd", "adam")
    weight_decays: Annotated[tuple[NonNegative, ...], Field(min_length=1), Distinct] = (1e-4,)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Distinct] = (0, 1, 2)
    """Of every draw of the data: each sets initialization and order of batches of a network of its own."""
    epochs: Count = 30
    until_loss: Positive | None = None
    """Training loss at which a network's training ends; without it, and where it is not reached, after the epochs."""
    batch_size: Count = 64
    sgd_learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_learning_rate: Positive = 0.01
    step_size: Count = 20
    """Epochs between two decays of the learning rate (StepLR)."""
    decay_factor: Positive = 0.5
    """What the learning rate is multiplied by at each decay."""
    evaluate_every: Count = 1
    """Epochs between two evaluations on all data; initialization and the last epoch always have one."""
    checkpoints: Annotated[int, Field(ge=1)] = 10
    """Checkpoints kept between initialization and the end, evenly spaced in epochs."""


class Regularization(_Frozen):
    """Networks trained again at several weight decays, and how their landscapes differ. Off unless there are any."""

    weight_decays: Annotated[tuple[NonNegative, ...], Distinct] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Distinct] = (0,)
    draws: Annotated[int, Field(ge=1)] | None = None
    """On how many draws of the data, from the first on; all if left out."""


class _Probes(_Frozen):
    """What is measured around every solution, and how finely: a table of settings for each probe."""

    run: Annotated[tuple[Probe, ...], Distinct] = tuple(probe.name for probe in PROBES if probe.standard)
    """Probes by name."""
    further_draws: Annotated[tuple[Probe, ...], Distinct] = tuple(
        probe.name for probe in PROBES if probe.every_draw is not None
    )
    """Those of them that are asked on every draw of the data, of the training data; the others on the first alone."""
    seeds: Count | None = None
    """Of so many seeds of every draw, from the first on, networks are measured by themselves; all if left out. The
    others are trained, and give accuracies and pairs."""
    between_optimizers: bool = True
    """Ask the probes of pairs also of runs that differ in their optimizer only."""

    @model_validator(mode="before")
    @classmethod
    def _as_studies_do(cls, given: Any) -> Any:
        """A table leaves the rest of its settings as a study has them, not as one model's report does."""
        if not isinstance(given, Mapping):
            return given
        return {
            name: {**STUDY_SETTINGS.get(name, {}), **table} if isinstance(table, Mapping) else table
            for name, table in given.items()
        }

    def settings(self, probe: str) -> Settings:
        """Those of a probe by its name."""
        return getattr(self, probe)

    def of(self, *kinds: Of, further: bool = False) -> list[Declaration]:
        """The probes that are asked for of a model, a trajectory, a pair, several models or a family.

        Args:
            kinds: what they are about.
            further: only those that are asked on draws of the data after the first too.
        """
        asked = set(self.run) & set(self.further_draws) if further else set(self.run)
        return [probe for probe in PROBES if probe.name in asked and probe.of in kinds]


# Where a study of many networks wants other settings than a report about one model.
STUDY_SETTINGS: dict[str, dict[str, Any]] = {
    "random_line": {"draws": 1},
    "spectrum": {"samples": 20, "tol": 1e-2},
    "epsilon_sharpness": {"samples": 30, "curve_samples": 10},
    "trajectory_sharpness": {"samples": 5, "tol": 0.05},
}

if TYPE_CHECKING:
    Probes = _Probes
else:
    Probes = create_model(
        "Probes",
        __base__=_Probes,
        __doc__=_Probes.__doc__,
        **{probe.name: (probe.settings, probe.settings(**STUDY_SETTINGS.get(probe.name, {}))) for probe in PROBES},
    )


class Run(_Frozen):
    """One network of a study: its whole name."""

    dataset: Dataset
    architecture: str
    activation: Activation
    optimizer: Optimizer
    weight_decay: float
    data_seed: int
    seed: int

    @property
    def group(self) -> tuple[str, str, str]:
        """Networks of one group train together: they share data set, architecture and activation."""
        return self.dataset, self.architecture, self.activation

    @property
    def configuration(self) -> tuple[str, str, str, str, float]:
        """Networks of one configuration differ in their seed and in the draw of their data only."""
        return self.dataset, self.architecture, self.activation, self.optimizer, self.weight_decay

    @property
    def siblings(self) -> tuple[str, str, str, str, float, int]:
        """Siblings differ in their seed only: they share their examples, so that there are paths between them."""
        return *self.configuration, self.data_seed

    def __str__(self) -> str:
        return " · ".join(
            (
                self.dataset,
                self.architecture,
                self.activation,
                self.optimizer,
                f"weight decay {self.weight_decay:g}",
                f"data seed {self.data_seed}",
                f"seed {self.seed}",
            )
        )


class Study(_Frozen):
    """A study: every combination of data set, architecture, activation, optimizer, weight decay, data seed and seed."""

    name: str = "custom"
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    probes: Probes = Probes()
    regularization: Regularization = Regularization()

    @model_validator(mode="after")
    def _fits_together(self) -> Study:
        if vars(self.probes.settings("spectrum"))["matrix"] != "hessian":
            raise ValueError("probes.spectrum.matrix: wanted 'hessian', of which a study's report and findings speak")
        long = [probe.name for probe in self.probes.of("trajectory") if probe.fewest > 2]
        if long and self.training.epochs < 2:
            raise ValueError(f"{long[0]} wants at least 2 training.epochs: with one there is no path to lay it through")
        return self

    def runs(self) -> Iterator[Run]:
        """Every network of the matrix; those that train together stand together."""
        yield from self._matrix(self.training.weight_decays, self.training.seeds, self.data.seeds)

    def regularization_runs(self) -> Iterator[Run]:
        """Every network of the regularization study; some may be networks of the matrix too."""
        draws = self.data.seeds[: self.regularization.draws]
        yield from self._matrix(self.regularization.weight_decays, self.regularization.seeds, draws)

    def all_runs(self) -> list[Run]:
        """Every network once: those of the matrix, then those that only the regularization study has."""
        return list(dict.fromkeys([*self.runs(), *self.regularization_runs()]))

    def of_first_draw(self, run: Run) -> bool:
        """Whether a run has the first draw of the data, which has every probe and the figures."""
        return run.data_seed == self.data.seeds[0]

    def probes_of(self, run: Run, *kinds: Of) -> list[Declaration]:
        """The probes of these kinds that are asked of a run, or of it and those beside it.

        Of a network of the regularization study alone only what findings rest on is asked, apart from what its family
        tells. Of a seed beyond `probes.seeds` nothing is asked but what it shares with others.
        """
        if not self._measured(run) and set(kinds) <= {"model", "trajectory"}:
            return []
        if self._of_matrix(run) or kinds == ("family",):
            return self.probes.of(*kinds, further=not self.of_first_draw(run))
        return self.probes.of("model", further=True) if "model" in kinds else []

    def settings_of(self, run: Run, probe: Declaration) -> Settings:
        """How finely a probe is measured of a run: beside the matrix on its first draw as a mean over many needs it."""
        settings = self.probes.settings(probe.name)
        if self.of_first_draw(run) and (self._of_matrix(run) or probe.of == "family"):
            return settings
        return replace(settings, **(probe.every_draw or {}))

    def _of_matrix(self, run: Run) -> bool:
        return run.weight_decay in self.training.weight_decays

    def _measured(self, run: Run) -> bool:
        seeds = self.training.seeds if self._of_matrix(run) else self.regularization.seeds
        return run.seed in seeds[: self.probes.seeds]

    def _matrix(
        self, weight_decays: tuple[float, ...], seeds: tuple[int, ...], data_seeds: tuple[int, ...]
    ) -> Iterator[Run]:
        for dataset, architecture, activation, optimizer, weight_decay, data_seed, seed in itertools.product(
            self.data.datasets,
            self.model.grid(),
            self.model.activations,
            self.training.optimizers,
            weight_decays,
            data_seeds,
            seeds,
        ):
            yield Run(
                dataset=dataset,
                architecture=architecture,
                activation=activation,
                optimizer=optimizer,
                weight_decay=weight_decay,
                data_seed=data_seed,
                seed=seed,
            )


def shipped_studies() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    folder = resources.files("lossatlas.study") / "studies"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_study(name: str) -> Study:
    """A study by the name of a shipped one or the path of a TOML file.

    Raises InputError, one line, when there is no such study or it cannot be read.
    """
    if name in shipped_studies():
        return _validate(
            tomllib.loads((resources.files("lossatlas.study") / "studies" / f"{name}.toml").read_text()), name
        )
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"there is no study {name!r}: wanted one of {', '.join(shipped_studies())} or the path of a TOML file"
        )
    try:
        fields = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{name} is not a TOML file ({error}): correct it and run again") from error
    return _validate({"name": path.stem, **fields}, name)


def _validate(fields: dict[str, Any], source: str) -> Study:
    try:
        return Study.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error)}") from error


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path) or "study"


def explain(error: ValidationError, named: Callable[[Sequence[str]], str] = _dotted) -> str:
    """Everything that pydantic found wrong, in one line: of each field what was wanted, and what came.

    Args:
        error: what pydantic raised.
        named: (names of tables and field, outermost first) -> what the line calls the field.
    """
    return "; ".join(dict.fromkeys(_explained(found, named) for found in error.errors()))


def _explained(found: ErrorDetails, named: Callable[[Sequence[str]], str]) -> str:
    path = [str(part) for part in found["loc"] if not isinstance(part, int)]
    field = named(path)
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"there is no field {field}: see `lossatlas run --help` for all of them"
    raised = found.get("ctx", {}).get("error")
    if isinstance(raised, SettingError):
        return f"{named([*path, raised.setting])} {raised.problem}"
    wanted = found["msg"].removeprefix("Value error, ").replace("Input should be", "wanted")
    if found["type"] == "dataclass_type":
        wanted = "wanted a table of settings"
    # A whole table says no more than the sentence about it does.
    got = "" if isinstance(found["input"], Mapping | BaseModel) else f", got {found['input']!r}"
    return f"{field}: {wanted}{got}"
