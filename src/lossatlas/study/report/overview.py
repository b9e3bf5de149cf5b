"""What was asked, what came out, and how it was set up."""

from __future__ import annotations

from lossatlas.document.blocks import Block, Code, Items, Link, Paragraph, Reference, Section, Text
from lossatlas.files import read_json
from lossatlas.numbers import Row, accuracy_text, counted, general_text, interval_text, listed, loss_text
from lossatlas.study.config import shipped_studies
from lossatlas.study.models import PRESETS, Architecture, parse_architecture
from lossatlas.study.report import grids
from lossatlas.study.report.grids import configuration_name
from lossatlas.study.report.levels import seeds_interval
from lossatlas.study.report.material import Material

DATASETS = {
    "moons": "two interleaving half circles",
    "circles": "two concentric rings, the inner one of radius 0.3",
    "gaussians": "Gaussian clusters with alternating labels",
    "xor": "four squares that keep 0.2 from the axes, labelled by the sign of the product of the coordinates",
}
KINDS = {"mlp": "multilayer perceptron", "conv": "ConvNet", "res": "residual MLP"}


def overview(material: Material) -> Section:
    study = material.study
    rows = material.rows("configurations")
    trained = len(study.all_runs()) - len(material.untrained)
    probes = [f"{probe.name.replace('_', ' ')} ({probe.title})" for probe in material.probes]
    blocks: list[Block] = [
        Paragraph(
            (
                "This report asks how the loss landscape of small classifiers depends on their architecture, "
                "activation, optimizer and weight decay, and what it tells of how well they generalize. The study ",
                Code(study.name),
                f" trains {counted(len(list(study.runs())), 'network')} on synthetic data "
                f"({listed(list(study.data.datasets))}){material.more}: {trained} have been trained, "
                f"of which {len(material.diverged)} diverged.",
            )
        )
    ]
    if probes:
        blocks.append(Paragraph((f"Around each solution were measured: {'; '.join(probes)}.",)))
    blocks.append(_where_things_are(material))
    if not material.drawn:
        blocks.append(Paragraph(("No figures of runs have been drawn, so none are shown.",)))
    return Section("overview", "About this study", tuple(blocks), tuple(_extremes(material, rows)))


def _where_things_are(material: Material) -> Paragraph:
    return Paragraph(
        (
            "Every number comes from the tables in ",
            Link("tables/", "tables/"),
            ", every figure from one run, whose folder its caption links to; the complete settings are in ",
            Link("study.json", "study.json"),
            ". The text is written from the same tables: a difference is called one only where its interval leaves "
            "out zero. What the intervals cover, and what they do not, is said in ",
            Reference("limits"),
            ".",
        )
    )


def _extremes(material: Material, rows: list[Row]) -> list[Section]:
    ranked = sorted((row for row in rows if row["n"]), key=lambda row: row["mean_test_loss"])
    if len(ranked) < 2:
        return []

    def said(row: Row) -> str:
        return (
            f"{configuration_name(material.study, row)}: test loss {interval_text(row, 'mean_test_loss', loss_text)}, "
            f"test accuracy {interval_text(row, 'mean_test_accuracy', accuracy_text)}, n = {row['n']}"
        )

    items: list[Text] = [("Lowest mean test loss: ", said(ranked[0])), ("Highest mean test loss: ", said(ranked[-1]))]
    note = Paragraph(
        (
            f"Out of {counted(len(rows), 'configuration')}. The extremes of many are partly those whose seeds "
            "happened to do well or badly. All of them are in ",
            Link("summary.md", "summary.md"),
            ".",
        )
    )
    return [Section("extremes", "Best and worst configurations", (Items(tuple(items)), note))]


# Set-up --------------------------------------------------------------------------------------------------------


def setup(material: Material) -> Section:
    sections = (*what_was_run(material), comparisons_and_intervals(material), _reproduction(material))
    return Section("setup", "Experimental set-up", (), sections)


def what_was_run(material: Material) -> tuple[Section, ...]:
    return _data(material), _architectures(material), _training(material)


def _data(material: Material) -> Section:
    data = material.study.data
    named = {**DATASETS, "gaussians": f"{data.clusters} {DATASETS['gaussians']} in {data.dimension} dimensions"}
    items: list[Text] = [(Code(name), f": {named[name]}") for name in data.datasets]
    words = (
        f"Two classes, {data.train} training and {data.test} test examples, normalised with the mean and standard "
        "deviation of the training examples. "
    )
    if set(data.datasets) - {"gaussians"}:
        words += f"Gaussian noise of standard deviation {general_text(data.noise)} is added to the inputs. "
    if "gaussians" in data.datasets:
        spread = general_text(data.spread)
        words += f"Each Gaussian cluster has a standard deviation of {spread} at distance 1 from the origin. "
    seeds = listed([str(seed) for seed in data.seeds])
    words += f"The examples are drawn {counted(len(data.seeds), 'time')}, with seed {seeds}. "
    words += "Networks on one draw share its examples."
    return Section("data", "Data sets", (Items(tuple(items)), Paragraph((words,))))


