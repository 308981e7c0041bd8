"""Training: single steps, and whole runs of train.py with their files, stops and resumes."""

import dataclasses
import gc
import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import (
    OFFLINE,
    ROOT,
    SMALL,
    TINY,
    environment,
    full_disk,
    is_one_sentence,
    make_photos,
    rows,
    start,
    textured,
    train,
    train_command,
    trainer,
    wait_for,
)  # fmt: skip
from PIL import Image
from safetensors.torch import load_file

from srgan.errors import UserError
from srgan.measure.metrics import structural_similarity
from srgan.model_folder import Model, ModelConfig, save_model
from srgan.photos.crops import load_crops
from srgan.pictures.images import normalize, reduce
from srgan.ranks import Share
from srgan.training.augment import random_window
from srgan.training.config import Config
from srgan.training.losses import grid_loss, shade_loss
from srgan.training.progress import Log, Meter, TrainState
from srgan.training.run import Run, expected_memory, plan, with_network_of_init
from srgan.training.trainer import HEAD_START_RATE, Trainer, rate_factor, step_generator
from srgan.upscaler import Upscaler


def weights(folder: Path, file: str = "model.safetensors") -> bytes:
    return (folder / "model" / file).read_bytes()


# Schedules and averages


def test_one_cycle_rises_for_a_twentieth_and_falls_to_zero() -> None:
    factors = [rate_factor(step / 1000, "one-cycle") for step in range(1001)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[50] == max(factors) == pytest.approx(1)
    assert factors[525] == pytest.approx(0.5)
    assert factors[1000] == pytest.approx(0, abs=1e-9)
    assert factors[:51] == sorted(factors[:51]) and factors[50:] == sorted(factors[50:], reverse=True)


def test_warm_up_rises_and_stays() -> None:
    assert [rate_factor(step / 1000, "warm-up") for step in range(50)] == [
        rate_factor(step / 1000, "one-cycle") for step in range(50)
    ]
    assert {rate_factor(progress, "warm-up") for progress in (0.05, 0.5, 1.0)} == {1.0}


def test_constant_schedule_is_constant() -> None:
    assert {rate_factor(progress, "constant") for progress in (0.0, 0.01, 0.5, 1.0)} == {1.0}


def test_schedules_count_photos_and_not_steps(photos: Path, tmp_path: Path) -> None:
    for batch in (2, 5):
        one = trainer(photos, tmp_path, batch_size=batch, fidelity_epochs=4)
        one.state.total = 20  # of 4 epochs of 10 photos
        one.set_rates()
        assert one.rate_groups()[0]["lr"] == pytest.approx(1.5e-3 * rate_factor(0.5, "one-cycle"))


def fill(network: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)


def averaged(one: Trainer) -> float:
    (value,) = {round(float(x), 5) for parameter in one.generator_ema.parameters() for x in parameter.unique()}
    return value


def test_average_forgets_half_in_its_half_life(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path, ema_half_life=8)
    one.state.total = 1_000_000
    for updates in ([8], [4, 4], [1] * 8):
        fill(one.generator_ema, 0)
        fill(one.generator, 1)
        for count in updates:
            one.update_ema(count)
        assert averaged(one) == pytest.approx(0.5)


def test_average_is_short_at_the_beginning_and_absent_on_request(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path, ema_half_life=1000)
    for total, left in ((0, 0.0), (40, 0.5), (80, 0.5**0.5)):  # the half-life is a tenth of the photos seen
        one.state.total = total
        fill(one.generator_ema, 1)
        fill(one.generator, 0)
        one.update_ema(4)
        assert averaged(one) == pytest.approx(left, abs=1e-5)
    none = trainer(photos, tmp_path, ema_half_life=0)
    none.state.total = 1_000_000
    fill(none.generator, 3)
    none.update_ema(1)
    assert averaged(none) == 3


def test_each_step_has_its_own_random_numbers_and_the_same_ones_again() -> None:
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 4), (2**63 - 1, 0, 0)]
    draws = [tuple(torch.rand(4, generator=step_generator(*place)).tolist()) for place in places]
    assert len(set(draws)) == len(places)
    assert draws == [tuple(torch.rand(4, generator=step_generator(*place)).tolist()) for place in places]


# The meter


