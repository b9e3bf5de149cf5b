import pytest
import torch
from torch import nn

from lossatlas.random_streams import stream
from lossatlas.study.config import Data, Run, Training
from lossatlas.study.datasets import make_task
from lossatlas.study.models import build, initialize
from lossatlas.study.training.ensemble import train_group

TASK = make_task("moons", Data(train=200, test=60))
SETTINGS = Training(epochs=4, batch_size=64, step_size=2, decay_factor=0.1, checkpoints=2)  # 200 = 3 x 64 + 8


def run(optimizer="adam", seed=0, weight_decay=1e-4, activation="relu", architecture="2x16"):
    return Run(
        dataset="moons",
        architecture=architecture,
        activation=activation,
        optimizer=optimizer,
        weight_decay=weight_decay,
        seed=seed,
    )


def plain_loop(one: Run, settings: Training = SETTINGS, task=TASK):
    """The witness: an ordinary module, an ordinary optimizer, one network at a time."""
    model = build(one.architecture, one.activation, task.dimension)
    initialize(model, one.activation, stream(one.seed, "initialization"))
    if one.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), settings.adam_learning_rate, weight_decay=one.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), settings.sgd_learning_rate, settings.momentum, weight_decay=one.weight_decay
        )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.decay_factor)
    order = stream(one.seed, "batches")
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(task.train[0]), generator=order).split(settings.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(task.train[0][batch]), task.train[1][batch]).backward()
            optimizer.step()
        schedule.step()
    return model


@pytest.mark.parametrize(
    ("architecture", "activation"),
    [("2x16", "relu"), ("2x16", "tanh"), ("2x16", "gelu"), ("conv2x4", "relu"), ("res2x8", "relu")],
)
def test_members_of_a_group_equal_an_ordinary_training_loop(architecture, activation):
    network = {"architecture": architecture, "activation": activation}
    members = [
        run("sgd", 0, **network),
        run("adam", 1, **network),
        run("sgd", 2, 1e-2, **network),
        run("adam", 0, 0.0, **network),
    ]
    for trained, one in zip(train_group(members, TASK, SETTINGS), members, strict=True):
        witness = plain_loop(one)
        assert trained.run == one
        wanted = torch.nn.utils.parameters_to_vector(witness.parameters()).detach()
        torch.testing.assert_close(trained.checkpoints[4], wanted, atol=2e-4, rtol=0)
        loss = nn.functional.cross_entropy(witness(TASK.test[0]), TASK.test[1]).item()
        assert trained.history[-1].test_loss == pytest.approx(loss, abs=2e-4)


def test_a_member_trained_in_a_group_equals_the_same_member_alone():
    members = [run(optimizer, seed) for optimizer in ("sgd", "adam") for seed in range(3)]
    together = train_group(members, TASK, SETTINGS)
    for member, one in zip(together, members, strict=True):
        (alone,) = train_group([one], TASK, SETTINGS)
        # Stacked products may round differently for another stack size; 16 steps carry that on.
        torch.testing.assert_close(member.checkpoints[4], alone.checkpoints[4], atol=1e-5, rtol=0)


def test_the_order_of_the_members_changes_nothing():
    members = [run(optimizer, seed) for optimizer in ("sgd", "adam") for seed in range(2)]
    forward = train_group(members, TASK, SETTINGS)
    backward = train_group(members[::-1], TASK, SETTINGS)[::-1]
    for a, b in zip(forward, backward, strict=True):
        torch.testing.assert_close(a.checkpoints[4], b.checkpoints[4], atol=1e-5, rtol=0)


def test_training_twice_gives_the_same_bits():
    first, second = (train_group([run(seed=3), run("sgd")], TASK, SETTINGS) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.checkpoints[4], b.checkpoints[4])
        assert a.history == b.history


def test_history_has_every_epoch_and_the_schedule():
    (trained,) = train_group([run()], TASK, SETTINGS)
    assert [epoch.epoch for epoch in trained.history] == [0, 1, 2, 3, 4]
    assert [epoch.learning_rate for epoch in trained.history] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])
    assert trained.history[-1].train_loss < trained.history[0].train_loss
    assert not trained.diverged


def test_evaluating_less_often_leaves_the_training_as_it_is():
    (often,) = train_group([run()], TASK, SETTINGS)
    (seldom,) = train_group([run()], TASK, SETTINGS.model_copy(update={"evaluate_every": 3}))
    assert [epoch.epoch for epoch in seldom.history] == [0, 3, 4]
    assert seldom.history == tuple(often.history[number] for number in (0, 3, 4))
    assert torch.equal(seldom.checkpoints[4], often.checkpoints[4])


@pytest.mark.parametrize(
    ("epochs", "between", "kept"),
    [(30, 10, [0, 3, 5, 8, 11, 14, 16, 19, 22, 25, 27, 30]), (4, 2, [0, 1, 3, 4]), (1, 5, [0, 1]), (2, 1, [0, 1, 2])],
)
def test_checkpoints_are_spread_over_the_epochs(epochs, between, kept):
    settings = Training(epochs=epochs, checkpoints=between)
    (trained,) = train_group([run()], TASK, settings)
    assert list(trained.checkpoints) == kept


def test_a_member_that_diverges_is_told_and_leaves_the_others_alone():
    settings = SETTINGS.model_copy(update={"sgd_learning_rate": 1e30})
    broken, sound = train_group([run("sgd"), run("adam")], TASK, settings)
    assert broken.diverged
    assert not broken.history[-1].finite
    assert all(epoch.finite for epoch in broken.history[:-1])
    (alone,) = train_group([run("adam")], TASK, settings)
    assert not sound.diverged
    torch.testing.assert_close(sound.checkpoints[4], alone.checkpoints[4], atol=1e-5, rtol=0)


def test_runs_that_cannot_be_stacked_are_refused():
    with pytest.raises(ValueError, match="wanted runs of one group"):
        train_group([run(), run(architecture="1x16")], TASK, SETTINGS)
