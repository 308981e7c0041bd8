"""Nothing is lost: runs that are killed at any moment, disks and memories that are full."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import fresh_process
import pytest
import torch
from helpers import TINY, Killed, environment, full_disk, is_one_sentence, killed_after, rows, start

from srgan.errors import UserError
from srgan.training.gan_monitor import LONG, GanMonitor
from srgan.training.run import Run

ARGUMENTS = (*TINY, "--content", "mse", "--held-out", "2", "--fidelity-epochs", "1", "--epochs", "2", "--jitter", "0.1")
"""Three epochs of three steps. The run saves after each step and after each epoch."""


def train_until(moment: str, number: int, photos: Path, out: Path, *more: str) -> fresh_process.Result:
    arguments = ["--data", str(photos), "--out", str(out), *ARGUMENTS, "--save-minutes", "0", *more]
    code = f"import dying; dying.train_until({moment!r}, {number}, {arguments!r})"
    return fresh_process.run(["-c", code], environment(), out.parent, timeout=600)


def test_a_run_killed_at_any_moment_comes_to_the_same_weights(photos: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = train_until("step", 0, photos, whole)
    assert done.code == 0, done.err
    places = []
    for moment, number in (
        ("step", 3), ("writing", 1), ("validation", 1), ("before renaming", 2), ("after renaming", 2), ("step", 2),
    ):  # fmt: skip
        died = train_until(moment, number, photos, killed, *(["--resume"] if places else []))
        assert died.code == -signal.SIGKILL, (moment, died.err)
        assert bool(list(killed.glob(".*.partial.pt"))) == (moment in ("writing", "before renaming"))
        position = torch.load(killed / "state.pt", weights_only=True)["position"]
        places.append((position["stage"], position["epoch"], position["photos"]))
    assert places == [
        ("fidelity", 0, 8), ("fidelity", 0, 8), ("fidelity", 0, 10), ("fidelity", 1, 0), ("detail", 0, 8),
        ("detail", 1, 0),
    ]  # fmt: skip
    done = train_until("step", 0, photos, killed, "--resume")
    assert done.code == 0, done.err
    for file in ("model/model.safetensors", "model/fidelity.safetensors", "samples/detail-002/010.png"):
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), file
    found, wanted = ([row for row in rows(run) if row["kind"] == "validation"] for run in (killed, whole))
    assert [(row["stage"], row["epoch"], row["psnr_y"]) for row in found] == [
        (row["stage"], row["epoch"], row["psnr_y"]) for row in wanted
    ]
    assert not list(killed.rglob(".*partial*"))


# Disk


def test_a_disk_that_fills_up_in_the_middle_costs_nothing(photos: Path, tmp_path: Path) -> None:
    """In the detail stage the state of more optimisers is saved, so that the file no longer fits on the disk."""
    run = start(photos, tmp_path / "run", epochs=2)
    with pytest.raises(UserError) as caught:
        full_disk(run.train, 25_000_000)
    assert is_one_sentence(str(caught.value)) and "state.pt" in str(caught.value)
    assert torch.load(run.folder / "state.pt", weights_only=True)["position"]["stage"] == "fidelity"
    assert start(photos, run.folder, resume=True, epochs=2).train() is True


# Memory


def named_batch(error: UserError) -> int:
    assert is_one_sentence(str(error))
    return int(str(error).split("--batch-size ")[-1].rstrip("."))


def full_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def full_main_memory() -> None:
    torch.empty(2**50, dtype=torch.uint8)


def with_room_for(run: Run, photos: int, fill: Callable[[], object] = full_gpu) -> Run:
    """Gives the run's detail stage memory for only so many photos per step."""
    step = run.trainer.detail_step

    def limited(low: torch.Tensor, *arguments: object) -> dict[str, torch.Tensor]:
        if len(low) > photos:
            fill()
        return step(low, *arguments)

    run.trainer.detail_step = limited
    return run


