import pytest
import torch
from torch import nn

from lossatlas.random_streams import stream
from lossatlas.study.config import Data, Run, Training
from lossatlas.study.datasets import draws
from lossatlas.study.models import build, initialize
from lossatlas.study.training.ensemble import train_group

TASKS = draws("moons", Data(train=200, test=60, seeds=(0, 1)))
TASK = TASKS[0]
SETTINGS = Training(epochs=4, batch_size=64, step_size=2, decay_factor=0.1, checkpoints=2)  # 200 = 3 x 64 + 8


def run(optimizer="adam", seed=0, weight_decay=1e-4, data_seed=0, activation="relu", architecture="2x16"):
    return Run(
        dataset="moons",
        architecture=architecture,
        activation=activation,
        optimizer=optimizer,
        weight_decay=weight_decay,
        data_seed=data_seed,
        seed=seed,
    )


def plain_loop(one: Run, settings: Training = SETTINGS):
    """The witness: an ordinary module, an ordinary optimizer, one network at a time."""
    task = TASKS[one.data_seed]
    model = build(one.architecture, one.activation, task.dimension)
    initialize(model, one.activation, stream(one.data_seed, one.seed, "initialization"))
    if one.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), settings.adam_learning_rate, weight_decay=one.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), settings.sgd_learning_rate, settings.momentum, weight_decay=one.weight_decay
        )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.decay_factor)
    order = stream(one.data_seed, one.seed, "batches")
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
        run("adam", 0, 0.0, data_seed=1, **network),
    ]
    for trained, one in zip(train_group(members, TASKS, SETTINGS), members, strict=True):
        witness = plain_loop(one)
        assert trained.run == one
        wanted = torch.nn.utils.parameters_to_vector(witness.parameters()).detach()
        torch.testing.assert_close(trained.checkpoints[4], wanted, atol=2e-4, rtol=0)
        inputs, targets = TASKS[one.data_seed].test
        loss = nn.functional.cross_entropy(witness(inputs), targets).item()
        assert trained.history[-1].test_loss == pytest.approx(loss, abs=2e-4)


def test_a_member_trained_in_a_group_equals_the_same_member_alone():
    members = [run(optimizer, seed, data_seed=k) for optimizer in ("sgd", "adam") for seed in (0, 2) for k in (0, 1)]
    together = train_group(members, TASKS, SETTINGS)
    for member, one in zip(together, members, strict=True):
        (alone,) = train_group([one], TASKS, SETTINGS)
        # Stacked products may round differently for another stack size; 16 steps carry that on.
        torch.testing.assert_close(member.checkpoints[4], alone.checkpoints[4], atol=1e-5, rtol=0)


def test_the_order_of_the_members_changes_nothing():
    members = [run(optimizer, seed) for optimizer in ("sgd", "adam") for seed in range(2)]
    forward = train_group(members, TASKS, SETTINGS)
    backward = train_group(members[::-1], TASKS, SETTINGS)[::-1]
    for a, b in zip(forward, backward, strict=True):
        torch.testing.assert_close(a.checkpoints[4], b.checkpoints[4], atol=1e-5, rtol=0)


def test_training_twice_gives_the_same_bits():
    first, second = (train_group([run(seed=3), run("sgd")], TASKS, SETTINGS) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.checkpoints[4], b.checkpoints[4])
        assert a.history == b.history


def test_networks_on_another_draw_are_others_from_the_start():
    first, second = train_group([run(), run(data_seed=1)], TASKS, SETTINGS)
    assert not torch.equal(first.checkpoints[0], second.checkpoints[0])
    assert first.history[0].train_loss != second.history[0].train_loss


# Training until a loss -------------------------------------------------------------------------------------------


