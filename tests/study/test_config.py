import pytest

from lossatlas.errors import InputError
from lossatlas.study.config import Run, Study, load_study, shipped_studies
from lossatlas.study.models import parse_architecture


def test_the_study_seed_is_the_matrix_of_the_seed_report_on_five_draws():
    study = load_study("seed")
    runs = list(study.runs())
    assert len(runs) == 5 * 90
    assert {run.architecture for run in runs} == {"1x50", "1x500", "2x100", "4x100", "4x250"}
    assert {run.activation for run in runs} == {"relu", "tanh", "gelu"}
    assert {(run.optimizer, run.weight_decay, run.seed) for run in runs} == {
        (optimizer, 1e-4, seed) for optimizer in ("sgd", "adam") for seed in (0, 1, 2)
    }
    assert (study.data.test, study.training.epochs, study.training.until_loss) == (512, 30, None)


@pytest.mark.parametrize("name", ["moons", "matrix", "seed"])
def test_draws_were_fixed_beforehand_and_are_a_sample(name):
    seeds = load_study(name).data.seeds
    assert seeds == tuple(range(len(seeds)))  # none was chosen
    assert len(seeds) >= 3


def test_every_shipped_study_loads():
    assert {"moons", "smoke"} <= set(shipped_studies())
    for name in shipped_studies():
        assert list(load_study(name).runs())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("shallow-small", (1, 50)), ("shallow-wide", (1, 500)), ("medium", (2, 100)), ("deep-small", (4, 100))],
)
def test_presets_have_the_names_of_the_seed(name, shape):
    assert parse_architecture(name) == ("mlp", *shape)


def test_convnets_and_residual_networks_have_names():
    assert parse_architecture("conv4x16") == ("conv", 4, 16)
    assert str(parse_architecture("res03x064")) == "res3x64"


def test_the_regularization_runs_are_beside_the_matrix():
    study = Study.model_validate(
        {
            "model": {"architectures": ["1x4"], "activations": ["relu"]},
            "training": {"weight_decays": [1e-4], "seeds": [0, 1]},
            "regularization": {"weight_decays": [0.0, 1e-4], "seeds": [0]},
        }
    )
    assert len(list(study.runs())) == 4
    assert [(run.optimizer, run.weight_decay) for run in study.regularization_runs()] == [
        (optimizer, decay) for optimizer in ("sgd", "adam") for decay in (0.0, 1e-4)
    ]
    assert len(study.all_runs()) == 6  # what both have is one network


def test_depth_and_width_replace_those_of_the_architectures():
    base = {"architectures": ["1x50", "4x100"]}

    def grid(**more):
        return Study.model_validate({"model": {**base, **more}}).model.grid()

    assert grid() == ("1x50", "4x100")
    assert grid(width=[8]) == ("1x8", "4x8")
    assert grid(depth=[2, 3]) == ("2x50", "3x50", "2x100", "3x100")
    assert grid(depth=[1, 2], width=[8, 9]) == ("1x8", "1x9", "2x8", "2x9")


def test_a_network_is_one_run_however_often_it_is_named():
    study = Study.model_validate({"model": {"architectures": ["deep-large", "4x250"], "activations": ["relu"]}})
    assert study.model.grid() == ("4x250",)


def test_a_study_file_names_the_study_and_overrides_defaults(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nepochs = 3\n")
    study = load_study(str(file))
    assert (study.name, study.training.epochs, study.training.batch_size) == ("mine", 3, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[data]\ndatasets = ["spiral"]', r"data.datasets: wanted 'moons'.*got 'spiral'"),
        ('[model]\nactivations = ["swish"]', r"model.activations: wanted 'relu'.*got 'swish'"),
        ("[model]\nwidth = [0]", r"model.width: wanted greater than or equal to 1, got 0"),
        ('[model]\narchitectures = ["0x5"]', r"architecture '0x5': wanted <hidden layers>x<width>"),
        ('[model]\narchitectures = ["4by250"]', r"architecture '4by250': wanted"),
        ("[model]\narchitectures = []", r"no architecture"),
        ("[training]\nepochs = -1", r"training.epochs: wanted greater than or equal to 1, got -1"),
        ("[training]\nepoch = 1", r"there is no field training.epoch"),
        ("[training]\nseeds = []", r"training.seeds"),
        (
            '[probes.spectrum]\nmatrix = "fisher"',
            r"probes.spectrum.matrix: wanted 'hessian', of which",
        ),
        ("[probes.random_plane]\nsteps = 24", r"probes.random_plane.steps is 24: wanted an odd number of at least 3"),
        ("[data]\nnoise = nan", r"data.noise"),
        ("[data]\nseed = 13", r"there is no field data.seed"),
        ("[data]\nseeds = [0, 1, 0]", r"data.seeds: wanted every entry once, 0 is there more than once"),
        ("[training]\nuntil_loss = 0", r"training.until_loss: wanted greater than 0, got 0"),
        ("[training]\nseeds = [0, 1, 0]", r"training.seeds: wanted every entry once, 0 is there more than once"),
        ("[training]\nweight_decays = [1e-4, 0.00010000001]", r"training.weight_decays: wanted every entry once"),
        ("[training]\nepochs = 1", r"study: trajectory_plane wants at least 2 training.epochs.*through$"),
        ("epochs: 3", r"is not a TOML file"),
    ],
)
def test_wrong_study_files_get_one_line(tmp_path, text, message):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        load_study(str(file))
    assert "\n" not in str(raised.value)


