import pytest
import torch

from lossatlas.study.training.replay import Replay

FUNCTIONS = {
    "an operand that is read again": lambda a, b: [(a * b).exp() + a * b],
    "an operand beside a view of itself": lambda a, b: [(a @ b) + (a @ b).mT, _twice(a @ b)],
    "an operand of another shape": lambda a, b: [(a @ b).sum(0, keepdim=True) + (a @ b)],
    "an input as an operand": lambda a, b: [a.relu(), a.relu() + b, b],
    "a result that is a view": lambda a, b: [(a @ b).mT, (a @ b)[1:], b.sum(0).expand(3, 3)],
    "a result twice": lambda a, b: [(a @ b).tanh()] * 2,
    "a result that is read again": lambda a, b: _and_its_sigmoid(a @ b),
    "several results of an operation": lambda a, b: [*torch.linalg.slogdet(a @ b), *(a @ b).sort()],
    "numbers that depend on nothing": lambda a, b: [a + torch.eye(3, dtype=a.dtype) * 2, torch.ones_like(b) - b],
}


def _twice(c):
    return c + c.mT


def _and_its_sigmoid(c):
    return [c, c.sigmoid(), c.flatten()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_replay_gives_what_the_function_gives_whatever_the_inputs_hold(name):
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(3, 3, dtype=torch.float64, generator=generator) for _ in range(2)]
    outputs = [torch.empty_like(result.contiguous()) for result in FUNCTIONS[name](*inputs)]
    replay = Replay(FUNCTIONS[name], inputs, outputs)
    for _ in range(3):
        for tensor in inputs:
            tensor.copy_(torch.randn(3, 3, dtype=torch.float64, generator=generator))
        before = [tensor.clone() for tensor in inputs]
        replay()
        for found, wanted in zip(outputs, FUNCTIONS[name](*inputs), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-14, rtol=1e-14)
        assert all(torch.equal(tensor, was) for tensor, was in zip(inputs, before, strict=True))


def test_a_function_that_writes_is_refused():
    with pytest.raises(ValueError, match="writes to its argument"):
        Replay(lambda a: [a.add_(1)], [torch.ones(2)], [torch.ones(2)])
