"""Presets, limited hours, and the model that a run on few photos starts from."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import OFFLINE, ROOT, TINY, is_one_sentence, start, train, trainer
from PIL import Image

from srgan.commands.train import what_was_found
from srgan.errors import UserError
from srgan.photos.collections import open_collection
from srgan.photos.windows import load_windows
from srgan.shipped import WEIGHTS
from srgan.training.config import Config, make_config
from srgan.training.forecast import run_warnings
from srgan.training.pace import MARGIN, Pace, measure_pace, within_hours
from srgan.training.presets import FEW, PRESETS, settle_init, sized
from srgan.training.progress import in_words, progress_text
from srgan.training.run import against_the_start, title_of_start
from srgan.training.trainer import rate_factor

PACE = Pace({"fidelity": 10.0, "detail": 2.0}, 5.0, math.nan)


def config(**settings: Any) -> Config:
    return make_config({"data": "photos", "crop_at": "faces", **settings})


def test_as_many_epochs_are_left_out_of_both_stages_as_the_hours_ask_for() -> None:
    whole = config(epochs=10, fidelity_epochs=20, max_hours=1.0)
    seconds = PACE.seconds(whole.stage_epochs(), 1000, 50)
    assert seconds == pytest.approx(20 * 1000 / 10 + 10 * 1000 / 2 + 30 * (50 / 5 + 2))
    shorter = within_hours(whole, PACE, 1000, 50)
    assert shorter.epochs / whole.epochs == pytest.approx(3600 * MARGIN / seconds, rel=0.001)
    assert shorter.fidelity_epochs == pytest.approx(2 * shorter.epochs, rel=0.001)
    assert PACE.seconds(shorter.stage_epochs(), 1000, 50) <= 3600
    assert within_hours(dataclasses.replace(whole, max_hours=9.0), PACE, 1000, 50).epochs == 10


def test_limited_hours_run_the_learning_rate_out() -> None:
    assert config(max_hours=2.0).schedule == "one-cycle" and config().schedule == "warm-up"
    assert config(max_hours=2.0, schedule="constant").schedule == "constant"
    with pytest.raises(UserError, match="--max-hours"):
        config(max_hours=0.0)


def test_a_stage_that_takes_too_long_ends_early_with_its_rate_run_out(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 3, "fidelity_epochs": 3, "schedule": "one-cycle", "max_hours": 1.0}
    late = trainer(photos, tmp_path / "late", **settings)
    late.state.used = 3600.0  # the hour is used up
    rates = []
    late.set_rates, real = lambda: (real(), rates.append(late.rate_groups()[0]["lr"]))[0], late.set_rates
    late.fit()
    assert late.stages == {"fidelity": 10, "detail": 10}  # one epoch each instead of the three planned
    assert rate_factor(late.state.total / late.stage_photos(), "one-cycle") == pytest.approx(0, abs=1e-6)
    in_time = trainer(photos, tmp_path / "in-time", **settings)
    in_time.fit()
    assert in_time.stages == {"fidelity": 30, "detail": 30}


def test_a_shortened_run_resumes_with_the_photos_that_were_left_to_it(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 3, "fidelity_epochs": 0, "schedule": "one-cycle", "max_hours": 1.0}
    run = start(photos, tmp_path / "run", **settings)
    run.trainer.stages["detail"] = 20
    run.trainer.stop_requested = True
    assert run.train() is False
    again = start(photos, tmp_path / "run", resume=True, **settings)
    assert again.trainer.stages == {"detail": 20} and again.trainer.state.used > 0
    assert again.train() is True and again.trainer.state.total == 20


def test_the_pace_is_measured_without_a_trace(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path / "run")
    pace = measure_pace(one.config, one.train, one.held_out)
    assert set(pace.photos_per_second) == {"fidelity", "detail"} and min(pace.photos_per_second.values()) > 0
    assert pace.restored_per_second > 0 and list((tmp_path / "run").iterdir()) == []


def test_few_photos_start_from_the_model_that_ships_for_them() -> None:
    found, said = settle_init(config(), FEW - 1, {})
    assert Path(found.init) == WEIGHTS / "celeba-faces" and found.license == "other"
    assert "celeba-faces" in said and "non-commercial" in said
    assert settle_init(config(), FEW, {})[0].init == "" and settle_init(config(), FEW, {}, always=True)[0].init
    assert Path(settle_init(config(crop_at="random"), 9, {})[0].init).name == "photos"
    assert Path(settle_init(config(degrade="web"), 9, {})[0].init).name == "photos"
    assert settle_init(config(license="mit"), 9, {})[0].license == "mit"
    assert settle_init(config(init="none"), 9, {}) == (config(init=""), "")
    assert settle_init(config(recipe="classic", init="auto"), 9, {})[0].init == ""
    small, said = settle_init(config(channels=8), 9, {"channels"})
    assert small.init == "" and small.channels == 8 and is_one_sentence(said) and "--channels" in said


def test_a_preset_counts_photos_and_what_is_given_wins() -> None:
    quick, standard = PRESETS["quick"], PRESETS["standard"]
    made = sized(config(**standard.settings), standard, {}, 500)
    assert made.epochs * 500 == pytest.approx(standard.photos["detail"]) and made.fidelity_epochs == 90
    made = sized(config(**{**quick.settings, "epochs": 2.0}), quick, {"epochs"}, 50)
    assert made.epochs == 2 and made.stage_epochs() == {"detail": 2} and made.max_hours == 0.25


def test_what_speaks_against_a_run_is_said_in_a_sentence_each() -> None:
    assert run_warnings(config(init="weights/celeba-faces"), 20, 28.0) == []
    found = run_warnings(config(init=""), 20, 46.9)
    assert len(found) == 2 and all(map(is_one_sentence, found)) and "46.9 dB" in found[1]


def test_the_time_that_is_left_comes_in_its_two_largest_parts() -> None:
    assert [in_words(value) for value in (50, 850, 8000, 300_000)] == ["50 s", "14 min", "2 h 13 min", "3 d 11 h"]


def test_the_line_of_a_running_stage_fits_into_80_columns() -> None:
    losses = {"generator": 0.3382, "discriminator": 1.381, "d_real": 0.5023, "d_fake": 0.4981}
    line = f"{in_words(8000)} left, detail 12/60  41%, {progress_text(losses, 1.42, 5.31)}"
    assert line.startswith("2 h 13 min left") and len(line) < 110 and "photos/s" in line[:60]


def test_quick_starts_from_a_shipped_model_and_says_what_came_of_it(photos: Path, tmp_path: Path) -> None:
    settings = ("--preset", "quick", "--crop", "32", "--crop-at", "centre", "--content", "mse", "--device", "cpu")
    done = train("--data", photos, "--out", tmp_path / "run", *settings, "--epochs", "1", "--held-out", "2")
    assert done.returncode == 0, done.stderr
    assert "starts from weights/celeba-faces" in done.stdout and "from which it started: PSNR-Y" in done.stdout
    facts = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["training"]
    assert facts["started_from"]["model"] == "celeba-faces" and facts["settings"]["schedule"] == "one-cycle"
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "license: other" in card and "Its terms hold for this model too: CelebA" in card


def test_without_vgg19_a_preset_says_what_it_does(tmp_path: Path) -> None:
    options = ("--preset", "quick", "--dry-run", "--device", "cpu", "--batch-size", "1")
    cache = {"TORCH_HOME": str(tmp_path), "SRGAN_CACHE": str(tmp_path / "cache"), **OFFLINE}
    done = train("--data", ROOT / "examples" / "portraits", "--out", tmp_path / "run", *options, **cache)
    assert done.returncode == 0, done.stderr
    assert "--crop-at faces" in done.stdout and "60 faces in 60 photos" in done.stdout
    assert "--content mse" in done.stdout and "VGG19" in done.stdout
    assert "on this machine (measured: " in done.stdout and "bicubic on the held-out ones: PSNR-Y" in done.stdout
    with Image.open(tmp_path / "run" / "contact.png") as sheet:
        assert sheet.size == (8 * 132, 5 * 132)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["contact.png"]


def test_the_portraits_are_small_and_credited() -> None:
    folder = ROOT / "examples" / "portraits"
    photos = sorted(folder.glob("*.jpg"))
    credits = (folder / "credits.csv").read_text()
    assert len(photos) >= 48 and sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    assert all(path.name in credits for path in photos)
    assert max(max(photo.size) for photo in open_collection(folder).sample(60)) == 256


def test_a_dry_run_names_the_measured_time_of_a_small_run(photos: Path, tmp_path: Path) -> None:
    done = train("--data", photos, "--out", tmp_path / "run", *TINY, "--dry-run", "--content", "mse", "--held-out", "2")
    assert done.returncode == 0, done.stderr
    assert "fidelity stage" in done.stdout and "Warning: 10 photos are too few" in done.stdout
    assert "disk: the cache takes 0.037 MB (" in done.stdout and "GB free), the run folder at most" in done.stdout


def test_a_run_says_in_one_sentence_whether_it_is_better_than_its_start() -> None:
    def verdict(lpips: float) -> list[str]:
        before = {title_of_start("celeba-faces"): {"lpips": 0.0469}}
        figures = {"bicubic": {"lpips": 0.3}, **before, "detail 1": {"lpips": lpips}}
        return against_the_start("celeba-faces", figures, 555, 17)

    assert "better than its start: LPIPS 0.0412" in verdict(0.0412)[0] and "17 held-out" in verdict(0.0412)[0]
    assert "no better than its start" in verdict(0.0471)[0] and "use celeba-faces" in verdict(0.0471)[0]
    assert against_the_start("", {"bicubic": {"lpips": 0.3}, "detail 1": {"lpips": 0.1}}, 555, 17) == []
    without = {title_of_start("a"): {"psnr_y": 30.0}, "detail 1": {"psnr_y": 31.0}}
    assert against_the_start("a", without, 555, 17) == []


def test_bursts_are_counted_among_photos_of_anything(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))
        picture.save(tmp_path / f"{number}.png")
        if number == 2:
            picture.save(tmp_path / "2-again.png")
    assert what_was_found(load_windows(tmp_path, 32), faces=False) == "5 photos; near-duplicates, as in a burst: 1"
    (tmp_path / "2-again.png").unlink()
    assert what_was_found(load_windows(tmp_path, 32), faces=False) == ""
