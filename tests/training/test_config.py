"""Settings: the recipes, the command line made from them, and how impossible settings are refused."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import is_one_sentence, train

from srgan.commands.arguments import parse, settings_parser
from srgan.commands.train import refuse_new_terms
from srgan.errors import UserError
from srgan.publish.facts import command_line
from srgan.training.config import FREE_ON_RESUME, RECIPES, VERSION, Config, flag, make_config, resume_config

FIELDS = dataclasses.fields(Config)


def read(*arguments: str) -> Config:
    """Returns the settings of a command line of train.py."""
    return make_config(parse(["--data", "photos", *arguments], settings_parser("train.py", "")))


def test_every_setting_is_on_the_command_line_with_a_help_text() -> None:
    text = " ".join(settings_parser("train.py", "").format_help().split())
    for field in FIELDS:
        assert len(field.metadata["help"]) > 10, field.name
        assert f" {flag(field.name)} " in text, field.name
        assert "".join(field.metadata["help"].replace("%%", "%").split()) in text.replace(" ", ""), field.name


def test_every_setting_arrives_from_the_command_line() -> None:
    values = {
        "data": "d", "photos_per_epoch": None, "workers": 2, "out": "o", "init": "m",
        "max_hours": 2.5, "recipe": "classic",
        "epochs": 7, "fidelity_epochs": 3, "batch_size": 5,
        "seed": 11, "held_out": 4, "held_out_by": "name",
        "crop": 64, "crop_at": "random", "reduce": 3.5, "blocks": 2, "channels": 24,
        "upsampling": "direct", "jitter": 0.25, "degrade": "web", "content": "mse",
        "discriminator": "patches", "ssim_weight": 0.25, "fidelity_schedule": "warm-up",
        "adversarial_weight": 0.5, "pixel_weight": 0.75, "grid_weight": 2.5, "penalty_weight": 3.5, "shift": 4,
        "discriminator_lr": 0.03, "shade_weight": 1.5,
        "optimizer": "adam", "fidelity_lr": 0.125, "lr": 0.0625,
        "schedule": "one-cycle", "ema_half_life": 10, "head_start": 9, "keep_start": 0.25,
        "checkpoint_every": 3, "save_minutes": 1.5, "vgg19": "v",
        "lpips": "l", "showcase": "s", "data_terms": "terms of use", "license": "mit", "device": "cpu",
        "precision": "fp32",
    }  # fmt: skip
    assert set(values) == {field.name for field in FIELDS}, "a setting was added: give it a value here"
    arguments = [part for name, value in values.items() if value is not None for part in (flag(name), str(value))]
    assert dataclasses.asdict(read(*arguments)) == values
    assert read("--data", "d.tar", "--photos-per-epoch", "9").photos_per_epoch == 9  # not allowed for a folder


def test_windows_of_a_stream_are_refused() -> None:
    with pytest.raises(UserError, match="--crop-at random"):
        read("--data", "d.tar", "--photos-per-epoch", "9", "--crop-at", "random")


@pytest.mark.parametrize("crop_at", ["centre", "faces"])
def test_windows_alone_are_reduced(crop_at: str) -> None:
    with pytest.raises(UserError, match="--reduce"):
        read("--reduce", "2", "--crop-at", crop_at)
    assert read("--reduce", "2").reduce == 2  # auto may come to windows
    assert read("--reduce", "auto", "--crop-at", crop_at).reduce == "auto"


def test_features_are_judged_where_vgg19_looks_at_them() -> None:
    assert read().judges_features()
    assert not read("--content", "mse").judges_features()
    assert not read("--discriminator", "patches").judges_features()
    with pytest.raises(UserError, match=r"--content is 'mse'.*perceptual for --discriminator features"):
        read("--content", "mse", "--discriminator", "features")


def test_classic_is_the_documented_recipe() -> None:
    config = read("--recipe", "classic")
    documented = {
        "epochs": 60, "batch_size": 30, "held_out": 5, "crop": 128, "blocks": 16, "channels": 64, "jitter": 0.05,
        "content": "vgg54", "adversarial_weight": 1e-3, "pixel_weight": 0, "grid_weight": 0, "shift": 0,
        "optimizer": "adam", "lr": 1e-4, "discriminator_lr": 1e-4,
        "schedule": "constant",
        "ema_half_life": 0, "checkpoint_every": 20,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in documented} == documented
    assert not config.judges_features()
    assert config.stage_epochs() == {"detail": 60}


def test_default_trains_fidelity_first_and_averages() -> None:
    config = read()
    assert config.stage_epochs() == {"fidelity": 60, "detail": 60}
    assert list(config.stage_epochs()) == ["fidelity", "detail"]
    assert config.ema_half_life > 0
    assert read("--epochs", "3").stage_epochs() == {"fidelity": 3, "detail": 3}
    assert read("--epochs", "3", "--fidelity-epochs", "5").stage_epochs() == {"fidelity": 5, "detail": 3}
    assert read("--fidelity-epochs", "0").stage_epochs() == {"detail": 60}


def test_what_is_given_wins_over_the_recipe() -> None:
    config = read("--recipe", "classic", "--jitter", "0", "--batch-size", "8")
    assert (config.jitter, config.batch_size, config.content) == (0, 8, "vgg54")


def test_a_data_set_of_the_hub_is_told_in_full_and_a_place_on_this_machine_is_not() -> None:
    told = command_line(Config(data="hf://somebody/faces@v2", photos_per_epoch=9))
    assert "--data hf://somebody/faces@v2 --photos-per-epoch 9" in told
    for data in ("/home/me/photos", "hf:///home/me/photos", "/home/me/{0..9}.tar"):
        assert "home" not in command_line(Config(data=data)), data


def test_run_folder_is_named_after_photos_and_recipe() -> None:
    assert read().run_folder() == Path("runs/photos-default")
    assert read("--recipe", "classic").run_folder() == Path("runs/photos-classic")
    assert read("--out", "here").run_folder() == Path("here")
    for data, name in (
        ("faces/img_align_celeba.zip", "img_align_celeba"), ("shards/{0000..0999}.tar", "shards"),
        ("s/faces-{00..31}.tar", "faces"), ("hf://somebody/faces@v2", "faces"),
    ):  # fmt: skip
        assert Config(data=data).run_folder() == Path(f"runs/{name}-default")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--recipe", "classic"], ["--recipe", "classic", "--jitter", "0", "--lr", "0.0003"],
        ["--lr", "0.000123456789", "--epochs", "1.5", "--ema-half-life", "1234567"],
        ["--epochs", "3", "--fidelity-epochs", "0", "--data-terms", "it's free; ask first"],
        ["--recipe", "classic", "--fidelity-epochs", "2", "--batch-size", "16", "--held-out", "9", "--seed", "5"],
    ],
)  # fmt: skip
def test_the_cards_command_repeats_the_run(arguments: list[str]) -> None:
    config = read(*arguments)
    program, script, *rest = shlex.split(command_line(config))
    assert (program, script) == ("python", "train.py")
    assert make_config(parse(rest, settings_parser("train.py", ""))) == config


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("epochs", 0), ("epochs", -1), ("batch_size", 0), ("blocks", 0), ("channels", 0), ("checkpoint_every", 0),
    ("fidelity_epochs", -1), ("held_out", 0), ("held_out", -3),
    ("jitter", -0.1), ("jitter", 0.6), ("jitter", float("nan")), ("degrade", "worst"),
    ("reduce", 0.5), ("reduce", 17.0),
    ("adversarial_weight", -1.0), ("adversarial_weight", float("inf")), ("pixel_weight", -1.0),
    ("pixel_weight", float("nan")), ("ssim_weight", -0.1),
    ("grid_weight", -1.0), ("shade_weight", -1.0), ("penalty_weight", -1.0), ("shift", -1), ("shift", 33),
    ("discriminator_lr", 0.0),
    ("ema_half_life", -1), ("head_start", -1), ("keep_start", -0.1), ("keep_start", 1.0),
    ("save_minutes", -1.0), ("save_minutes", float("inf")),
    ("lr", 0.0), ("lr", -1.0), ("lr", float("nan")), ("lr", float("inf")), ("fidelity_lr", 0.0),
    ("seed", -1), ("seed", 2**63), ("crop", 12), ("crop", 0), ("crop", 130), ("crop", -128),
    ("recipe", "best"), ("content", "vgg"), ("optimizer", "sgd"), ("schedule", "steps"), ("device", "tpu"),
    ("precision", "fp8"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_impossible_values_are_refused_in_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        Config(**{name: value})
    text = str(caught.value)
    assert is_one_sentence(text)
    assert flag(name) in text and str(value) in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0.5), ("fidelity_epochs", 0), ("held_out", 1), ("jitter", 0.0), ("jitter", 0.5), ("reduce", 16.0),
     ("seed", 2**63 - 1), ("crop", 32), ("save_minutes", 0.0), ("ema_half_life", 0), ("adversarial_weight", 0.0)],
)  # fmt: skip
def test_values_at_the_edge_are_taken(name: str, value: Any) -> None:
    assert getattr(Config(**{name: value}), name) == value


def test_crops_too_small_for_the_figures_are_refused() -> None:
    """SSIM needs 19 pixels: a smaller crop would fail at the end of the first epoch."""
    with pytest.raises(UserError, match="--crop"):
        Config(crop=16)


@pytest.mark.parametrize(("name", "value"), [("channels", 513), ("blocks", 129)])
def test_networks_that_a_model_folder_would_refuse_are_refused_before_training(name: str, value: int) -> None:
    with pytest.raises(UserError, match=flag(name)):
        Config(**{name: value})


REFUSED = {
    "unknown flag": ["--epoch", "3"],
    "abbreviated flag": ["--batch", "3"],
    "wrong type": ["--epochs", "many"],
    "half a number": ["--batch-size", "2.5"],
    "unknown choice": ["--content", "vgg"],
    "missing value": ["--epochs"],
    "stray word": ["photos"],
    "impossible value": ["--crop", "130"],
    "no photos named": [],
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_command_line_is_refused_in_one_sentence(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from srgan.commands import train as program

    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    try:
        code = program.main(program="train.py")
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert is_one_sentence(said.err) and said.err.startswith("train.py: ")
    assert "usage:" not in said.err


def test_train_py_itself_exits_with_2_and_one_sentence(tmp_path: Path) -> None:
    done = train("--data", tmp_path / "missing", "--epochs", "1")
    assert done.returncode == 2
    assert is_one_sentence(done.stderr) and "missing: there is no such folder" in done.stderr
    assert done.stdout == ""


# Going on with a run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    read("--epochs", "5", "--recipe", "classic").save(tmp_path / "settings.json")
    return tmp_path


def test_saved_settings_come_back(run: Path) -> None:
    assert resume_config({"data": "photos"}, run) == read("--epochs", "5", "--recipe", "classic")


@pytest.mark.parametrize("version", [None, 0, VERSION + 1])
def test_a_run_of_another_version_is_refused_in_one_sentence(run: Path, version: int | None) -> None:
    path = run / "settings.json"
    saved = json.loads(path.read_text())
    assert saved.pop("version") == VERSION
    path.write_text(json.dumps(saved | ({} if version is None else {"version": version}) | {"colour": "unknown"}))
    with pytest.raises(UserError, match="another version") as caught:
        resume_config({}, run)
    assert is_one_sentence(str(caught.value)) and "--init" in str(caught.value) and str(path) in str(caught.value)


def test_more_epochs_on_resume_are_of_the_gan_stage(tmp_path: Path) -> None:
    read("--epochs", "5").save(tmp_path / "settings.json")
    assert resume_config({"epochs": 8.0}, tmp_path).stage_epochs() == {"fidelity": 5, "detail": 8}
    assert resume_config({"epochs": 5.0}, tmp_path) == read("--epochs", "5")


def test_where_things_lie_and_what_fits_may_change_on_resume(run: Path) -> None:
    given = {
        "data": "elsewhere", "out": "o", "vgg19": "v", "lpips": "l", "showcase": "s", "data_terms": "t", "license": "m",
        "device": "cpu", "precision": "fp32", "save_minutes": 1.0, "batch_size": 7, "epochs": 6.0,
    }  # fmt: skip
    assert set(given) == FREE_ON_RESUME
    resumed = resume_config(given, run)
    assert {name: getattr(resumed, name) for name in given} == given
    assert (resumed.crop, resumed.content) == (128, "vgg54")


@pytest.mark.parametrize(
    ("name", "value"), [("fidelity_epochs", 6), ("held_out", 29), ("seed", 1), ("crop", 64), ("lr", 2e-4)]
)
def test_what_is_trained_may_not_change_on_resume(run: Path, name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        resume_config({"data": "photos", name: value}, run)
    text = str(caught.value)
    assert is_one_sentence(text) and flag(name) in text and str(value) in text
    same = getattr(read("--epochs", "5", "--recipe", "classic"), name)
    assert getattr(resume_config({"data": "photos", name: same}, run), name) == same


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 2, "colour": 1}', '{"version": 2, "epochs": "many"}', "\0"]
)
def test_broken_settings_are_refused_by_name(run: Path, content: str) -> None:
    (run / "settings.json").write_text(content)
    with pytest.raises(UserError) as caught:
        resume_config({}, run)
    assert is_one_sentence(str(caught.value)) and str(run / "settings.json") in str(caught.value)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run") as caught:
        resume_config({}, tmp_path)
    assert is_one_sentence(str(caught.value))


def test_settings_are_saved_as_plain_json(run: Path) -> None:
    settings = dataclasses.asdict(read("--epochs", "5", "--recipe", "classic"))
    assert json.loads((run / "settings.json").read_text()) == {"version": VERSION, **settings}


def test_recipes_name_settings_that_exist() -> None:
    names = {field.name for field in FIELDS}
    assert all(set(preset) <= names for preset in RECIPES.values())


def test_a_finished_run_refuses_what_would_change_its_card() -> None:
    config = read()
    refuse_new_terms({"vgg19": "file"}, config)
    for name in ("license", "data_terms"):
        with pytest.raises(UserError, match=rf"{flag(name)}.*srgan push") as caught:
            refuse_new_terms({name: "x"}, config)
        assert is_one_sentence(str(caught.value))
