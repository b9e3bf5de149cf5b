from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.utils import vector_to_parameters

from lossatlas import hardware
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.fisher import EmpiricalFisher
from lossatlas.operators.gauss_newton import GaussNewton
from lossatlas.operators.matrices import curvature_product
from tests.conftest import seeded
from tests.dense import MATRICES, dense
from tests.networks import build, ragged

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit in a dependency of curvlinops
    from curvlinops import EFLinearOperator, GGNLinearOperator

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions

NETWORKS = ("mlp", "resnet", "transformer", "lstm")


def make(name):
    """A network with inputs and classes of its examples, and a point off the weights that it has."""
    if name == "mlp":
        module = seeded(lambda: nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4)).double())
        _, inputs, classes = build("branching")
    else:
        module, inputs, classes = build(name)
    size = sum(parameter.numel() for parameter in module.parameters())
    theta = nn.utils.parameters_to_vector(module.parameters()).detach()
    noise = torch.randn(size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return module.eval(), inputs, classes, theta + 0.3 * noise


def whole(product, size):
    return product(torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("squared", [False, True], ids=["cross-entropy", "squared error"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_matrix_is_the_dense_one(matrix, name, squared):
    """On ragged batches, with weight decay, where the gradient is not zero."""
    if matrix == "hessian" and name == "transformer":
        pytest.skip(
            "jacrev of torch 2.13 leaves out a part of LayerNorm's curvature; test_agreement.py has differences"
        )
    module, inputs, classes, theta = make(name)
    targets = torch.randn(11, 4, generator=torch.Generator().manual_seed(2)).double() if squared else classes
    criterion = nn.MSELoss() if squared else nn.CrossEntropyLoss()
    loss = Loss.of(module, ragged(inputs, targets), criterion, weight_decay=0.1)
    assert float(loss.gradient(theta).norm()) > 0.1
    found = whole(curvature_product(matrix, loss, theta), len(theta))
    expected = dense(matrix, module, (inputs, targets), loss.layout, theta, squared=squared, weight_decay=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))
    lowest = float(torch.linalg.eigvalsh(found)[0])
    if matrix != "hessian":
        assert lowest > 0.1 - 1e-12 * float(expected.abs().max())
    elif name in ("mlp", "resnet"):
        assert lowest < 0.1


@pytest.mark.parametrize("squared", [False, True], ids=["cross-entropy", "squared error"])
@pytest.mark.parametrize("one_batch", [True, False])
@pytest.mark.parametrize(
    ("product", "witness"), [(GaussNewton, GGNLinearOperator), (EmpiricalFisher, EFLinearOperator)]
)
def test_products_against_curvlinops(product, witness, one_batch, squared, generator):
    """For squared errors of c outputs it takes the sum over them for a single loss, where the criterion has the mean:
    its empirical Fisher is c times ours."""
    module, inputs, classes, theta = make("mlp")
    targets = torch.randn(11, 4, generator=generator, dtype=torch.float64) if squared else classes
    criterion = nn.MSELoss() if squared else nn.CrossEntropyLoss()
    batches = [(inputs, targets)] if one_batch else ragged(inputs, targets)
    loss = Loss.of(module, batches, criterion)
    vectors = torch.randn(3, len(theta), generator=generator, dtype=torch.float64)
    vector_to_parameters(theta, module.parameters())
    expected = (witness(module, criterion, list(module.parameters()), batches) @ vectors.T).T
    factor = 4 if squared and product is EmpiricalFisher else 1
    assert torch.allclose(product(loss, theta)(vectors), expected.detach() / factor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("budget", [0, 2**30], ids=["rebuilt", "kept"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_block_of_parameters_is_a_diagonal_block_of_the_whole(matrix, budget, monkeypatch):
    """Whatever parameters, with a penalty that couples all of them."""
    monkeypatch.setattr(hardware, "KEPT_GRAPH_BYTES", budget)
    module, inputs, classes, theta = make("mlp")
    loss = Loss.of(module, ragged(inputs, classes), nn.CrossEntropyLoss(), penalty=lambda t: (t.sum() ** 3) / 100)
    expected = dense(matrix, module, (inputs, classes), loss.layout, theta) + 6 * float(theta.sum()) / 100
    for names in (["2.weight"], ["2.bias", "0.weight"], loss.layout.names):
        where = torch.cat(
            [torch.arange(len(theta))[loss.layout.slices[name]] for name in loss.layout.only(names).names]
        )
        product = curvature_product(matrix, loss, theta, names)
        for _ in range(2):
            assert torch.allclose(whole(product, len(where)), expected[where][:, where], rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.* have no effect on the loss")
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_block_that_the_output_does_not_depend_on_is_zero(matrix, generator):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.map = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x)

    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    loss = Loss.of(Idle().double(), (x, torch.zeros(6, 1).double()), nn.MSELoss())
    names = ["idle.weight", "idle.bias"]
    assert not whole(curvature_product(matrix, loss, loss.theta, names), 6).any()


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_float32_loss_multiplies_in_float32_a_row_at_a_time_or_many(matrix, monkeypatch):
    module, inputs, classes, theta = make("mlp")
    loss = Loss.of(module, ragged(inputs, classes), nn.CrossEntropyLoss())
    double = whole(curvature_product(matrix, loss, theta), len(theta))
    single = whole(curvature_product(matrix, loss.to(torch.float32), theta), len(theta))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, atol=1e-5 * float(double.abs().max()))
    alone = curvature_product(matrix, loss, theta)
    rows = [alone(row[None])[0] for row in torch.eye(len(theta), dtype=torch.float64)]
    assert torch.allclose(torch.stack(rows), double, rtol=1e-11, atol=1e-14)


def test_the_mean_over_the_models_own_targets_is_gauss_newton_for_cross_entropy():
    """Σ over classes of p(class) times the empirical Fisher with that class as everybody's target, example by example:
    the Fisher information of the literature (Martens 2020)."""
    module, inputs, classes, theta = make("mlp")
    loss = Loss.of(module, ragged(inputs, classes), nn.CrossEntropyLoss())
    chances = functional_call(module, loss.layout.unflatten(theta), (inputs,)).softmax(1).detach()  # (n, c)
    size = len(theta)
    fisher = torch.zeros(size, size, dtype=torch.float64)
    for i, (x, of_classes) in enumerate(zip(inputs, chances, strict=True)):
        for label, chance in enumerate(of_classes):
            one = Loss.of(module, (x[None], torch.tensor([label])), nn.CrossEntropyLoss())
            fisher += chance * whole(EmpiricalFisher(one, theta), size) / len(inputs)
        assert i < 11
    gauss_newton = whole(GaussNewton(loss, theta), size)
    assert torch.allclose(fisher, gauss_newton, rtol=1e-9, atol=1e-13)
    assert not torch.allclose(whole(EmpiricalFisher(loss, theta), size), gauss_newton, rtol=0.1, atol=1e-2)


@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_for_squared_errors_up_to_the_variance_of_the_noise(variance):
    """Targets drawn around the output with variance s²: gᵢ is 2 (f − y)J / c, and its second moment 4 s²JᵀJ / c². That
    is Gauss-Newton, 2 JᵀJ / c, where s² is c / 2, the noise for which the mean of c squares is −log p."""
    module, inputs, _, theta = make("mlp")
    output = functional_call(module, {}, (inputs,)).detach()
    loss = Loss.of(module, (inputs, torch.zeros_like(output)), nn.MSELoss())
    output = functional_call(module, loss.layout.unflatten(theta), (inputs,)).detach()
    slopes = jacrev(lambda t: functional_call(module, loss.layout.unflatten(t), (inputs,)))(theta).detach()
    size, count = len(theta), output.shape[1]
    fisher = torch.zeros(size, size, dtype=torch.float64)
    for column in range(count):  # the 2 c points ± s √c eᵢ have mean 0 and covariance s²
        for sign in (-1.0, 1.0):
            targets = output.clone()
            targets[:, column] += sign * (variance * count) ** 0.5
            drawn = Loss.of(module, (inputs, targets), nn.MSELoss())
            fisher += whole(EmpiricalFisher(drawn, theta), size) / (2 * count)
    expected = 4 * variance / count**2 * torch.einsum("ncp,ncq->pq", slopes, slopes) / len(inputs)
    assert torch.allclose(fisher, expected, rtol=1e-9, atol=1e-12)
    gauss_newton = whole(GaussNewton(loss, theta), size)
    assert torch.allclose(fisher, gauss_newton * variance / (count / 2), rtol=1e-9, atol=1e-12)


def test_the_gradient_lies_in_the_empirical_fisher():
    """F − gᵀg is the covariance of the gradients: no negative eigenvalue."""
    module, inputs, classes, theta = make("mlp")
    loss = Loss.of(module, ragged(inputs, classes), nn.CrossEntropyLoss())
    found, gradient = whole(EmpiricalFisher(loss, theta), len(theta)), loss.gradient(theta)
    assert float(gradient @ gradient) > 0.1
    assert float(torch.linalg.eigvalsh(found - torch.outer(gradient, gradient))[0]) > -1e-13
    assert int((torch.linalg.eigvalsh(found) > 1e-12).sum()) == 11  # as many as examples


WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25], dtype=torch.float64)


@pytest.mark.parametrize(
    ("criterion", "options"),
    [
        (nn.CrossEntropyLoss(), {}),
        (nn.CrossEntropyLoss(ignore_index=2), {}),
        (nn.CrossEntropyLoss(weight=WEIGHTS), {}),
        (nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=1, label_smoothing=0.1), {}),
        (nn.CrossEntropyLoss(reduction="sum"), {}),
        (nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"), {}),
        (nn.CrossEntropyLoss(), {"weigh_by": "examples"}),
        (nn.CrossEntropyLoss(), {"weigh_by": lambda batch: float(len(batch[0]) ** 2)}),
        (lambda output, target: nn.functional.cross_entropy(output[target >= 0], target[target >= 0]), {}),
        (nn.MultiMarginLoss(weight=WEIGHTS), {"weigh_by": "examples"}),
    ],
    ids=[
        "ignored", "ignore_index", "class weights", "all of them", "sum", "sum with class weights", "by examples",
        "own weights", "no vmap", "margin",
    ],
)  # fmt: skip
def test_an_example_weighs_in_the_fisher_what_it_weighs_in_the_loss(criterion, options):
    """F = Σ wᵢ gᵢᵀgᵢ where L = Σ wᵢ ℓᵢ, with ℓᵢ the criterion of one example without its class's weight."""
    module, inputs, classes, theta = make("mlp")
    classes = classes.clone()
    margin = isinstance(criterion, nn.MultiMarginLoss)
    if not margin:
        classes[[1, 5]] = getattr(criterion, "ignore_index", -100)
    loss = Loss.of(module, ragged(inputs, classes), criterion, **options)
    ignored = getattr(criterion, "ignore_index", -100)
    by_class = getattr(criterion, "weight", None) if not margin else None
    summed = getattr(criterion, "reduction", "mean") == "sum"
    expected, total = torch.zeros(len(theta), len(theta), dtype=torch.float64), 0.0
    counts = [0.0 if int(y) == ignored else float(by_class[y]) if by_class is not None else 1.0 for y in classes]
    batches = torch.arange(11).split(4)
    factors = {"by examples": [4, 4, 3], "own weights": [16, 16, 9]}
    kind = "by examples" if options.get("weigh_by") == "examples" else "own weights" if options else None
    for number, rows in enumerate(batches):
        inside = sum(counts[i] for i in rows)
        for i in rows:
            if not counts[i]:
                continue
            single = Loss.of(module, (inputs[i : i + 1], classes[i : i + 1]), criterion)
            gradient = single.gradient(theta) / (counts[i] if summed else 1)
            weight = counts[i] if kind is None else counts[i] / inside * factors[kind][number] / sum(factors[kind])
            total += weight
            expected += weight * torch.outer(gradient, gradient)
    found = whole(EmpiricalFisher(loss, theta), len(theta))
    expected = expected if summed or kind is not None else expected / total
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    weighed = [float(share.of_examples(output)[1].sum()) for output, share in loss.batch_outputs(theta)]
    assert sum(weighed) == pytest.approx(total if summed else 1.0, rel=1e-12)


def test_outputs_of_any_shape_per_example(generator):
    """A scalar each, and a picture each; the products of a linear map are known."""
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(7, generator=generator, dtype=torch.float64)
    theta = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    gradients = 2 * (x @ theta - y)[:, None] * x
    for shape in ((), (1,), (1, 1)):
        module = nn.Linear(3, 1, bias=False, dtype=torch.float64)
        loss = Loss.of(
            module, (x, y.reshape(7, *shape)), nn.MSELoss(),
            forward=lambda module, batch, shape=shape: (module(batch[0]).reshape(-1, *shape), batch[1]),
        )  # fmt: skip
        found = whole(EmpiricalFisher(loss, theta), 3)
        assert torch.allclose(found, gradients.T @ gradients / 7, rtol=1e-12)


def test_a_weighted_sample_of_the_examples_has_the_fisher_of_its_weights(moons, mlp):
    loss = Loss.of(mlp, moons, nn.CrossEntropyLoss())
    some = loss.subset(20, at=loss.theta, generator=torch.Generator().manual_seed(0))
    weighed = [float(share.of_examples(output)[1].sum()) for output, share in some.batch_outputs(loss.theta)]
    assert sum(weighed) == pytest.approx(1, rel=1e-12)
    found = whole(EmpiricalFisher(some, loss.theta), loss.layout.size)
    assert int((torch.linalg.eigvalsh(found) > 1e-13).sum()) <= 20


def test_statistics_that_are_estimated_anew_are_held_fixed(generator):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)).double()
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    loss = Loss.of(module, (x, torch.randint(0, 2, (9,), generator=generator)), nn.CrossEntropyLoss(),
                   buffers="re-estimated")  # fmt: skip
    found = whole(EmpiricalFisher(loss, loss.theta), loss.layout.size)
    gradient = loss.gradient(loss.theta)
    assert float(torch.linalg.eigvalsh(found - torch.outer(gradient, gradient))[0]) > -1e-13


def losses_that_have_no_single_examples():
    x, classes = torch.ones(6, 2).double(), torch.tensor([0, 1, 0, 1, 1, 0])
    tokens, language, series = build("language model")[1], build("language model")[0], build("language model")[2]
    norm = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    x = x + torch.arange(12).reshape(6, 2) / 7
    flat = nn.Linear(2, 1).double()
    far = torch.arange(6.0).double()[:, None]

    def contrast(output, target):
        return torch.cdist(output, output).mean() + 0 * target.sum()

    def pairs(output, target):
        if len(output) < 2:
            raise RuntimeError("wanted pairs")
        return output.square().mean()

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(2, 1, dtype=torch.float64)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return (self.map(x)[:, 0] - labels).square().mean()

    return {
        "sequences": (Loss.of(language, (tokens, series), nn.CrossEntropyLoss()), "flatten output and target"),
        "batch statistics": (
            Loss.of(norm, (x, classes), nn.CrossEntropyLoss(), buffers="batch"), "BatchNorm1d takes the statistics",
        ),
        "contrast": (Loss.of(norm[:1], (x, classes), contrast, reduction="mean"), "contrast gives .* one by one"),
        "root": (
            Loss.of(flat, (x, far), lambda output, target: (output - target).square().mean().sqrt()),
            "<lambda> gives .* their mean or their sum",
        ),
        "pairs": (Loss.of(flat, (x, far), pairs, reduction="mean"), "pairs does not take one example alone"),
        "own loss": (
            Loss.of(Own(), {"x": x, "labels": far[:, 0]}), "EmpiricalFisher wants .* computes its own loss",
        ),
        "no rows": (toys.bowl(3), "a row for each example"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["sequences", "batch statistics", "contrast", "root", "pairs", "own loss", "no rows"])
@pytest.mark.filterwarnings("ignore:.*reduction=:UserWarning")
def test_examples_that_cannot_be_told_apart_are_one_clear_line(name):
    loss, text = losses_that_have_no_single_examples()[name]
    with pytest.raises(ValueError, match=text) as raised:
        EmpiricalFisher(loss, loss.theta)
    assert "\n" not in str(raised.value)


def test_tokens_that_forward_flattens_are_examples():
    module, tokens, targets = build("language model")
    targets = targets.clone()
    targets[2:5, 3:] = -100

    def forward(model, batch):
        return model(batch[0]).transpose(1, 2).reshape(-1, 7), batch[1].reshape(-1)

    loss = Loss.of(module, ragged(tokens, targets), nn.CrossEntropyLoss(), forward=forward)
    found = whole(EmpiricalFisher(loss, loss.theta), loss.layout.size)

    def losses(theta):
        output = functional_call(module.eval(), loss.layout.unflatten(theta), (tokens,))
        return nn.functional.cross_entropy(output, targets, reduction="none").reshape(-1)

    counted = (targets != -100).reshape(-1)
    gradients = jacrev(losses)(loss.theta).detach()[counted]
    torch.testing.assert_close(found, gradients.T @ gradients / len(gradients), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("product", [GaussNewton, EmpiricalFisher])
def test_gradients_of_examples_are_never_all_in_memory(product):
    """Nothing that a product makes is larger than one gradient, an activation or the rows that are multiplied."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        entries = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for value in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(value, torch.Tensor):
                    self.entries = max(self.entries, value.numel())
            return out

    module = nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 3)).double()  # 2,643 parameters
    x = torch.randn(100, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = Loss.of(module, (x, torch.zeros(100, dtype=torch.int64)), nn.CrossEntropyLoss())
    with Largest() as seen:
        product(loss, loss.theta)(torch.ones(1, 2643, dtype=torch.float64))
    assert seen.entries <= 100 * 60


@pytest.mark.parametrize("matrix", ["Hessian", "ggn", "", None])
def test_another_name_is_an_error_that_names_the_three(loss, theta, matrix):
    with pytest.raises(ValueError, match=r"^matrix is .*: wanted one of 'hessian', 'gauss-newton', 'fisher'$"):
        curvature_product(matrix, loss, theta)