WRONG = {
    '[model]\nactivations = ["swish"]\n[training]\nepochs = -1\nepoch = 1': (
        "model.activations: wanted 'relu'",
        "got 'swish'; ",
        "training.epochs: wanted greater than or equal to 1, got -1",
        "there is no field training.epoch: see",
    ),
    "[model]\nwidth = [0, 5, -2]": ("model.width: wanted greater than or equal to 1, got 0; ", "got -2"),
    '[probes.spectrum]\nk = "many"\n[probes.random_plane]\nsteps = 24\n[data]\nnoise = nan': (
        "probes.random_plane.steps is 24: ",
        "data.noise: wanted",
        "probes.spectrum.k: wanted a valid integer",
    ),
}


@pytest.mark.parametrize(("text", "messages"), WRONG.items())
def test_everything_that_is_wrong_is_said_at_once(tmp_path, text, messages):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        load_study(str(file))
    line = str(raised.value)
    assert all(message in line for message in messages), line
    assert "\n" not in line
    assert "more)" not in line


def test_a_file_that_is_not_text_is_no_study(tmp_path):
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a TOML file"):
        load_study(str(file))


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no study 'mons': wanted one of .*moons"):
        load_study("mons")


def test_runs_know_what_they_share():
    run = Run(
        dataset="moons", architecture="1x50", activation="relu", optimizer="sgd", weight_decay=1e-4, data_seed=2, seed=0
    )
    other, seed, draw = (
        run.model_copy(update=update) for update in ({"optimizer": "adam", "seed": 1}, {"seed": 1}, {"data_seed": 3})
    )
    assert run.group == other.group == seed.group == draw.group
    assert run.configuration == seed.configuration == draw.configuration != other.configuration
    assert run.siblings == seed.siblings
    assert draw.siblings not in (run.siblings, other.siblings)
    assert str(run) == "moons · 1x50 · relu · sgd · weight decay 0.0001 · data seed 2 · seed 0"


# Draws of the data -----------------------------------------------------------------------------------------------


def of_draws(**probes) -> Study:
    return Study.model_validate(
        {
            "data": {"seeds": [5, 0, 7]},
            "model": {"architectures": ["1x4"], "activations": ["relu"]},
            "training": {"optimizers": ["adam"], "seeds": [0, 1]},
            "probes": probes,
            "regularization": {"weight_decays": [0.0], "seeds": [3]},
        }
    )


def test_every_network_is_trained_on_every_draw_of_the_data():
    study = of_draws()
    assert [(run.data_seed, run.seed) for run in study.runs()] == [(5, 0), (5, 1), (0, 0), (0, 1), (7, 0), (7, 1)]
    assert [run.data_seed for run in study.regularization_runs()] == [5, 0, 7]
    assert [study.of_first_draw(run) for run in study.runs()] == [True, True, False, False, False, False]


def test_further_draws_have_the_probes_that_are_named_for_them():
    study = of_draws(run=["spectrum", "random_plane", "linear_connectivity"], further_draws=["spectrum", "interpolate"])
    first, *_, last = study.runs()
    assert [probe.name for probe in study.probes_of(first, "model")] == ["random_plane", "spectrum"]
    assert [probe.name for probe in study.probes_of(last, "model")] == ["spectrum"]  # what is asked for at all
    assert [probe.name for probe in study.probes_of(first, "pair")] == ["linear_connectivity"]
    assert study.probes_of(last, "pair") == []


def test_seeds_beyond_those_that_are_measured_are_asked_for_pairs_alone():
    study = of_draws(run=["spectrum", "trajectory_plane", "linear_connectivity"], seeds=1)
    for draw in (5, 0):
        first, other = (run for run in study.runs() if run.data_seed == draw)
        assert "spectrum" in [probe.name for probe in study.probes_of(first, "model")]
        assert study.probes_of(other, "model", "trajectory") == []
        assert [probe.name for probe in study.probes_of(other, "pair")] == ["linear_connectivity"]
    beside = next(iter(study.regularization_runs()))
    assert [probe.name for probe in study.probes_of(beside, "model")] == ["spectrum"]


def test_without_a_word_further_draws_have_the_cheap_probes_that_tables_are_made_of():
    study = of_draws()
    *_, last = study.runs()
    names = {probe.name for probe in study.probes_of(last, "model", "trajectory", "pair", "models", "family")}
    assert {"spectrum", "epsilon_sharpness", "linear_connectivity"} <= names
    assert not names & {"random_plane", "trajectory_plane"}