def test_a_member_ends_at_the_first_epoch_whose_loss_is_low_enough_and_leaves_the_others_alone():
    members = [run("adam"), run("sgd"), run("adam", 1, data_seed=1)]
    whole = train_group(members, TASKS, SETTINGS)
    goal = whole[0].history[2].train_loss  # which the others reach at another epoch, or not at all
    ended = train_group(members, TASKS, SETTINGS.model_copy(update={"until_loss": goal}))
    lengths = []
    for one, all_of_it in zip(ended, whole, strict=True):
        low = [epoch.epoch for epoch in all_of_it.history if epoch.epoch and epoch.train_loss <= goal]
        last = low[0] if low else SETTINGS.epochs
        assert one.history == all_of_it.history[: last + 1]
        assert list(one.checkpoints) == sorted({*(k for k in all_of_it.checkpoints if k <= last), last})
        if last in all_of_it.checkpoints:
            assert torch.equal(one.checkpoints[last], all_of_it.checkpoints[last])
        lengths.append(last)
    assert lengths[0] == 2
    assert lengths[1] == SETTINGS.epochs


def test_its_last_checkpoint_is_that_of_the_epoch_whose_loss_was_measured():
    settings = SETTINGS.model_copy(update={"epochs": 8, "evaluate_every": 3, "step_size": 100})
    (whole,) = train_group([run()], TASKS, settings.model_copy(update={"evaluate_every": 1}))
    goal = whole.history[4].train_loss  # reached between two evaluations: the next one ends it
    (ended,) = train_group([run()], TASKS, settings.model_copy(update={"until_loss": goal}))
    assert [epoch.epoch for epoch in ended.history] == [0, 3, 6]
    last = max(ended.checkpoints)
    (shorter,) = train_group([run()], TASKS, settings.model_copy(update={"epochs": last}))
    assert last == 6
    assert torch.equal(ended.checkpoints[6], shorter.checkpoints[6])
    assert ended.history[-1].train_loss <= goal < ended.history[-2].train_loss


def test_training_stops_for_all_when_the_last_is_done():
    everything = SETTINGS.model_copy(update={"epochs": 10_000, "until_loss": 1e9})  # would take minutes
    assert [len(one.history) for one in train_group([run(), run("sgd")], TASKS, everything)] == [2, 2]


# What is kept -----------------------------------------------------------------------------------------------------


def test_history_has_every_epoch_and_the_schedule():
    (trained,) = train_group([run()], TASKS, SETTINGS)
    assert [epoch.epoch for epoch in trained.history] == [0, 1, 2, 3, 4]
    assert [epoch.learning_rate for epoch in trained.history] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])
    assert trained.history[-1].train_loss < trained.history[0].train_loss
    assert not trained.diverged


def test_evaluating_less_often_leaves_the_training_as_it_is():
    (often,) = train_group([run()], TASKS, SETTINGS)
    (seldom,) = train_group([run()], TASKS, SETTINGS.model_copy(update={"evaluate_every": 3}))
    assert [epoch.epoch for epoch in seldom.history] == [0, 3, 4]
    assert seldom.history == tuple(often.history[number] for number in (0, 3, 4))
    assert torch.equal(seldom.checkpoints[4], often.checkpoints[4])


@pytest.mark.parametrize(
    ("epochs", "between", "kept"),
    [(30, 10, [0, 3, 5, 8, 11, 14, 16, 19, 22, 25, 27, 30]), (4, 2, [0, 1, 3, 4]), (1, 5, [0, 1]), (2, 1, [0, 1, 2])],
)
def test_checkpoints_are_spread_over_the_epochs(epochs, between, kept):
    settings = Training(epochs=epochs, checkpoints=between)
    (trained,) = train_group([run()], TASKS, settings)
    assert list(trained.checkpoints) == kept


def test_a_member_that_diverges_is_told_and_leaves_the_others_alone():
    settings = SETTINGS.model_copy(update={"sgd_learning_rate": 1e30})
    broken, sound = train_group([run("sgd"), run("adam")], TASKS, settings)
    assert broken.diverged
    assert not broken.history[-1].finite
    assert all(epoch.finite for epoch in broken.history[:-1])
    (alone,) = train_group([run("adam")], TASKS, settings)
    assert not sound.diverged
    torch.testing.assert_close(sound.checkpoints[4], alone.checkpoints[4], atol=1e-5, rtol=0)


def test_runs_that_cannot_be_stacked_are_refused():
    with pytest.raises(ValueError, match="wanted runs of one group"):
        train_group([run(), run(architecture="1x16")], TASKS, SETTINGS)
