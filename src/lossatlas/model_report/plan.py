"""What is asked of one model: which measurements its probes make, what they cost, and what others lack."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lossatlas.execution.drawing import Drawing
from lossatlas.execution.measuring import Measurement
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.settings import OF_ONE_MODEL
from lossatlas.probes.probe import Cost, Settings, Subject

DPI = 200  # of figures

# Streams of random numbers that had names before their probes had one name everywhere: kept, so that the same model has
# the same numbers.
STREAMS = {"spectral_density": "density", "block_spectrum": "blocks", "epsilon_sharpness": "sharpness"}


@dataclass(frozen=True)
class Plan:
    """What is measured of one model, and why the rest is not."""

    subjects: Mapping[str, Subject]  # by the name of the measurement
    measurements: tuple[Measurement, ...]
    lacking: Mapping[str, str]  # by probe: the end of "it wants ..."

    @classmethod
    def of(
        cls, subject: Subject, folder: Folder, *, probes: Iterable[str], settings: Mapping[str, Settings], seed: int
    ) -> Plan:
        """The plan of these probes, in the order of PROBES.

        Args:
            subject: the model; a probe of a pair is asked once for every other solution.
            folder: where results go.
            probes: names.
            settings: by name of the probe.
            seed: of every stream of random numbers.
        """
        subjects: dict[str, Subject] = {}
        measurements: list[Measurement] = []
        lacking: dict[str, str] = {}
        for name, probe in OF_ONE_MODEL.items():
            if name not in probes:
                continue
            if why := probe.lacking(subject):
                lacking[name] = why
                continue
            for other, one in _subjects(subject, pairs=probe.of == "pair"):
                full = f"{name}_{other}" if other else name
                subjects[full] = one
                measurements.append(
                    Measurement(
                        probe=probe, settings=settings[name], file=folder.result(full, probe.suffix),
                        key=(seed, STREAMS.get(full, full)), folder=folder.root, other=other,
                    )
                )  # fmt: skip
        return cls(subjects, tuple(measurements), lacking)

    def cost(self, measurement: Measurement) -> Cost:
        """What it takes; a probe that has the setting `examples` may sample them."""
        cost = measurement.probe.cost(self.subjects[measurement.name], measurement.settings)
        return dataclasses.replace(cost, sampled=getattr(measurement.settings, "examples", "all") == "auto")

    def drawings(self, folder: Folder, title: str) -> list[Drawing]:
        return [
            Drawing(
                probe=one.probe, sources={"": one.file}, folder=folder.figures(one.name), title=title,
                failures=folder.root, dpi=DPI,
            )
            for one in self.measurements
        ]  # fmt: skip


def _subjects(subject: Subject, *, pairs: bool) -> list[tuple[str, Subject]]:
    """The model itself; for pairs with one of the other solutions at a time, and that one's name as files have it."""
    if not pairs:
        return [("", subject)]
    return [
        (plain, dataclasses.replace(subject, others={name: subject.others[name]}))
        for plain, name in zip(file_names(subject.others), subject.others, strict=True)
    ]


def file_names(names: Iterable[str]) -> list[str]:
    """Names that every file system takes, no two alike.

    >>> file_names(["seed 1", "seed/1", "last"])
    ['seed_1', 'seed_1_2', 'last']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.=-]+", "_", name)
        numbered = (f"{plain}_{number}" if number > 1 else plain for number in itertools.count(1))
        found.append(next(new for new in numbered if new not in found))
    return found
