"""The report of a study: its parts in order. Every word with a number in it is written from a table of the store."""

from __future__ import annotations

from lossatlas.document.blocks import Document
from lossatlas.numbers import counted, listed
from lossatlas.study.report.appendices import appendices
from lossatlas.study.report.atlas import atlas
from lossatlas.study.report.claims import claims
from lossatlas.study.report.comparisons import architectures, optimizers, other_networks, regularization
from lossatlas.study.report.conclusions import conclusions, limits
from lossatlas.study.report.connectivity import connectivity
from lossatlas.study.report.curvature import hessian, sharpness
from lossatlas.study.report.earlier import earlier
from lossatlas.study.report.landscapes import landscapes
from lossatlas.study.report.material import Material
from lossatlas.study.report.measures import measures
from lossatlas.study.report.overview import overview, setup
from lossatlas.study.report.performance import performance
from lossatlas.study.report.references import references
from lossatlas.study.report.standing import standing
from lossatlas.study.report.verdicts import verdicts_section


def build_report(material: Material) -> Document:
    """The report as a document. Parts whose data the study lacks are left out, or said to be absent."""
    sections = [
        atlas(material),
        verdicts_section(material),
        standing(material),
        performance(material),
        landscapes(material),
        hessian(material),
        sharpness(material),
        connectivity(material),
        architectures(material),
        optimizers(material),
        regularization(material),
        other_networks(material),
        earlier(material),
        conclusions(material),
        limits(material),
        overview(material),
        setup(material),
        references(),
        *appendices(material),
        claims(material),
    ]
    present = [section for section in sections if section]
    if found := measures(material, present):
        present.append(found)
    study = material.study
    return Document(
        title=f"Loss landscapes: the {study.name} study",
        subtitle=(
            f"{counted(len(list(study.runs())), 'network')} on {listed(list(study.data.datasets))}, "
            f"{counted(len(study.data.seeds), 'draw')} of the data, {counted(len(study.training.seeds), 'seed')} of "
            f"each configuration on a draw{material.more}"
        ),
        sections=tuple(present),
    )
