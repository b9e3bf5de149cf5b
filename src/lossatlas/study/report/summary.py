"""The Markdown pages of a study: short documents of the tables and figures, beside the report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from lossatlas.document.blocks import Block, Code, Document, Inline, Items, Link, Paragraph, Section, Text
from lossatlas.document.markdown import write_markdown
from lossatlas.files import write_text
from lossatlas.numbers import Row, accuracy_text, counted, interval_text, loss_text
from lossatlas.study.analysis.runs import SPLITS, first_of_each_configuration
from lossatlas.study.models import parse_architecture
from lossatlas.study.report import grids
from lossatlas.study.report.appendices import every_regularized
from lossatlas.study.report.claims import claims
from lossatlas.study.report.comparisons import regularization
from lossatlas.study.report.connectivity import (
    alignment_table,
    alignment_words,
    barrier_definition,
    barrier_table,
    drawn_pairs,
    loss_figure,
    seeds_of,
)
from lossatlas.study.report.grids import TEST_MEANS, configuration_columns, configuration_name
from lossatlas.study.report.levels import FACTORS, level_blocks, seeds_interval
from lossatlas.study.report.material import Material
from lossatlas.study.report.overview import comparisons_and_intervals, what_was_run

PAGES = (*(f"{factor}_study" for factor in FACTORS), "connectivity_study", "regularization_study")


def write_pages(material: Material) -> list[Path]:
    """Write summary.md, one page per study and claims.md at the root of the store; returns their paths."""
    root = material.store.root
    pages = {
        "summary": _summary(material),
        **{f"{factor}_study": _factor_page(material, factor) for factor in FACTORS},
        "connectivity_study": _connectivity_page(material),
        "regularization_study": _regularization_page(material),
    }
    if (section := claims(material)) is not None:
        pages["claims"] = Document(f"Claims: {material.study.name}", "", (section,))
    for name, page in pages.items():
        write_text(root / f"{name}.md", write_markdown(page, contents=False))
    return [root / f"{name}.md" for name in pages]


def _page(material: Material, what: str, blocks: Sequence[Block], sections: list[Section]) -> Document:
    title = f"{what}: {material.study.name}"
    return Document(title, "", (Section("results", "Results", tuple(blocks)), *sections))


# The summary ---------------------------------------------------------------------------------------------------


def _summary(material: Material) -> Document:
    rows = material.rows("configurations")
    words = (
        "Each row is the mean over the n runs of one configuration that did not diverge. "
        f"{seeds_interval(material, rows)}"
    )
    columns = [*configuration_columns(material.study), *TEST_MEANS]
    results: list[Block] = [
        Paragraph((words,)),
        grids.table("configurations", ("Mean test loss and accuracy by configuration.",), columns, rows),
        *_extremes(material, rows),
    ]
    counts, problems = _account(material)
    sections = [
        Section("problems", "Runs that diverged or failed", tuple(problems)),
        Section("more", "More", tuple(_more(material))),
    ]
    page = _page(material, "Summary", results, sections)
    settings: Text = ("The complete settings are in ", Link("study.json", "study.json"), ".")
    run = Section("run", "What was run", (Paragraph((counts,)), Paragraph(settings)), what_was_run(material))
    return Document(page.title, page.subtitle, (run, *page.sections))


def _account(material: Material) -> tuple[str, list[Block]]:
    """How many runs there are, and which are not as they should be."""
    store, study, untrained, diverged = material.store, material.study, material.untrained, material.diverged
    items: list[Text] = [(f"diverged: {run}",) for run in diverged]
    items += [(f"not trained: {run}",) for run in untrained]
    failures = [
        (folder.relative_to(store.root).as_posix(), what, message)
        for folder, failed in material.records.failures.items()
        for what, message in failed.items()
    ]
    for folder, what, message in failures:
        said = " ".join(message.replace("`", "'").split())
        items.append((f"failed: {what} in ", Link(folder, f"{folder}/"), ": ", Code(said)))
    counts = (
        f"{counted(len(list(study.runs())), 'run')} in "
        f"{counted(len(first_of_each_configuration(store)), 'configuration')}{material.more}: "
        f"{len(study.all_runs()) - len(untrained)} trained, of which {len(diverged)} diverged; "
        f"{len(untrained)} not trained; "
        f"{counted(len(failures), 'recorded failure')}."
    )
    return counts, [Items(tuple(items)) if items else Paragraph(("None.",))]


def _extremes(material: Material, rows: list[Row]) -> list[Block]:
    ranked = sorted((row for row in rows if row["n"]), key=lambda row: row["mean_test_loss"])
    shown = min(3, len(ranked) // 2)
    if not shown:
        return []
    words = (
        f"Out of {counted(len(rows), 'configuration')} the extremes are partly those whose seeds happened to do well "
        "or badly."
    )
    blocks: list[Block] = [Paragraph((words,))]
    for which, some in (("Lowest", ranked[:shown]), ("Highest", ranked[-shown:][::-1])):
        lines = [
            f"{configuration_name(material.study, row)}: test loss {interval_text(row, 'mean_test_loss', loss_text)}, "
            f"test accuracy {interval_text(row, 'mean_test_accuracy', accuracy_text)}"
            for row in some
        ]
        blocks += [Paragraph((f"{which} mean test loss:",)), Items(tuple((line,) for line in lines))]
    return blocks


def _more(material: Material) -> list[Block]:
    store = material.store
    pages = [Link(f"{page.split('_')[0].capitalize()} study", f"{page}.md") for page in PAGES]
    items: list[Text] = [
        ("Pages: ", *_separated(pages)),
        ("Tables: ", *_separated([Link(f"{name}.csv", f"tables/{name}.csv") for name in material.tables])),
    ]
    folders = {run: store.configuration_figure_folder(run) for run in first_of_each_configuration(store)}
    figures: list[Text] = [
        ("Figures: ", Link(configuration_name(material.study, run.model_dump()), f"{material.target(folder)}/"))
        for run, folder in folders.items()
        if folder.is_dir()
    ]
    return [Items((*items, *(figures or [("No figures have been drawn.",)])))]


# The studies ---------------------------------------------------------------------------------------------------


def _factor_page(material: Material, factor: str) -> Document:
    note = (seeds_interval(material, material.rows(factor)),)
    blocks = [*level_blocks(material, factor, factor, note), _sources(factor, "runs")]
    lines: list[Text] = [
        (f"{factor} {level} ({run}): ", *_separated(links)) for level, run, links in _examples(material, factor)
    ]
    words = f"The first run of each {factor}, as an example; other runs may look different."
    return _page(material, f"{factor.capitalize()} study", blocks, _figures(words, lines))


def _connectivity_page(material: Material) -> Document:
    sections = []
    if material.rows("connectivity"):
        words = (
            "Each row is the straight paths between the final parameters of every pair of seeds of one configuration. "
        )
        blocks: list[Block] = [Paragraph((words + barrier_definition(material),)), barrier_table(material, "barriers")]
    else:
        blocks = [Paragraph(("No pair of seeds has been connected.",))]
    blocks.append(_sources("connectivity", "alignment"))
    if material.rows("alignment"):
        tables = [alignment_table(material, f"alignment-{split}", split) for split in SPLITS]
        aligned = (Paragraph((alignment_words(material),)), *tables)
        sections.append(Section("alignment", "One hidden layer: as trained against aligned", aligned))
    words = "The first pair of seeds of each configuration, as an example."
    sections += _figures(words, [(link,) for link in _connectivity_examples(material)])
    return _page(material, "Connectivity study", blocks, sections)


def _regularization_page(material: Material) -> Document:
    compared, every = regularization(material), every_regularized(material)
    if compared is None:
        return _page(material, "Regularization study", [*every.blocks, _sources("regularization")], [])
    blocks = [*compared.blocks, _sources("regularization", "contrasts", "findings")]
    sections = [comparisons_and_intervals(material), every]
    return _page(material, "Regularization study", blocks, sections)


def _sources(*tables: str) -> Paragraph:
    links = _separated([Link(f"tables/{name}.csv", f"tables/{name}.csv") for name in tables])
    return Paragraph(("All digits: ", *links, ". Back to the ", Link("summary", "summary.md"), "."))


def _figures(words: str, lines: list[Text]) -> list[Section]:
    return [Section("figures", "Figures", (Paragraph((words,)), Items(tuple(lines))))] if lines else []


def _separated(links: list[Link]) -> Text:
    parts: list[Inline] = [part for link in links for part in (", ", link)]
    return tuple(parts[1:])


def _examples(material: Material, factor: str) -> list[tuple[object, str, list[Link]]]:
    """For each level of a factor its first run that has figures, as (level, name of the run, links)."""
    found: dict[object, tuple[str, list[Link]]] = {}
    for run in material.drawn:
        kind, depth, width = parse_architecture(run.architecture)
        shape = {"depth": depth, "width": width} if kind == "mlp" else {}
        level = {**run.model_dump(), **shape}.get(factor)
        if level is not None and level not in found and (links := _links(material, material.store.figure_folder(run))):
            found[level] = (str(run), links)
    return [(level, *found[level]) for level in sorted(found, key=lambda level: (str(type(level)), level))]


def _links(material: Material, folder: Path) -> list[Link]:
    return [Link(file.stem.replace("_", " "), material.target(file)) for file in sorted(folder.glob("*/*.png"))]


def _connectivity_examples(material: Material) -> list[Link]:
    """For each configuration the first pair of seeds with a figure."""
    links = []
    for first in first_of_each_configuration(material.store):
        for a, b in itertools.islice(drawn_pairs(material, seeds_of(material, first)), 1):
            name = configuration_name(material.study, a.model_dump())
            file = loss_figure(material, a, b)
            links.append(Link(f"{name}, seeds {a.seed} and {b.seed}", material.target(file)))
    return links