def test_meter_gives_means_over_steps(tmp_path: Path) -> None:
    position = TrainState("fidelity")
    meter = Meter(Log(tmp_path / "stats.jsonl"), position, 100, torch.device("cpu"))
    for value in (1.0, 2.0, 6.0):
        meter.add({"pixel": torch.tensor(value)})
        position.total += 4
    assert ", L1 3, " in f"{meter.report()}, "
    meter.add({"pixel": torch.tensor(7.0)})
    position.total += 4
    meter.report()
    assert meter.means() == {"pixel": 4.0}
    assert [(row["pixel"], row["photos"], row["epoch"]) for row in rows(tmp_path)] == [(3, 12, 1), (7, 16, 1)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_in_one_sentence(tmp_path: Path, value: float) -> None:
    meter = Meter(Log(tmp_path / "stats.jsonl"), TrainState("detail", epoch=2), 100, torch.device("cpu"))
    meter.add({"generator": torch.tensor(1.0), "discriminator": torch.tensor(value)})
    with pytest.raises(UserError) as caught:
        meter.report()
    text = str(caught.value)
    assert is_one_sentence(text)
    assert "discriminator" in text and "epoch 3" in text and "detail" in text
    assert rows(tmp_path) == []


# Steps


def test_the_fidelity_stage_learns(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path, fidelity_schedule="constant")
    pixels = one.train.batch(range(8))
    losses = [one.step(pixels)["pixel"].item() for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.75 * losses[0]


def detail_trainer(photos: Path, folder: Path, **settings: Any) -> Trainer:
    return trainer(photos, folder, fidelity_epochs=0, **settings)


def test_the_generators_loss_is_the_weighted_sum(photos: Path, tmp_path: Path) -> None:
    weights = {"adversarial_weight": 0.25, "pixel_weight": 0.5, "grid_weight": 2.0, "shade_weight": 3.0}
    one = detail_trainer(photos, tmp_path, shift=6, **weights)
    low, high = torch.rand(4, 3, 8, 8) * 2 - 1, torch.rand(4, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        restored = one.generator(low)
        seen, truth = random_window((restored, high), 6, torch.Generator().manual_seed(3))
        real, fake = one.discriminator(truth), one.discriminator(seen)
    cross_entropy = F.binary_cross_entropy_with_logits
    content = F.mse_loss(seen, truth).item()
    adversarial = cross_entropy(fake, torch.ones_like(fake)).item()
    judged = cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
    found = {name: value.item() for name, value in one.detail_step(low, high, torch.Generator().manual_seed(3)).items()}
    assert found["content"] == pytest.approx(content, rel=1e-4)
    assert found["adversarial"] == pytest.approx(adversarial, rel=1e-4)
    l1 = F.l1_loss(restored, high).item()
    grid, shades = grid_loss(restored, high).item(), shade_loss(restored, high).item()
    wanted = content + 0.25 * adversarial + 0.5 * l1 + 2 * grid + 3 * shades
    assert found["generator"] == pytest.approx(wanted, rel=1e-4)
    assert found["discriminator"] == pytest.approx(judged.item(), rel=1e-4)  # from both networks before the step
    assert found["d_real"] == pytest.approx(real.sigmoid().mean().item(), rel=1e-4)
    assert found["d_fake"] == pytest.approx(fake.sigmoid().mean().item(), rel=1e-4)


def test_features_are_judged_on_the_networks_as_they_were(photos: Path, tmp_path: Path, vgg19_file: Path) -> None:
    one = detail_trainer(
        photos, tmp_path, content="perceptual", vgg19=str(vgg19_file), adversarial_weight=0.25, shift=6
    )
    low, high = torch.rand(4, 3, 8, 8) * 2 - 1, torch.rand(4, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        restored = one.generator(low)
        views = one.content.views(*random_window((restored, high), 6, torch.Generator().manual_seed(3)))
        content, adversarial = one.content.distance(*views).item(), one.discriminator.generator_loss(*views).item()
        judged, d_real, _ = one.discriminator.discriminator_loss(*views)
    l1, grid = F.l1_loss(restored, high).item(), grid_loss(restored, high).item()
    found = {name: value.item() for name, value in one.detail_step(low, high, torch.Generator().manual_seed(3)).items()}
    wanted = {"content": content, "adversarial": adversarial, "discriminator": judged.item(), "d_real": d_real.item()}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert found["generator"] == pytest.approx(content + 0.25 * adversarial + 0.1 * l1 + 2.5 * grid, rel=1e-4)


def test_the_penalty_is_due_every_eighth_step_for_all_of_them(photos: Path, tmp_path: Path, vgg19_file: Path) -> None:
    settings = {"content": "perceptual", "vgg19": str(vgg19_file)}
    one = detail_trainer(photos, tmp_path / "10", penalty_weight=10.0, **settings)
    views = one.content.views(*torch.rand(2, 4, 3, 32, 32))
    penalties = []
    for one.state.total in (0, 4, 28, 32):  # photos, of four a step
        penalties.append(one.penalty(*views, seeded(3)))
    nudges = seeded(int(torch.randint(2**62, (), generator=seeded(3))))
    wanted = 8 * 10.0 * one.discriminator.approximate_r1(*views, nudges)
    assert wanted > 0 and penalties[1:3] == [0, 0]
    torch.testing.assert_close(penalties[0], wanted)
    torch.testing.assert_close(penalties[3], wanted)
    for name, other in (("0", {"penalty_weight": 0.0}), ("patches", {"discriminator": "patches"})):
        assert detail_trainer(photos, tmp_path / name, **settings, **other).penalty(*views, seeded(3)) == 0


def test_the_penalty_holds_the_discriminator_back(photos: Path, tmp_path: Path, vgg19_file: Path) -> None:
    settings = {"content": "perceptual", "vgg19": str(vgg19_file), "schedule": "constant", "discriminator_lr": 1e-3}
    found = {}
    for weight in (0.0, 100.0):
        one = detail_trainer(photos, tmp_path / str(weight), penalty_weight=weight, **settings)
        pixels = one.train.batch(range(4))
        for _ in range(10):
            one.step(pixels)  # the position stays the same for each step
        high = normalize(pixels)
        views = one.content.views(one.restore(reduce(high)), high)
        found[weight] = one.discriminator.approximate_r1(*views, seeded(5)).item()
    assert found[100.0] < 0.5 * found[0.0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_run_that_judges_features_goes_on_exactly(photos: Path, tmp_path: Path, vgg19_file: Path) -> None:
    settings = {"content": "perceptual", "vgg19": str(vgg19_file), "optimizer": "muon", "lr": 1e-3}
    one = detail_trainer(photos, tmp_path, **settings)
    pixels = one.train.batch(range(4))
    one.step(pixels)
    one.save()
    other = detail_trainer(photos, tmp_path, **settings)
    other.load()
    for each in (one, other):
        each.step(pixels)
    for name, network in one.networks().items():
        for value, again in zip(network.parameters(), other.networks()[name].parameters(), strict=True):
            assert torch.equal(value, again), name


def test_the_fidelity_stage_weighs_structure_beside_pixels(photos: Path, tmp_path: Path) -> None:
    """The update follows the gradient of both losses."""
    one = trainer(photos, tmp_path, ssim_weight=0.5)
    low, high = torch.rand(2, 3, 8, 8) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    restored = one.generator(low)
    pixel, structure = F.l1_loss(restored, high), 1 - structural_similarity(luma_of(restored), luma_of(high)).mean()
    wanted = torch.autograd.grad(pixel + 0.5 * structure, list(one.generator.parameters()))
    found = one.fidelity_step(low, high)
    assert found["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)  # only L1 is logged
    for value, gradient in zip(one.generator.parameters(), wanted, strict=True):
        torch.testing.assert_close(value.grad, gradient, rtol=1e-3, atol=1e-6)


def luma_of(images: torch.Tensor) -> torch.Tensor:
    """Returns the luma in 0 to 255 by the weights of BT.601 as in MATLAB."""
    red, green, blue = ((images + 1) / 2).unbind(1)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[:, None]


def test_the_discriminator_learns_to_tell_originals_from_restored(photos: Path, tmp_path: Path) -> None:
    one = detail_trainer(photos, tmp_path, optimizer="muon", schedule="constant", lr=3e-4)
    pixels = one.train.batch(range(4))
    for _ in range(25):
        found = one.step(pixels)
    assert found["d_real"] > found["d_fake"] + 0.1


@pytest.mark.parametrize("content", ["perceptual", "vgg54"])
def test_content_from_vgg19_moves_the_generator(photos: Path, tmp_path: Path, vgg19_file: Path, content: str) -> None:
    one = detail_trainer(
        photos, tmp_path, content=content, vgg19=str(vgg19_file), adversarial_weight=0.0, pixel_weight=0.0, lr=1e-3,
        schedule="constant",
    )  # fmt: skip
    pixels = one.train.batch(range(4))
    losses = [one.step(pixels)["content"].item() for _ in range(12)]
    assert losses[-1] < losses[0]


def test_a_step_in_bf16_keeps_weights_and_losses_in_fp32(photos: Path, tmp_path: Path) -> None:
    one = detail_trainer(photos, tmp_path, precision="bf16")
    found = one.step(one.train.batch(range(4)))
    assert all(value.dtype == torch.float32 and value.isfinite() for value in found.values())
    assert all(value.dtype == torch.float32 for value in one.generator.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stage", ["fidelity", "detail"])
def test_a_step_never_waits_for_the_gpu(photos: Path, tmp_path: Path, vgg19_file: Path, stage: str) -> None:
    one = trainer(
        photos, tmp_path, device="cuda", precision="bf16", content="perceptual", vgg19=str(vgg19_file), jitter=0.05,
        degrade="any",
    )  # fmt: skip
    one.start_stage(stage)
    batches = one.train.batches(0, 0, 0, 8, 4)
    one.step(next(batches))  # the first step allocates what the others reuse
    torch.cuda.set_sync_debug_mode("error")
    try:
        one.step(next(batches))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_in_its_head_start_the_discriminator_learns_alone_and_faster(
    photos: Path, tmp_path: Path, vgg19_file: Path
) -> None:
    settings = {"content": "perceptual", "vgg19": str(vgg19_file), "schedule": "constant", "epochs": 4}
    one = detail_trainer(photos, tmp_path, head_start=8, discriminator_lr=1e-4, **settings)  # 8 of 40 photos
    pixels = one.train.batch(range(4))

    def moved(network: torch.nn.Module, step: Callable[[], object]) -> bool:
        before = [value.clone() for value in network.parameters()]
        step()
        return not all(map(torch.equal, before, network.parameters()))

    for one.state.total, alone in ((0, True), (4, True), (8, False)):
        assert (
            moved(one.generator, lambda: moved(one.discriminator, lambda: one.step(pixels)) or pytest.fail()) != alone
        )
        rate = one.optimizers["discriminator"][0].param_groups[0]["lr"]
        assert rate == pytest.approx(HEAD_START_RATE * 1e-4 if alone else 1e-4)
    one.stages["detail"], one.state.total = 12, 4  # at most a third of a short stage
    assert not one.in_head_start()


def test_the_average_keeps_a_share_of_the_starting_model(
    photos: Path, tmp_path: Path, two_stages: tuple[Path, str]
) -> None:
    model = str(two_stages[0] / "model")
    one = start(photos, tmp_path / "run", init=model, fidelity_epochs=0, keep_start=0.25, ema_half_life=0).trainer
    begun = {name: value.clone() for name, value in one.generator.state_dict().items()}
    one.step(one.train.batch(range(4)))
    for name, value in one.generator_ema.state_dict().items():
        torch.testing.assert_close(value, 0.25 * begun[name] + 0.75 * one.generator.state_dict()[name])


def test_a_run_from_a_model_goes_on_exactly_from_within_the_head_start_and_after_it(
    photos: Path, tmp_path: Path, two_stages: tuple[Path, str]
) -> None:
    settings = {"init": str(two_stages[0] / "model"), "fidelity_epochs": 0, "epochs": 4, "lr": 1e-3}
    settings |= {"head_start": 8, "keep_start": 0.5}
    whole = start(photos, tmp_path / "whole", **settings)
    assert whole.train() is True
    for steps in (1, 4):
        first = start(photos, tmp_path / str(steps), **settings)
        stop_at(first.trainer, steps)
        assert first.train() is False
        second = start(photos, tmp_path / str(steps), resume=True, **settings)
        assert second.train() is True
        for name, network in whole.trainer.networks().items():
            assert all(map(torch.equal, network.parameters(), second.trainer.networks()[name].parameters())), name


def test_the_gan_starts_from_the_averaged_fidelity_weights(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path, fidelity_epochs=1, epochs=1, lr=1e-30)
    ends = []
    one.fit(lambda epoch: ends.append((one.state.stage, epoch)))
    assert ends == [("fidelity", 1), ("detail", 1)]
    assert one.fidelity is not None
    for name, value in one.generator_ema.state_dict().items():
        torch.testing.assert_close(value, one.fidelity[name], rtol=0, atol=1e-6)


def test_a_run_starts_from_a_model(photos: Path, tmp_path: Path, two_stages: tuple[Path, str]) -> None:
    """The fidelity stage starts from the fidelity weights; the detail stage alone starts from the detail weights."""
    model, tiny = two_stages[0] / "model", {"channels": 8, "blocks": 1}
    for epochs, name in ((1, "fidelity.safetensors"), (0, "model.safetensors")):
        given = load_file(model / name)
        run = start(photos, tmp_path / name, init=str(model), **tiny, fidelity_epochs=epochs)
        for network in (run.trainer.generator, run.trainer.generator_ema):
            assert all(torch.equal(value, given[key]) for key, value in network.state_dict().items())
    assert run.train()
    run.finish()
    assert weights(run.folder, "fidelity.safetensors") == (model / "fidelity.safetensors").read_bytes()
    assert weights(run.folder) != (model / "model.safetensors").read_bytes()
    card = (run.folder / "model" / "README.md").read_text()
    assert "Started from: model, which had seen 30 photos" in card and str(tmp_path) not in card


def test_a_resumed_run_needs_the_model_that_it_began_with_no_more(
    photos: Path, tmp_path: Path, two_stages: tuple[Path, str]
) -> None:
    model = shutil.copytree(two_stages[0] / "model", tmp_path / "model")
    run = start(photos, tmp_path / "run", init=str(model), fidelity_epochs=0)
    run.trainer.save()
    shutil.rmtree(model)
    resumed = start(photos, tmp_path / "run", resume=True, init=str(model), fidelity_epochs=0)
    assert resumed.trainer.fidelity.keys() == run.trainer.fidelity.keys()
    assert resumed.trainer.origin == run.trainer.origin


def test_a_model_of_another_size_is_no_start(photos: Path, tmp_path: Path, two_stages: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match="has --channels 8: leave --channels out"):
        start(photos, tmp_path / "run", init=str(two_stages[0] / "model"), channels=16)


def test_a_run_takes_the_network_of_the_model_it_starts_from(tmp_path: Path) -> None:
    config = ModelConfig(8, 3, "direct")
    save_model(tmp_path, Model(config, {"detail": config.network().state_dict()}, {}), "")
    taken = with_network_of_init({"init": str(tmp_path), "seed": 3})
    assert taken == {"init": str(tmp_path), "seed": 3, "channels": 8, "blocks": 3, "upsampling": "direct"}
    assert with_network_of_init({"init": str(tmp_path), "channels": 16})["channels"] == 16
    assert with_network_of_init({"seed": 3}) == {"seed": 3}


def test_back_projection_goes_on_with_the_model_and_not_into_worn_copies(
    photos: Path, tmp_path: Path, two_stages: tuple[Path, str]
) -> None:
    model = shutil.copytree(two_stages[0] / "model", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "back_projection": True}))
    run = start(photos, tmp_path / "run", init=str(model), fidelity_epochs=0)
    assert run.model().config.back_projection
    with pytest.raises(UserError, match="leave --degrade out"):
        start(photos, tmp_path / "worn", init=str(model), fidelity_epochs=0, degrade="web")


def test_a_stage_may_end_within_an_epoch(photos: Path, tmp_path: Path) -> None:
    one = trainer(photos, tmp_path, fidelity_epochs=0.5, epochs=1.5)
    ends = []
    one.fit(lambda epoch: ends.append((one.state.stage, epoch, one.state.total)))
    assert ends == [("fidelity", 1, 5), ("detail", 1, 10), ("detail", 2, 15)]


def test_every_epoch_sees_every_photo_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(photos, tmp_path, fidelity_epochs=2, batch_size=3)
    seen: list[int] = []
    batch = one.train.batch
    monkeypatch.setattr(
        type(one.train), "batch", lambda self, indices: (seen.extend(map(int, indices)), batch(indices))[1]
    )
    monkeypatch.setattr(one, "validate", lambda losses: None)
    one.train_epoch(lambda epoch: None)
    first = list(seen)
    seen.clear()
    one.train_epoch(lambda epoch: None)
    assert sorted(first) == sorted(seen) == list(range(10))
    assert first != seen


def test_held_out_photos_leave_no_trace_in_the_weights(photos: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(photos, tmp_path / "changed")
    for number in (10, 11):
        textured(100 + number).save(changed / f"{number:03}.png")
    also = shutil.copytree(photos, tmp_path / "also")
    textured(100).save(also / "009.png")
    found = []
    for folder in (photos, changed, also):
        one = trainer(folder, tmp_path / "run", epochs=2)
        assert one.held_out.names == ["010.png", "011.png"]
        one.fit()
        found.append((one.generator_ema.state_dict(), one.history[-1].values["psnr_y"]))
    (plain, psnr), (same, other_psnr), (different, _) = found
    assert all(torch.equal(value, same[name]) for name, value in plain.items())
    assert psnr != other_psnr
    assert not all(torch.equal(value, different[name]) for name, value in plain.items())


def test_small_photos_are_worn_and_a_rank_wears_its_part_alike(photos: Path, tmp_path: Path) -> None:
    pixels = load_crops(photos, 32).batch(range(4))
    seen = {}
    for preset in ("clean", "old"):
        one = trainer(photos, tmp_path / preset, degrade=preset)
        for name, part in (("all", slice(0, 4)), ("half", slice(2, 4))):
            one.fidelity_step = lambda low, high, weight, key=(preset, name): seen.update({key: (low, high)}) or {}
            one.step(pixels[part], Share(4, part, 1.0))
        for whole, half in zip(seen[preset, "all"], seen[preset, "half"], strict=True):
            torch.testing.assert_close(half, whole[2:])
    clean, old = seen["clean", "all"], seen["old", "all"]
    assert (clean[0] != old[0]).flatten(1).any(1).all()
    grey = (old[1][:, 0] == old[1][:, 1]).flatten(1).all(1)  # the target is grey if the copy is
    assert torch.equal(old[1][~grey], clean[1][~grey])


# Saving and resuming inside this process


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(photos: Path, tmp_path: Path) -> None:
    whole = trainer(photos, tmp_path / "whole", jitter=0.05, degrade="any", epochs=2)
    whole.fit()
    for stop_after in (1, 3, 5):  # steps, three per epoch: within and at the end of an epoch, and in the second stage
        folder = tmp_path / f"stopped-{stop_after}"
        first = start(photos, folder, jitter=0.05, degrade="any", epochs=2)
        stop_at(first.trainer, stop_after)
        assert first.train() is False
        second = start(photos, folder, resume=True, jitter=0.05, degrade="any", epochs=2)
        assert second.train() is True
        for name, network in whole.networks().items():
            resumed = second.trainer.networks()[name].state_dict()
            assert all(torch.equal(value, resumed[key]) for key, value in network.state_dict().items()), (
                stop_after,
                name,
            )
        reached = [(row.stage, row.epoch) for row in second.trainer.history]
        assert reached == [("fidelity", 1), ("detail", 1), ("detail", 2)]
        figures = [row.values["psnr_y"] for row in second.trainer.history]
        assert figures == [row.values["psnr_y"] for row in whole.history]
        validated = [(row["stage"], row["epoch"]) for row in rows(folder) if row["kind"] == "validation"]
        assert validated == reached


def stop_at(one: Trainer, steps: int) -> None:
    """Asks the trainer to stop during a step, as a signal would."""
    step, left = one.step, [steps]

    def counted(*arguments: Any) -> dict[str, torch.Tensor]:
        left[0] -= 1
        one.stop_requested = left[0] <= 0
        return step(*arguments)

    one.step = counted


def test_a_run_killed_between_validation_and_saving_has_its_figures_once(photos: Path, tmp_path: Path) -> None:
    first = start(photos, tmp_path / "run")
    stop_at(first.trainer, 3)
    assert first.train() is False  # all photos of the epoch are seen and saved, but not its end
    with (first.folder / "stats.jsonl").open("a") as file:
        file.write('{"kind": "validation", "stage": "fidelity", "epoch": 1, "photos": 10, "psnr_y": 1.0}\n')
    second = start(photos, first.folder, resume=True)
    assert second.train() is True
    validated = [(row["stage"], row["epoch"]) for row in rows(first.folder) if row["kind"] == "validation"]
    assert validated == [("fidelity", 1), ("detail", 1)]


def test_more_epochs_are_trained_on_resume_as_if_they_had_been_asked_for_at_once(photos: Path, tmp_path: Path) -> None:
    whole = start(photos, tmp_path / "whole", epochs=2, schedule="constant")
    assert whole.train()
    first = start(photos, tmp_path / "run", epochs=1, schedule="constant")
    assert first.train()
    second = start(photos, first.folder, resume=True, epochs=2, schedule="constant")
    assert second.train()
    for name, value in whole.trainer.generator.state_dict().items():
        assert torch.equal(value, second.trainer.generator.state_dict()[name]), name
    with pytest.raises(UserError, match="less than") as caught:
        start(photos, first.folder, resume=True, epochs=1, schedule="constant")
    assert is_one_sentence(str(caught.value))


def test_more_epochs_are_refused_where_the_learning_rate_would_jump(photos: Path, tmp_path: Path) -> None:
    for schedule, steps, fits in (("one-cycle", 1, True), ("one-cycle", 5, False), ("warm-up", 5, True)):
        run = start(photos, tmp_path / f"{schedule}-{steps}", schedule=schedule, epochs=1)
        stop_at(run.trainer, steps)  # in the first or the second stage
        assert run.train() is False
        before = (run.folder / "settings.json").read_bytes()
        if fits:
            assert start(photos, run.folder, resume=True, schedule=schedule, epochs=2).train()
            continue
        with pytest.raises(UserError, match="--init") as caught:
            start(photos, run.folder, resume=True, schedule=schedule, epochs=2)
        assert is_one_sentence(str(caught.value)) and schedule in str(caught.value)
        assert (run.folder / "settings.json").read_bytes() == before


def test_a_request_to_stop_during_the_last_validation_is_heard(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(photos, tmp_path / "run")
    validate = run.trainer.validate

    def interrupted(losses: dict[str, float]) -> None:
        validate(losses)
        run.trainer.stop_requested = run.trainer.state.stage == "detail"

    monkeypatch.setattr(run.trainer, "validate", interrupted)
    assert run.train() is False
    assert start(photos, run.folder, resume=True).train() is True


@pytest.fixture
def stopped(photos: Path, tmp_path: Path) -> Path:
    """Returns the folder of a run that was stopped after its first step."""
    run = start(photos, tmp_path / "run")
    run.trainer.stop_requested = True
    assert run.train() is False
    return run.folder


def test_a_folder_with_a_run_is_not_overwritten(photos: Path, stopped: Path) -> None:
    before = (stopped / "state.pt").read_bytes()
    with pytest.raises(UserError, match="--resume") as caught:
        start(photos, stopped)
    assert is_one_sentence(str(caught.value)) and str(stopped) in str(caught.value)
    assert (stopped / "state.pt").read_bytes() == before


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1000], lambda data: b"text", lambda data: data[:100]]
)
def test_a_broken_state_is_one_sentence(photos: Path, stopped: Path, damage: Callable[[bytes], bytes]) -> None:
    path = stopped / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        start(photos, stopped, resume=True)
    assert is_one_sentence(str(caught.value)) and str(path) in str(caught.value)


def test_a_run_does_not_go_on_with_other_photos(photos: Path, stopped: Path, tmp_path: Path) -> None:
    """Otherwise the held-out photos, which are the last by name, would be used for training."""
    more = shutil.copytree(photos, tmp_path / "more")
    textured(50).save(more / "012.png")
    with pytest.raises(UserError) as caught:
        start(more, stopped, resume=True)
    assert is_one_sentence(str(caught.value))


def test_a_run_that_was_killed_before_it_saved_can_be_started_again(photos: Path, tmp_path: Path) -> None:
    first = start(photos, tmp_path / "run")
    with (tmp_path / "run" / "stats.jsonl").open("a") as file:  # a row of the unsaved epoch
        file.write('{"kind": "validation", "stage": "fidelity", "epoch": 1, "photos": 10, "psnr_y": 1.0}\n')
    assert first.folder.exists()
    second = start(photos, tmp_path / "run")
    assert second.train() is True
    validated = [(row["stage"], row["epoch"]) for row in rows(second.folder) if row["kind"] == "validation"]
    assert validated == [("fidelity", 1), ("detail", 1)]


def test_a_full_disk_is_one_sentence_and_keeps_the_last_state(photos: Path, stopped: Path) -> None:
    before = (stopped / "state.pt").read_bytes()
    run = start(photos, stopped, resume=True)
    with pytest.raises(UserError) as caught:
        full_disk(run.trainer.save, 1_000_000)
    assert is_one_sentence(str(caught.value)) and str(stopped / "state.pt") in str(caught.value)
    assert (stopped / "state.pt").read_bytes() == before
    assert not list(stopped.glob("*partial*")) and not list(stopped.glob(".*partial*"))


def test_a_full_disk_under_the_statistics_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    run = start(photos, tmp_path / "run")
    (run.folder / "stats.jsonl").write_text("{}\n" * 20_000)  # more than the progress bar prints
    with pytest.raises(UserError) as caught:
        full_disk(run.train, 60_000)
    assert is_one_sentence(str(caught.value))


def test_an_out_folder_that_cannot_be_made_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError) as caught:
            start(photos, folder)
        assert is_one_sentence(str(caught.value)) and str(folder) in str(caught.value)


@pytest.mark.parametrize("content", ["missing", "empty", "broken"])
def test_a_useless_showcase_is_refused_before_training(photos: Path, tmp_path: Path, content: str) -> None:
    showcase = tmp_path / "showcase"
    if content != "missing":
        showcase.mkdir()
    if content == "broken":
        (showcase / "face.png").write_text("not a picture")
    with pytest.raises(UserError) as caught:
        start(photos, tmp_path / "run", showcase=str(showcase))
    assert is_one_sentence(str(caught.value)) and str(showcase) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_useless_weights_files_are_refused_before_training(photos: Path, tmp_path: Path) -> None:
    for settings in (
        {"content": "vgg54", "vgg19": str(tmp_path / "none.pth")},
        {"lpips": str(tmp_path / "none.safetensors")},
    ):
        with pytest.raises(UserError, match="none"):
            start(photos, tmp_path / "run", **settings)
        assert not (tmp_path / "run").exists()


# The plan


def test_the_plan_counts_photos_steps_and_parameters(photos: Path) -> None:
    config = Config(**{**SMALL, "data": str(photos), "channels": 64, "blocks": 16, "epochs": 3, "fidelity_epochs": 2})
    text = plan(config, *load_crops(photos, 32).split(2))
    for words in (
        "10 photos to train on, 2 held out (010.png to 011.png)", "fidelity stage: 2 epochs of 3 steps of 4",
        "detail stage: 3 epochs of 3 steps of 4", "1,544,387", "5,211,713", "cpu", "float32", "GB",
    ):  # fmt: skip
        assert words in text, words


def test_expected_memory_grows_with_what_needs_it() -> None:
    small, config = Config(batch_size=8), Config(batch_size=16)
    assert (
        1
        < expected_memory(small, "bfloat16")
        < expected_memory(config, "bfloat16")
        < expected_memory(config, "float32")
    )


# Whole runs of train.py


TWO_STAGES = (
    *TINY,
    "--content",
    "mse",
    "--held-out",
    "2",
    "--fidelity-epochs",
    "1",
    "--epochs",
    "2",
    "--checkpoint-every",
    "2",
)


@pytest.fixture(scope="module")
def two_stages(photos: Path, lpips_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Trains a run of both stages from beginning to end. Returns its folder and its output."""
    out = tmp_path_factory.mktemp("two") / "run"
    showcase = tmp_path_factory.mktemp("showcase")
    textured(77, 300, 200).save(showcase / "portrait.png")
    done = train(
        "--data", photos, "--out", out, *TWO_STAGES, "--lpips", lpips_file, "--showcase", showcase,
        "--data-terms", "Made for this test in 東京.", PYTHONWARNDEFAULTENCODING="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "EncodingWarning" in line and "site-packages" not in line]
    ours = [line for line in warned if line.startswith(str(ROOT))]
    assert ours == []  # no file's encoding depends on the system
    return out, done.stdout


@pytest.fixture(scope="module")
def classic(photos: Path, vgg19_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classic") / "run"
    done = train("--data", photos, "--out", out, "--recipe", "classic", *TINY, "--epochs", "2", "--vgg19", vgg19_file)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_leaves_its_files(two_stages: tuple[Path, str]) -> None:
    out, _ = two_stages
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    folders = ("original", "low", "fidelity-001", "detail-001", "detail-002")
    samples = {f"samples/{folder}/{name}.png" for folder in folders for name in ("010", "011")}
    model = ("config.json", "metrics.json", "README.md", "model.safetensors", "fidelity.safetensors", "curves.png")
    assert files == {
        "settings.json", "stats.jsonl", ".lock", "state.pt", "curves.png", "sheet.png", "report.html",
        "model/samples/portrait.png", *samples,
        *(f"{folder}/{name}" for folder in ("model", "checkpoints/detail-002") for name in model),
    }  # fmt: skip


def test_samples_are_the_held_out_photos_at_both_sizes(two_stages: tuple[Path, str], photos: Path) -> None:
    out, _ = two_stages
    original = Image.open(out / "samples" / "original" / "010.png")
    middle = np.asarray(Image.open(photos / "010.png"))[24:56, 32:64]
    assert np.array_equal(np.asarray(original), middle)
    low = np.asarray(Image.open(out / "samples" / "low" / "010.png")).astype(int)
    assert low.shape == (8, 8, 3)
    assert np.abs(low - np.asarray(original.resize((8, 8), Image.Resampling.BICUBIC))).max() <= 1
    restored = [np.asarray(Image.open(out / "samples" / name / "010.png")) for name in ("fidelity-001", "detail-002")]
    assert all(picture.shape == (32, 32, 3) for picture in restored)
    assert not np.array_equal(*restored)


def test_the_last_sample_is_what_the_model_gives(two_stages: tuple[Path, str]) -> None:
    out, _ = two_stages
    upscaler = Upscaler.load(out / "model", "cpu", "fp32")
    for folder, detail in (("detail-002", 1.0), ("fidelity-001", 0.0)):
        restored = upscaler.enlarge(Image.open(out / "samples" / "low" / "011.png"), detail)
        sample = np.asarray(Image.open(out / "samples" / folder / "011.png")).astype(int)
        assert np.abs(np.asarray(restored) - sample).max() <= 1


def test_statistics_have_a_row_for_every_epoch(two_stages: tuple[Path, str]) -> None:
    found = rows(two_stages[0])
    validated = [row for row in found if row["kind"] == "validation"]
    assert [(row["stage"], row["epoch"], row["photos"]) for row in validated] == [
        ("fidelity", 1, 10), ("detail", 1, 10), ("detail", 2, 20)
    ]  # fmt: skip
    assert all({"psnr_y", "ssim_y", "lpips"} <= row.keys() for row in validated)
    trained = [row for row in found if row["kind"] == "train"]
    assert {row["stage"] for row in trained} == {"fidelity", "detail"}
    assert all(row["photos_per_second"] * row["seconds_per_1000_photos"] == pytest.approx(1000) for row in trained)
    assert all(0.05 < row["peak_memory_gb"] < 50 for row in trained)
    for row in trained:
        losses = {"pixel"} if row["stage"] == "fidelity" else {"generator", "discriminator", "d_real", "d_fake"}
        assert losses <= row.keys()
    assert all(0 < row["d_real"] < 1 and 0 < row["d_fake"] < 1 for row in trained if row["stage"] == "detail")


def test_settings_are_what_was_asked_for(two_stages: tuple[Path, str], photos: Path) -> None:
    found = json.loads((two_stages[0] / "settings.json").read_text())
    assert found.keys() == {"version", *(field.name for field in dataclasses.fields(Config))}
    assert {name: found[name] for name in ("data", "crop", "epochs", "fidelity_epochs", "held_out", "content")} == {
        "data": str(photos), "crop": 32, "epochs": 2, "fidelity_epochs": 1, "held_out": 2, "content": "mse",
    }  # fmt: skip


def test_the_model_folder_says_how_it_was_made(two_stages: tuple[Path, str]) -> None:
    folder = two_stages[0] / "model"
    training = json.loads((folder / "config.json").read_text())["training"]
    assert training["data"]["train"] == 10 and training["data"]["held_out"] == 2
    assert training["data"]["seen"] == {"fidelity": 10, "detail": 20}
    figures = json.loads((folder / "metrics.json").read_text())["figures"]
    assert figures.keys() == {"bicubic", "detail 0", "detail 0.5", "detail 1"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    command = shlex.split(training["command"])
    assert command[:2] == ["python", "train.py"] and training["command"] in card
    for words in (
        "Made for this test in 東京.",
        f"{figures['detail 1']['psnr_y']:.2f}",
        "samples/portrait.png",
        "curves.png",
    ):
        assert words in card, words
    assert Image.open(folder / "samples" / "portrait.png").size == (4 * 384, 384)


def test_a_run_says_its_plan_and_its_figures(two_stages: tuple[Path, str]) -> None:
    out, said = two_stages
    assert "10 photos to train on, 2 held out" in said
    assert "bicubic: PSNR-Y" in said and f"Model folder: {out / 'model'}" in said


def test_pictures_of_a_run_can_be_opened(two_stages: tuple[Path, str]) -> None:
    sheet = Image.open(two_stages[0] / "sheet.png")
    assert sheet.width > 4 * 32 and sheet.height > 2 * 32
    curves = np.asarray(Image.open(two_stages[0] / "curves.png").convert("L"))
    assert min(curves.shape) > 200 and curves.min() < 100


def test_the_classic_recipe_is_a_gan_alone(classic: Path) -> None:
    assert {row["stage"] for row in rows(classic)} == {"detail"}
    found = json.loads((classic / "settings.json").read_text())
    assert (found["content"], found["jitter"], found["schedule"]) == ("vgg54", 0.05, "constant")
    assert sorted(path.name for path in (classic / "samples").iterdir()) == [
        "detail-001",
        "detail-002",
        "low",
        "original",
    ]
    assert len(list((classic / "samples" / "detail-002").iterdir())) == 5
    upscaler = Upscaler.load(classic / "model", "cpu", "fp32")
    assert not upscaler.can_blend
    state = torch.load(classic / "state.pt", weights_only=True)
    for name, value in load_file(classic / "model" / "model.safetensors").items():  # the generator itself, no average
        assert torch.equal(value, state["networks"]["generator"][name])
    assert state["optimizers"]["generator"][0]["param_groups"][0]["lr"] == 1e-4


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(train_command(*arguments), stdout=pipe, stderr=pipe, text=True, env=environment())


def test_ctrl_c_saves_and_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    arguments = (
        "--data",
        photos,
        "--out",
        out,
        *TINY,
        "--content",
        "mse",
        "--fidelity-epochs",
        "0",
        "--epochs",
        "9999",
    )
    process = begin(*arguments)
    wait_for(lambda: len(rows(out)) >= 1, process)
    for resume in (False, True):  # the same command again, and --resume, while the process lives
        with pytest.raises(UserError, match="another process") as caught:
            start(photos, out, resume)
        assert is_one_sentence(str(caught.value)) and str(out) in str(caught.value)
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints
    words = shlex.split(said.strip().splitlines()[-1].split("Continue with:")[1])
    assert words[-1] == "--resume" and words[2:-1] == [str(argument) for argument in arguments]
    assert torch.load(out / "state.pt", weights_only=True)["position"]["total"] > 0


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Runs train.py inside this process and returns its exit code."""
    from srgan.commands import train as program

    monkeypatch.setattr("sys.argv", ["train.py", *map(str, arguments)])
    return program.main(program="train.py")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_left_as_it_is_and_says_how_to_go_on(
    photos: Path, tmp_path: Path, two_stages: tuple[Path, str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = shutil.copytree(two_stages[0], tmp_path / "run")
    before = contents(out)
    assert main(monkeypatch, "--data", photos, "--out", out, "--resume", "--batch-size", "2") == 0
    said = capsys.readouterr().out
    assert "--resume --epochs" in said and f"--init {out}" in said
    assert contents(out) == before
    monkeypatch.setattr("srgan.commands.train.photos", lambda config: pytest.fail("it goes on"))
    (out / "model" / "config.json").unlink()  # an incomplete folder is written again
    with pytest.raises(pytest.fail.Exception, match="goes on"):
        main(monkeypatch, "--data", photos, "--out", out, "--resume")


def test_ctrl_c_while_the_model_folder_is_written_says_how_to_complete_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", photos, "--out", tmp_path / "run", *TINY, "--content", "mse", "--epochs", "1")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        monkeypatch.setattr(Run, "finish", lambda run, number=number: signal.raise_signal(number))
        again = ["--resume"] if (tmp_path / "run").exists() else []
        try:
            assert main(monkeypatch, *arguments, *again) == 1
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert is_one_sentence(last) and "--resume" in last and "model folder" in last
        gc.collect()  # frees the folder, as the end of a process does


def test_a_dry_run_prints_the_plan_and_writes_the_first_crops_alone(photos: Path, tmp_path: Path) -> None:
    done = train(
        "--data", photos, "--out", tmp_path / "run", *TINY, "--dry-run", TORCH_HOME=str(tmp_path / "home"), **OFFLINE
    )
    assert done.returncode == 0, done.stderr
    assert "10 photos to train on, 2 held out" in done.stdout
    assert "was not measured: the VGG19 weights cannot be downloaded" in done.stdout
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["contact.png"]


@pytest.mark.parametrize(
    ("flag", "wrong"), [("--init", "nowhere"), ("--vgg19", "nofile"), ("--lpips", "nofile"), ("--showcase", "nowhere")]
)
def test_a_dry_run_looks_for_what_the_run_will_need(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    wrong: str,
) -> None:
    path = tmp_path / wrong
    assert main(monkeypatch, "--data", photos, "--out", tmp_path / "run", *TINY, "--dry-run", flag, path) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert is_one_sentence(last) and str(path) in last
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_beside_a_run_says_what_the_run_would(
    photos: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "--data", photos, "--out", stopped, *TINY, "--dry-run") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(monkeypatch, "--data", photos, "--out", stopped, "--dry-run", "--resume") == 0


def test_without_vgg19_and_network_nothing_is_begun(photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = train("--data", photos, "--out", tmp_path / "run", *TINY, TORCH_HOME=str(home), **OFFLINE)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert is_one_sentence(last) and "--vgg19" in last and "--content mse" in last
    assert not (tmp_path / "run").exists()


def test_photos_that_are_left_out_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from srgan.commands import train as program

    folder = make_photos(tmp_path / "photos", 4)
    textured(9, 20, 20).save(folder / "small.png")
    (folder / "text.jpg").write_text("not a picture")
    monkeypatch.setattr("sys.argv", ["train.py", "--data", str(folder), *TINY, "--dry-run"])
    assert program.main(program="train.py") == 0
    said = capsys.readouterr()
    assert "2 photos are left out" in said.err and "small.png is 20x20" in said.err and "text.jpg" in said.err
    assert "3 photos to train on, 1 held out" in said.out
