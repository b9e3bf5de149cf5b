"""How finely one model is measured: what all probes share, and the settings of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lossatlas.probes import PROBES
from lossatlas.probes.call import seconds_of
from lossatlas.probes.probe import ODD, Precision, Probe, Settings

OF_ONE_MODEL: dict[str, Probe] = {probe.name: probe for probe in PROBES if probe.of != "family"}

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(OF_ONE_MODEL)]


Steps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: each plane's own)")]


Budget = Annotated[str | None, tyro.conf.arg(metavar="TIME", help_behavior_hint="(default: none)")]


@dataclass(frozen=True)
class Shared(Settings):
    """What several probes share."""

    seed: int = 0
    """Of every random direction and vector."""
    budget: Budget = None
    """Time for all that is measured, such as "10 min": each probe then gives what can be had in its share, with its
    larger error."""
    precision: Precision = "auto"
    """Of the curvature; auto: float64 below two million parameters, but the model's own for the density and the
    eigenvector plane."""
    steps: Steps = None
    """Grid points along each axis of every plane, odd."""
    exact: bool = False
    """Measure every node of every plane; else as few as the loss takes, with an error that is stated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None:
            ODD.check("steps", self.steps)
        if self.budget is not None:
            seconds_of(self.budget)


def _probe_settings() -> type[Any]:
    fields = [(probe.name, probe.settings, dataclasses.field(default_factory=probe.settings))
              for probe in OF_ONE_MODEL.values()]  # fmt: skip
    return dataclasses.make_dataclass("ProbeSettings", fields, frozen=True, namespace={"__doc__": "Each probe's own."})


_KIND: type[Any] = _probe_settings()
if TYPE_CHECKING:
    ProbeSettings = Any
else:
    ProbeSettings = _KIND


def default_settings() -> Any:
    """Each probe's own, as it says them."""
    return _KIND()


def settings_by_probe(shared: Shared, own: Any) -> dict[str, Settings]:
    """The settings of every probe: its own, with what is shared put into all planes.

    A plane is what can be measured at fewer than all nodes: a probe with a setting `exact`.
    """
    found: dict[str, Settings] = {}
    for name in OF_ONE_MODEL:
        settings = getattr(own, name)
        if hasattr(settings, "exact"):
            steps = settings.steps if shared.steps is None else shared.steps
            settings = dataclasses.replace(settings, steps=steps, exact=settings.exact or shared.exact)
        found[name] = settings
    return found
