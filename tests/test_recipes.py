"""The loss that each recipe ends with is what plain PyTorch gives, at the module's weights and at others.

A witness takes what the script has defined, and its module with other weights in it, and computes the loss without
lossatlas: one example after the other where there are several, or the whole at once where the script has batches.
"""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, smooth_l1_loss

from lossatlas import Loss

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "recipes"
SCRIPTS = {script.stem: script for script in sorted(FOLDER.glob("*.py"))}

Names = dict[str, Any]
Witness = Callable[[Names, nn.Module], Tensor]


def adapted(names: Names, model: nn.Module) -> Tensor:
    hidden = names["x"]
    for part in model:
        if isinstance(part, names["Adapted"]):
            hidden = hidden @ (part.layer.weight + part.up @ part.down).T + part.layer.bias
        elif isinstance(part, nn.Tanh):
            hidden = hidden.tanh()
    return cross_entropy(hidden, names["y"])


def next_token(names: Names, model: nn.Module) -> Tensor:
    """Prefix by prefix: what follows is predicted from what is there, and nothing else goes in."""
    told, predicted = [], []
    for text, labels in zip(names["texts"], names["labels"], strict=True):
        for end in range(1, int((labels >= 0).sum())):
            predicted.append(model(text[None, :end])[0, -1])
            told.append(labels[end])
    return cross_entropy(torch.stack(predicted), torch.stack(told))


def partners(first: Tensor, second: Tensor, model: nn.Module) -> Tensor:
    """-log of a partner's share among all second views, pair by pair."""
    first, second = (normalize(model.net(view), dim=1) for view in (first, second))
    scores = (model.log_scale.exp() * first @ second.T).exp()
    return torch.stack([-(row[place] / row.sum()).log() for place, row in enumerate(scores)]).mean()


def contrastive(names: Names, model: nn.Module) -> Tensor:
    return torch.stack([partners(*views, model) for views in names["batches"]]).mean()


def hidden_and_head(names: Names, model: nn.Module) -> Tensor:
    seen = []
    handle = model.encoder.register_forward_hook(lambda layer, inputs, output: seen.append(output.relu()))
    fit = cross_entropy(model(names["x"]), names["y"])
    handle.remove()
    return fit + 0.1 * seen[0].abs().mean() + 0.01 * model.head.weight.square().sum()


def detected(names: Names, model: nn.Module) -> Tensor:
    values = []
    for image, target in names["examples"]:
        features = model.body(image[None]).relu()
        classes, boxes = model.classes(features)[0], model.boxes(features)[0]
        at = [(int(y), int(x)) for y, x in target["cells"]]
        of_class = cross_entropy(torch.stack([classes[:, y, x] for y, x in at]), target["labels"])
        values.append(of_class + smooth_l1_loss(torch.stack([boxes[:, y, x] for y, x in at]), target["boxes"]))
    return torch.stack(values).mean()


def graph_by_graph(names: Names, model: nn.Module) -> Tensor:
    """Each graph alone, by the matrix of its convolution: neighbours and itself over the roots of their degrees."""
    values = []
    for graph in names["graphs"]:
        size = len(graph.x)
        matrix = torch.eye(size).index_put((graph.edge_index[1], graph.edge_index[0]), torch.ones(()), accumulate=True)
        scale = matrix.sum(1).rsqrt()
        matrix = scale[:, None] * matrix * scale
        hidden = (matrix @ graph.x @ model.first.lin.weight.T + model.first.bias).tanh()
        nodes = matrix @ hidden @ model.second.lin.weight.T + model.second.bias
        values.append((nodes.mean() - graph.y[0]).square())
    return torch.stack(values).mean()


def relative(names: Names, model: nn.Module) -> Tensor:
    errors = []
    for u, target in zip(names["u"], names["target"], strict=True):
        output = torch.stack([model.branch(u) @ model.trunk(place) for place in names["grid"]])
        errors.append((output - target).norm() / target.norm())
    return torch.stack(errors).mean()


def heat(names: Names, model: nn.Module) -> Tensor:
    """u_t - 0.1 u_xx by hand: h₁ = tanh(W₁ x + b₁), h₂ = tanh(W₂ h₁ + b₂), and their derivatives along one input."""
    points, (first, second, last) = names["points"], (model[0], model[2], model[4])
    h1 = first(points["inside"]).tanh()
    h2 = second(h1).tanh()

    def along(place: int) -> tuple[Tensor, Tensor]:
        slope1, bend1 = (1 - h1**2) * first.weight[:, place], -2 * h1 * (1 - h1**2) * first.weight[:, place] ** 2
        inner, inner2 = slope1 @ second.weight.T, bend1 @ second.weight.T
        slope2, bend2 = (1 - h2**2) * inner, (1 - h2**2) * inner2 - 2 * h2 * (1 - h2**2) * inner**2
        return slope2 @ last.weight[0], bend2 @ last.weight[0]

    equation = along(1)[0] - 0.1 * along(0)[1]
    return equation.square().mean() + 10 * mse_loss(model(points["edge"]), points["value"])


def clipped(names: Names, model: nn.Module) -> Tensor:
    """A transition at a time, with the case that is clipped written out."""
    batch, values = names["batch"], []
    for place in range(len(batch["state"])):
        policy, value = model(batch["state"][place][None])
        advantage = batch["advantage"][place]
        ratio = (policy[0, batch["action"][place]] - batch["old_log_policy"][place]).exp()
        held = 1.2 if advantage > 0 and ratio > 1.2 else 0.8 if advantage < 0 and ratio < 0.8 else ratio
        entropy = torch.distributions.Categorical(logits=policy[0]).entropy()
        values.append(-held * advantage + 0.5 * (value[0] - batch["return"][place]).square() - 0.01 * entropy)
    return torch.stack(values).mean()