@pytest.mark.parametrize("fill", [full_gpu, full_main_memory])
def test_after_a_full_memory_the_run_goes_on_with_smaller_steps(
    photos: Path, tmp_path: Path, fill: Callable[[], object]
) -> None:
    run = with_room_for(start(photos, tmp_path / "run", batch_size=9), 3, fill)
    with pytest.raises(UserError) as caught:
        run.train()
    assert "--batch-size 9" in str(caught.value) and "--resume --batch-size 2" in str(caught.value)
    state = torch.load(run.folder / "state.pt", weights_only=True)
    assert (state["position"]["stage"], state["position"]["total"]) == ("fidelity", 10)
    batch = named_batch(caught.value)
    again = with_room_for(start(photos, run.folder, resume=True, batch_size=batch), 3, fill)
    assert again.train() is True
    assert again.trainer.state.total == 10
    average = state["networks"]["average"]
    assert all(torch.equal(value, again.trainer.fidelity[name]) for name, value in average.items())


def test_what_is_said_before_anything_is_saved_and_where_nothing_fits(photos: Path, tmp_path: Path) -> None:
    for room, words in ((2, "start again with --batch-size 2."), (0, "nor for one photo")):
        run = with_room_for(start(photos, tmp_path / "run", fidelity_epochs=0), room)
        with pytest.raises(UserError) as caught:
            run.train()
        assert is_one_sentence(str(caught.value)) and words in str(caught.value)


def test_other_errors_are_not_taken_for_a_full_memory(photos: Path, tmp_path: Path) -> None:
    run = start(photos, tmp_path / "run")
    run.trainer.step = lambda *arguments: torch.ones(2) @ torch.ones(3)
    with pytest.raises(RuntimeError, match="size"):
        run.train()


# A GAN out of balance

WON = {"d_real": 0.997, "d_fake": 0.004, "discriminator": 0.007}
GUESSES = {"d_real": 0.501, "d_fake": 0.499, "discriminator": 1.385}
HEALTHY = {"d_real": 0.7, "d_fake": 0.3, "discriminator": 0.9}


@pytest.mark.parametrize(("means", "word"), [(WON, "has won"), (GUESSES, "has given up")])
def test_a_discriminator_out_of_balance_is_told_of_once(means: dict[str, float], word: str) -> None:
    monitor = GanMonitor()
    told = [monitor.judge(means, photos) for photos in range(0, 4 * LONG, 500)]
    assert [place * 500 for place, found in enumerate(told) if found] == [LONG]
    _, text = told[LONG // 500]
    assert word in text and "--discriminator-lr" in text


def test_a_short_trouble_a_healthy_game_and_the_fidelity_stage_are_passed_over() -> None:
    monitor = GanMonitor()
    for photos in range(0, 10 * LONG, 500):
        means = WON if photos % LONG else HEALTHY
        assert monitor.judge(means, photos) is None
        assert monitor.judge({"pixel": 0.1}, photos) is None
    # A discriminator that cannot tell the two apart but is not undecided: half sure of all, and wrong.
    wrong = {**GUESSES, "discriminator": 2.0}
    assert all(monitor.judge(wrong, photos) is None for photos in range(0, 3 * LONG, 500))


def test_the_warning_is_in_the_statistics_and_not_repeated_after_a_resume(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("srgan.training.gan_monitor.LONG", 8)
    settings = {"fidelity_epochs": 0, "epochs": 3, "save_minutes": 0.0, "discriminator_lr": 1e-9}
    run = start(photos, tmp_path / "run", **settings)
    with pytest.raises(Killed):
        run.trainer.fit(killed_after(2))
    assert start(photos, run.folder, resume=True, **settings).train() is True
    warnings = [row for row in rows(run.folder) if row["kind"] == "warning"]
    assert [row["trouble"] for row in warnings] == ["gave up"]
    assert capsys.readouterr().out.count("has given up") == 1
    json.dumps(warnings)