def _architectures(material: Material) -> Section:
    model = material.study.model
    presets = {size: name for name, size in PRESETS.items()}
    rows = [
        {"name": name, "preset": presets.get(name, "–"), **parse_architecture(name)._asdict()} for name in model.grid()
    ]
    columns = [
        grids.plain("Architecture", "name"),
        grids.text("Also called", lambda row: row["preset"]),
        grids.text("Kind", lambda row: KINDS[row["kind"]]),
        grids.text("Form", lambda row: _form(Architecture(row["kind"], row["depth"], row["width"]))),
    ]
    initial = "He normal for ReLU and GELU, Xavier uniform for Tanh, biases zero"
    blocks: list[Block] = [
        Paragraph(
            (
                f"Every network ends in a linear layer with two logits. Activations: {listed(list(model.activations))}"
                f". Initialization: {initial}.",
            )
        ),
        grids.table("architectures-table", ("The architectures of the study.",), columns, rows),
    ]
    return Section("models", "Architectures", tuple(blocks))


def _form(shape: Architecture) -> str:
    units = {
        "mlp": f"{counted(shape.depth, 'hidden layer')} of {shape.width} units",
        "conv": f"{counted(shape.depth, '3x3 convolution')} with {shape.width} channels, on the inputs as an image",
        "res": f"{counted(shape.depth, 'residual block')} of {shape.width} units",
    }
    return units[shape.kind]


def _training(material: Material) -> Section:
    training = material.study.training
    optimizers = {
        "sgd": (
            f"SGD: learning rate {general_text(training.sgd_learning_rate)}, momentum {general_text(training.momentum)}"
        ),
        "adam": f"Adam: learning rate {general_text(training.adam_learning_rate)}",
    }
    decays = listed([general_text(decay) for decay in training.weight_decays])
    items: list[Text] = [(optimizers[name],) for name in training.optimizers]
    items += [
        (f"Weight decay {decays}, added to the gradient (coupled)",),
        (
            f"{counted(training.epochs, 'epoch')} in batches of {training.batch_size}; the learning rate is multiplied "
            f"by {general_text(training.decay_factor)} every {counted(training.step_size, 'epoch')}",
        ),
        (
            f"Seeds {listed([str(seed) for seed in training.seeds])}: each sets the initialization and the order of "
            "the batches of its network, and nothing else",
        ),
        (
            f"Kept of each run: the initial and the final weights, up to {training.checkpoints} checkpoints between, "
            "loss and accuracy of both splits after every epoch, settings and provenance",
        ),
    ]
    regularization = material.study.regularization
    if regularization.weight_decays:
        again = listed([general_text(decay) for decay in regularization.weight_decays])
        seeds = listed([str(seed) for seed in regularization.seeds])
        items.append(
            (f"For the regularization study every configuration is trained at weight decay {again}, seed {seeds}",)
        )
    return Section("training", "Optimization and training", (Items(tuple(items)),))


def comparisons_and_intervals(material: Material) -> Section:
    matched = (
        "Two levels of a design choice are compared between networks that agree in everything else: data set and "
        "draw, architecture, activation, optimizer, weight decay and seed. Depth is compared at equal width, width at "
        "equal depth. n counts these pairs. A difference is the mean over them; a ratio is that of geometric means. "
        "The bracket is a 95 % interval by Student's t, from leaving out one draw of the data at a time with all its "
        "networks. With fewer than three draws one seed is left out at a time within each configuration. Means by "
        "level, in the appendices, are over all networks of a level, matched or not."
    )
    means = seeds_interval(material, material.rows("configurations"))
    return Section("comparisons", "Comparisons and intervals", (Paragraph((matched,)), Paragraph((means,))))


def _reproduction(material: Material) -> Section:
    versions = read_json(material.store.root / "study.json").get("versions", {})
    known = listed([f"{package} {version}" for package, version in versions.items()])
    shipped = material.study.name in shipped_studies()
    text: Text = (
        "The same study is made again with ",
        Code(f"lossatlas run {material.study.name if shipped else 'STUDY.toml'} --out FOLDER"),
        " and the settings of ",
        Link("study.json", "study.json"),
        ". A run that is interrupted goes on where it stopped, and the same settings give the same bytes on the same "
        f"machine.{f' Made with {known}.' if known else ''}",
    )
    return Section("reproduction", "Reproduction", (Paragraph(text),))