def pixel_by_pixel(names: Names, model: nn.Module) -> Tensor:
    weights, total, weight = names["weighted"].weight, torch.zeros(()), 0.0
    for image, labels in zip(names["images"], names["labels"], strict=True):
        chances = model(image[None])[0].log_softmax(0)
        for label in range(3):
            total = total - weights[label] * chances[label][labels == label].sum()
            weight += float(weights[label] * (labels == label).sum())
    return total / weight


def word_by_word(names: Names, model: nn.Module) -> Tensor:
    """Each sequence alone, without padding."""
    outputs = [model(words[None])[0].T for words in names["words"]]
    return cross_entropy(torch.cat(outputs), torch.cat(names["tags"]))


def first_of_the_stream(names: Names, model: nn.Module) -> Tensor:
    stream = iter(names["Measurements"](seed=1))
    x, y = map(torch.stack, zip(*(next(stream) for _ in range(40 * 32)), strict=True))
    return mse_loss(model(x), y)


WITNESSES: dict[str, Witness] = {
    "adapters": adapted,
    "causal_lm": next_token,
    "contrastive": contrastive,
    "criterion_with_module": hidden_and_head,
    "detection": detected,
    "graphs": graph_by_graph,
    "operators": relative,
    "pinn": heat,
    "policy": clipped,
    "segmentation": pixel_by_pixel,
    "sequences": word_by_word,
    "streams": first_of_the_stream,
}

# Other losses that a script makes beside `loss`, and what they are.
FURTHER: dict[tuple[str, str], Witness] = {
    ("causal_lm", "by_logits"): next_token,
    ("sequences", "by_mask"): word_by_word,
    ("sequences", "by_packing"): word_by_word,
    ("contrastive", "at_once"): lambda names, model: partners(names["first"], names["second"], model),
}
ALL = {(script, "loss"): witness for script, witness in WITNESSES.items()} | FURTHER


@pytest.fixture(scope="module")
def defined() -> Callable[[str], Names]:
    """What a script has defined when it is done; it runs once."""
    kept: dict[str, Names] = {}

    def names(script: str) -> Names:
        if script not in kept:
            with torch.random.fork_rng():
                kept[script] = runpy.run_path(str(SCRIPTS[script]))
        return kept[script]

    return names


def put(model: nn.Module, theta: Tensor) -> None:
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    nn.utils.vector_to_parameters(theta, moving)


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, moving)])


@pytest.mark.filterwarnings(
    "ignore:.*cannot be vectorised over points", "ignore:.*torch.jit.script", "ignore:reading stopped"
)
@pytest.mark.parametrize("distance", [0.0, 0.3])
@pytest.mark.parametrize(("script", "name"), ALL, ids=[" ".join(pair) for pair in ALL])
def test_the_loss_of_a_recipe_is_that_of_plain_pytorch(script, name, distance, defined, generator):
    names = defined(script)
    loss, model = names[name], names["model"]
    assert isinstance(loss, Loss)
    theta = loss.theta + distance * torch.randn(loss.layout.size, generator=generator, dtype=loss.dtype)
    put(model, theta)
    try:
        value = ALL[script, name](names, model)
        assert float(loss(theta)) == pytest.approx(value.item(), rel=1e-5)
        slope = gradient(model, value)
        assert (loss.gradient(theta) - slope).norm() < 1e-4 * slope.norm()
    finally:
        put(model, loss.theta)


def test_nodes_that_do_not_count_are_left_out(defined):
    names = defined("graphs")
    graph, classifier, loss = names["large"], names["classifier"], names["of_nodes"]
    chosen = [place for place in range(200) if graph.train_mask[place]]
    wanted = [-classifier(graph).log_softmax(1)[place, graph.y[place]] for place in chosen]
    assert float(loss(loss.theta)) == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-5)


def test_dice_is_the_overlap_of_two_sets(defined):
    names = defined("segmentation")
    labels, loss = names["labels"], names["of_dice"]
    chances = names["model"](names["images"]).softmax(1)[:, 1].detach().numpy()[labels.numpy() != 255].astype(float)
    there = labels.numpy()[labels.numpy() != 255] == 1
    wanted = 1 - 2 * (chances * there).sum() / (chances.sum() + there.sum())
    assert float(loss(loss.theta)) == pytest.approx(wanted, rel=1e-5)


def test_complex_weights_as_pairs_are_multiplied_as_complex_numbers(defined):
    names = defined("operators")
    loss, (real, imaginary) = names["spectral"], names["layer"].spectral.detach().numpy().T
    weights = np.zeros(17, dtype=complex)  # of the modes 0 to 16; a pair belongs to each of the first eight
    weights[:8] = real + 1j * imaginary
    output = np.fft.irfft(np.fft.rfft(names["u"].numpy()) * weights, n=32)
    target = names["target"].numpy()
    errors = np.linalg.norm(output - target, axis=1) / np.linalg.norm(target, axis=1)
    assert float(loss(loss.theta)) == pytest.approx(float(errors.mean()), rel=1e-5)


def test_every_recipe_has_a_witness_and_a_page():
    assert set(WITNESSES) == set(SCRIPTS)
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "howto").glob("*.md"))
    shown = re.findall(r'--8<-- "examples/recipes/(\w+)\.py"', pages)
    assert sorted(shown) == sorted(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.stem)
def test_a_recipe_can_be_read_at_a_glance(script: Path):
    text = script.read_text()
    docstring = ast.parse(text).body[0]
    assert isinstance(docstring, ast.Expr)
    lines = "\n".join(text.splitlines()[docstring.end_lineno :]).strip().splitlines()
    assert 20 <= len(lines) <= 45
