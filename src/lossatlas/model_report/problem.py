"""A problem of the user's own: a model, its data and its criterion, and whatever else is known of its training."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.errors import InputError
from lossatlas.loss.criteria import Criterion, name_of
from lossatlas.loss.loss import Loss
from lossatlas.training.weight_files import weight_files
from lossatlas.training.weights import Weights, state_of, theta_of


@dataclass(frozen=True, repr=False)
class Problem:
    """What `lossatlas probe` measures.

    Args:
        module: the trained model.
        data: what it was trained on, as `Loss.of` takes it.
        criterion: as `Loss.of` takes it; None where the module computes its own loss.
        test_data: other data, measured beside the training data.
        metrics: more functions of (output, target), by name, such as `{"accuracy": lossatlas.accuracy}`.
        checkpoints: the path of training, in order: a folder that `Recorder` wrote or of files with numbers in their
            names, or a sequence of weights. Each is a state dict, a flat θ, a module, or a file (.safetensors, .pt,
            .pth, .ckpt) of a state dict or of a checkpoint that holds one. The module's own weights are the last point,
            and are added where the path does not end there.
        solutions: other trained weights of the same architecture by name, for the paths and the plane between them.
        options: further keywords of `Loss.of`: forward, params, weight_decay, buffers, batch_size, reduction, ...
        name: the title of the report; the module's class where it is not given.
    """

    module: nn.Module
    data: Any
    criterion: Criterion | None = None
    test_data: Any = None
    metrics: Mapping[str, Criterion] = field(default_factory=dict)
    checkpoints: str | Path | Sequence[Weights] | None = None
    solutions: Mapping[str, Weights] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise InputError(f"the problem's module is a {type(self.module).__name__}: wanted a torch.nn.Module")
        if not isinstance(self.solutions, Mapping):
            raise InputError(
                f"the problem's solutions are a {type(self.solutions).__name__}: wanted a mapping, weights by name"
            )

    def __repr__(self) -> str:
        beside = {
            "test data": self.test_data is not None,
            f"metrics {', '.join(self.metrics)}": bool(self.metrics),
            "checkpoints": self.checkpoints is not None,
            f"solutions {', '.join(self.solutions)}": bool(self.solutions),
            f"options {', '.join(self.options)}": bool(self.options),
        }
        criterion = "the module's own loss" if self.criterion is None else f"criterion {name_of(self.criterion)}"
        words = [self.title, type(self.module).__name__, criterion, *(what for what, there in beside.items() if there)]
        return f"Problem({', '.join(dict.fromkeys(words))})"

    @property
    def title(self) -> str:
        return self.name or type(self.module).__name__

    def losses(self, *, device: str | None = None) -> dict[str, Loss]:
        """The loss on each split, computed on `device`; InputError, one line, where it cannot be made."""
        splits = {"train": self.data} | ({} if self.test_data is None else {"test": self.test_data})
        made = {}
        for split, data in splits.items():
            try:
                made[split] = Loss.of(
                    self.module, data, self.criterion, metrics=self.metrics, device=device, **self.options
                )
            except (TypeError, ValueError) as error:
                raise InputError(f"the loss on the {split} data cannot be made: {error}") from error
        return made

    def trajectory(self, loss: Loss) -> Tensor | None:
        """Checkpoints in order, the model's own weights last: `(t, P)`; None where there are none. `loss` says what θ
        is.
        """
        if self.checkpoints is None:
            return None
        sources = self._sources
        points = [theta_of(source, loss, f"checkpoint {number}") for number, source in enumerate(sources)]
        if not points or not torch.equal(points[-1], loss.theta):
            points.append(loss.theta)
        return torch.stack(points)

    def states(self, loss: Loss) -> dict[str, dict[str, Tensor]]:
        """State dicts of the other solutions by name, where the module of `loss` has buffers and they have theirs.

        Raises InputError where one has other parameters that are not in θ: its losses would not be its own.
        """
        own, fixed = loss.module.state_dict(), _beside(loss)
        if not fixed and not _has_buffers(loss):
            return {}
        found = {name: state_of(source, loss, f"solution {name!r}") for name, source in self.solutions.items()}
        for name, state in found.items():
            unequal = [one for one in fixed if state and not torch.equal(state[one].to(own[one]), own[one])]
            if unequal:
                raise InputError(
                    f"solution {name!r} differs from the model in {', '.join(unequal[:3])}, which θ does not hold: "
                    'wanted solutions that differ in θ and buffers alone; options={"include_frozen": True} or '
                    '{"params": ...} say what θ holds'
                )
        return {name: state for name, state in found.items() if state is not None}

    def initial(self, loss: Loss) -> dict[str, Tensor] | None:
        """The state dict of the first checkpoint, with buffers like the module of `loss`; None where it has none."""
        sources = self._sources if _has_buffers(loss) else ()
        return state_of(sources[0], loss, "checkpoint 0") if sources else None

    def others(self, loss: Loss) -> dict[str, Tensor]:
        """θ `(P,)` of every other solution by name. `loss` says what θ is."""
        return {name: theta_of(source, loss, f"solution {name!r}") for name, source in self.solutions.items()}

    @cached_property
    def _sources(self) -> Sequence[Weights]:
        """Of the checkpoints, in order."""
        if not isinstance(self.checkpoints, (str, Path)):
            return list(self.checkpoints or ())
        files = weight_files(self.checkpoints)
        if not files:
            raise InputError(
                f"checkpoints: {self.checkpoints} holds no files of weights (.safetensors, .pt, .pth, .ckpt)"
            )
        return files


def _beside(loss: Loss) -> list[str]:
    """Names of the parameters that θ does not hold."""
    return [name for name, _ in loss.module.named_parameters() if name not in loss.layout.slices]


def _has_buffers(loss: Loss) -> bool:
    return any(buffer.is_floating_point() for buffer in loss.module.buffers())


# From the command line -----------------------------------------------------------------------------------------


def load_problem(address: str) -> Problem:
    """The problem at "module:object" or "path/to/file.py:object".

    The object is a `Problem`, a function without arguments that gives one, or either with a tuple
    (module, data, criterion, checkpoints) or a mapping of `Problem`'s fields in its place.

    Raises InputError, one line, when there is none or it cannot be made.
    """
    place, _, name = address.rpartition(":")
    if not place or not name:
        raise InputError(f"{address!r} names no object: wanted module:object, such as my_training:problem")
    found = _attribute(_imported(place), name, place)
    if callable(found) and not isinstance(found, (Problem, nn.Module)):
        found = _called(found, address)
    return _as_problem(found, address)


def _imported(place: str) -> ModuleType:
    """A module by name, or a file by its path; the working directory can be imported from, as with `python -m`."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        file = Path(place)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None or not file.is_file():
            raise InputError(f"{place} is not there")
        sys.path.insert(0, str(file.resolve().parent))
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        raise InputError(f"{place} cannot be imported: {error}") from error
    except InputError:
        raise
    except Exception as error:  # the user's own code, whatever it does
        raise InputError(f"{place} fails when it is imported: {_told(error)}") from error


def _attribute(module: ModuleType, name: str, place: str) -> Any:
    if not hasattr(module, name):
        own = [found for found in vars(module) if not found.startswith("_")]
        raise InputError(f"{place} has no {name!r}: it has {', '.join(own[:12]) or 'nothing'}")
    return getattr(module, name)


def _called(function: Callable[[], Any], address: str) -> Any:
    try:
        return function()
    except InputError:
        raise
    except Exception as error:  # the user's own code, whatever it does
        raise InputError(f"{address} fails: {_told(error)}") from error


def _as_problem(found: Any, address: str) -> Problem:
    try:
        if isinstance(found, Problem):
            return found
        if isinstance(found, Mapping):
            return Problem(**found)
        if isinstance(found, tuple) and 2 <= len(found) <= 4:
            fields = ("module", "data", "criterion", "checkpoints")
            return Problem(**dict(zip(fields, found, strict=False)))
    except TypeError as error:
        raise InputError(f"{address} is no problem: {error}") from error
    raise InputError(
        f"{address} gives a {type(found).__name__}: wanted a lossatlas.Problem, or (module, data, criterion[, "
        "checkpoints]), or a function without arguments that gives one"
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'without a message').splitlines()[0]}"
