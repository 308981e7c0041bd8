"""Streams: what they read and in which order. A resumed run reads the same, and memory does not grow."""

import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from helpers import TINY, environment, is_one_sentence, make_photos, rows, run_python, textured, train_command
from PIL import Image

import srgan.photos.streams
from srgan import ranks
from srgan.errors import UserError
from srgan.photos.crops import load_crops
from srgan.photos.streams import Deal, HubDataset, Stream, TarShards, expand_braces, ignore_signals, open_stream
from srgan.publish.card import write_card
from srgan.ranks import Place
from srgan.training.config import Config, make_config
from srgan.training.run import Run, plan


def make_shards(folder: Path, photos: Path, count: int) -> str:
    """Deals the photos out to WebDataset tars, each with a caption. Returns the pattern of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(photos.iterdir())
    for number in range(count):
        with tarfile.open(folder / f"{number:02}.tar", "w") as archive:
            for photo in names[number * len(names) // count : (number + 1) * len(names) // count]:
                archive.add(photo, photo.name)
                caption = folder / f"{photo.stem}.json"
                caption.write_text("{}")
                archive.add(caption, caption.name)
                caption.unlink()
    return str(folder / f"{{00..{count - 1:02}}}.tar")


@pytest.fixture(scope="module")
def shards(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the twelve photos in three shards of four. Do not change them."""
    return make_shards(tmp_path_factory.mktemp("shards"), photos, 3)


def stream(data: str, epoch: int = 10, held_out: int = 2, workers: int = 0) -> Stream:
    config = Config(data=data, crop=32, photos_per_epoch=epoch, held_out=held_out, workers=workers)
    return open_stream(config)[0]


def which(batches: Any, photos: Path) -> list[int]:
    """Returns the numbers of the photos in a stream's batches."""
    known = {crop.tobytes(): number for number, crop in enumerate(load_crops(photos, 32).pixels)}
    return [known[crop.numpy().tobytes()] for batch in batches for crop in batch]


def test_ranks_read_photos_of_their_own(shards: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "_place", Place(rank, 3))
        batches = list(stream(shards, epoch=6).batches(0, 0, 0, 6, 4))
        assert [len(batch) for batch in batches] == [1 if rank < 2 else 2, 1]
        seen += which(batches if rank else batches[:1], photos)  # rank 0 has none of the last two photos
    assert len(seen) == len(set(seen))


# Names of shards


@pytest.mark.parametrize(
    ("pattern", "shards"),
    [
        ("a.tar", ["a.tar"]),
        ("s/{08..11}.tar", ["s/08.tar", "s/09.tar", "s/10.tar", "s/11.tar"]),
        ("{0..1}/x-{8..10}.tar", [f"{a}/x-{b}.tar" for a in (0, 1) for b in (8, 9, 10)]),
        ("{1..1}-{1..1}.tar", ["1-1.tar"]),
    ],
)
def test_braces_stand_for_every_number_between(pattern: str, shards: list[str]) -> None:
    assert expand_braces(pattern) == shards


def test_a_lone_brace_is_refused() -> None:
    with pytest.raises(UserError, match=r"s/\{0\.\.9\.tar: a brace is not closed or not opened"):
        expand_braces("s/{0..9.tar")


def test_a_missing_shard_is_named_before_anything_is_read(shards: str) -> None:
    with pytest.raises(UserError, match=r"03\.tar does not exist") as caught:
        TarShards(shards.replace("02", "05"))
    assert is_one_sentence(str(caught.value))


# What is read


def test_the_first_photos_are_held_out(shards: str, photos: Path) -> None:
    config = Config(data=shards, crop=32, photos_per_epoch=10, held_out=2)
    train, held_out = open_stream(config)
    assert held_out.names == ["00/000.png", "00/001.png"]
    assert which([held_out.batch(range(2))], photos) == [0, 1]
    assert len(train) == 10
    for workers in (0, 1, 2, 3, 5):
        assert 0 not in (seen := which(stream(shards, workers=workers).batches(0, 0, 0, 10, 4), photos)), workers
        assert 1 not in seen


def test_a_copy_of_a_held_out_photo_is_not_trained_on(photos: Path, tmp_path: Path) -> None:
    copies = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(copies / "000.png", copies / "011.png")
    shutil.copy(copies / "000.png", copies / "001.png")  # and is not held out twice
    pattern = make_shards(tmp_path / "shards", copies, 3)
    one = stream(pattern)
    assert which(
        open_stream(Config(data=pattern, crop=32, photos_per_epoch=8, held_out=2))[1].batches(0, 0, 0, 2, 2), photos
    ) in ([0, 2], [2, 0])
    assert sorted(which(one.batches(0, 0, 0, 8, 4), photos)) == [3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_sees_every_photo_once_and_each_epoch_its_own_order(shards: str, photos: Path, workers: int) -> None:
    one = stream(shards, workers=workers)
    orders = [tuple(which(one.batches(0, epoch, 0, 10, 4), photos)) for epoch in range(3)]
    assert all(sorted(order) == list(range(2, 12)) for order in orders)
    assert len(set(orders)) == 3
    assert tuple(which(one.batches(1, 0, 0, 10, 4), photos)) not in orders


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_workers_see_every_photo_between_them(shards: str, photos: Path, workers: int) -> None:
    """This holds for more and for fewer shards than workers. A worker with a small share starts it again."""
    seen = which(stream(shards, workers=workers).batches(0, 0, 0, 80, 1), photos)
    assert set(seen) == set(range(2, 12))


def test_an_epoch_longer_than_the_stream_begins_it_again_in_another_order(shards: str, photos: Path) -> None:
    seen = which(stream(shards, epoch=25).batches(0, 0, 0, 25, 5), photos)
    first, second, third = seen[:10], seen[10:20], seen[20:]
    assert sorted(first) == sorted(second) == list(range(2, 12)) and first != second
    assert len(set(third)) == 5


def test_photos_mix_across_shards_within_the_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srgan.photos.streams, "SHUFFLE", 6)
    folder = make_photos(tmp_path / "photos", 30)
    one = stream(make_shards(tmp_path / "shards", folder, 5), epoch=28)
    seen = which(one.batches(0, 0, 0, 28, 4), folder)
    assert sorted(seen) == list(range(2, 30))
    shards_of_first = {number // 6 for number in seen[:8]}
    assert len(shards_of_first) >= 2


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(("start", "size"), [(0, 4), (4, 4), (12, 5), (20, 3), (21, 7)])
def test_a_stream_goes_on_where_it_was_left_also_in_steps_of_another_size(
    shards: str, workers: int, start: int, size: int
) -> None:
    whole = list(stream(shards, epoch=30, workers=workers).batches(3, 1, 0, 30, 4))
    assert [len(batch) for batch in whole] == [4, 4, 4, 4, 4, 4, 4, 2]
    rest = list(stream(shards, epoch=30, workers=workers).batches(3, 1, start, 30, size))
    assert [len(batch) for batch in rest[:-1]] == [size] * ((29 - start) // size)
    assert torch.equal(torch.cat(rest), torch.cat(whole)[start:])


def test_a_rank_goes_on_where_it_was_left(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(2):
        monkeypatch.setattr(ranks, "_place", Place(rank, 2))
        whole = list(stream(shards, epoch=22).batches(3, 1, 0, 22, 5))
        rest = list(stream(shards, epoch=22).batches(3, 1, 15, 22, 5))
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[3:], strict=True))


def test_workers_may_be_started_anew_instead_of_forked(shards: str) -> None:
    """On Windows and macOS, workers are started anew and get everything they need in a pickle."""
    deal = Deal(stream(shards), (0, 0), 3, 20)
    plain, sent = (list(one) for one in (deal, pickle.loads(pickle.dumps(deal))))
    assert sum(len(pixels) for pixels, _ in plain) == 17
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(plain, sent, strict=True))
    pickle.dumps(ignore_signals)


def test_parts_share_the_shards_without_overlap(shards: str) -> None:
    source = TarShards(shards)
    everything = [name for name, _ in source.files(None, 0, 1)]
    assert len(everything) == 12
    for parts in (2, 3, 5, 12):
        shares = [[name for name, _ in source.files((1, 2), part, parts)] for part in range(parts)]
        assert sorted(itertools.chain(*shares)) == everything
        assert all(shares)


def test_what_cannot_be_used_is_left_out_and_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    textured(30, 20, 20).save(folder / "000.png")
    (folder / "005.png").write_text("no picture")
    pattern = make_shards(tmp_path / "shards", folder, 3)
    train, held_out = open_stream(Config(data=pattern, crop=32, photos_per_epoch=8, held_out=2, workers=2))
    assert held_out.names == ["00/001.png", "00/002.png"]
    assert held_out.skipped == {"00/000.png": "is 20x20, smaller than 32x32"}
    assert set(which(train.batches(0, 0, 0, 24, 4), photos)) == {3, 4, 6, 7, 8, 9, 10, 11}
    assert "005.png cannot be read: not a picture" in capsys.readouterr().out


def test_too_few_photos_are_one_sentence(shards: str) -> None:
    with pytest.raises(UserError, match="too few") as caught:
        stream(shards, held_out=12)
    assert is_one_sentence(str(caught.value)) and "12" in str(caught.value)
    assert len(stream(shards, held_out=11)) == 10


def test_a_worker_without_photos_is_one_sentence(shards: str) -> None:
    one = stream(shards, held_out=10, workers=4)  # two photos left
    with pytest.raises(UserError, match="--workers") as caught:
        list(one.batches(0, 0, 0, 10, 2))
    assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_one_sentence(photos: Path, tmp_path: Path, workers: int) -> None:
    pattern = make_shards(tmp_path / "shards", photos, 3)
    one = stream(pattern, workers=workers)
    last = tmp_path / "shards" / "02.tar"
    last.write_bytes(last.read_bytes()[:20_000])
    with pytest.raises(UserError, match=r"02\.tar cannot be read") as caught:
        list(one.batches(0, 0, 0, 30, 2))
    assert is_one_sentence(str(caught.value))


def test_shards_may_lie_behind_a_url(shards: str, photos: Path) -> None:
    one = stream("file://" + shards)
    assert sorted(which(one.batches(0, 0, 0, 10, 4), photos)) == list(range(2, 12))
    with pytest.raises(UserError, match="cannot be read") as caught:
        stream("nosuch://bucket/{0..1}.tar")
    assert is_one_sentence(str(caught.value))


# Data sets in the Hub's form, through the `datasets` library itself


@pytest.fixture(scope="module", params=["parquet", "imagefolder"])
def hub_dataset(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the twelve photos as a data set repository in either common form."""
    folder = tmp_path_factory.mktemp("dataset")
    if request.param == "imagefolder":
        shutil.copytree(photos, folder / "train")
        return f"hf://{folder}"
    features = datasets.Features({"label": datasets.Value("int64"), "image": datasets.Image()})
    for number in range(3):
        names = sorted(photos.iterdir())[4 * number : 4 * number + 4]
        rows = {"label": [0] * 4, "image": [{"path": name.name, "bytes": name.read_bytes()} for name in names]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            folder / "data" / f"train-{number:05}-of-00003.parquet"
        )
    return f"hf://{folder}"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_hub_data_set_is_streamed(hub_dataset: str, photos: Path, workers: int) -> None:
    one = stream(hub_dataset, workers=workers)
    seen = which(one.batches(0, 0, 0, 30, 1), photos)
    assert set(seen) == set(range(2, 12))
    if not workers:
        assert sorted(seen[:10]) == list(range(2, 12))
        assert which(one.batches(0, 1, 0, 10, 1), photos) != seen[:10]
    rest = which(one.batches(0, 0, 12, 30, 1), photos)
    assert rest == seen[12:]


def test_parts_of_a_hub_data_set_do_not_overlap(hub_dataset: str) -> None:
    source = HubDataset(hub_dataset)
    everything = sorted(data for _, data in source.files(None, 0, 1))
    assert len(set(everything)) == 12
    for parts in (2, 3, 5):
        shares = [[data for _, data in source.files((1, 2), part, parts)] for part in range(parts)]
        assert sorted(itertools.chain(*shares)) == everything and all(shares)


def test_a_hub_data_set_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column of images") as caught:
        HubDataset(f"hf://{tmp_path}")
    assert is_one_sentence(str(caught.value))


def test_a_hub_data_set_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be streamed") as caught:
        HubDataset(f"hf://{tmp_path / 'none'}")
    assert is_one_sentence(str(caught.value))


def test_without_the_datasets_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets") as caught:
        HubDataset("hf://somebody/faces")
    assert is_one_sentence(str(caught.value))


# Whole runs


def run(data: str, folder: Path, resume: bool = False, batch_size: int = 4) -> Run:
    config = Config(
        data=data, out=str(folder), crop=32, channels=8, blocks=1, batch_size=batch_size, precision="fp32",
        device="cpu", content="mse", held_out=2, photos_per_epoch=22, workers=2, epochs=1, fidelity_epochs=1,
        save_minutes=0,
    )  # fmt: skip
    one = Run(config, *open_stream(config), resume)
    one.lock.release()  # so that this process can also play the next one
    return one


def test_a_stopped_run_on_a_stream_goes_on_to_the_same_weights(shards: str, tmp_path: Path) -> None:
    whole = run(shards, tmp_path / "whole")
    assert whole.train()
    for steps in (3, 12):  # six per epoch: within the first and at the end of the last
        first = run(shards, tmp_path / str(steps))
        take, left = first.trainer.step, itertools.count(steps - 1, -1)

        def step(*arguments: Any, take: Any = take, left: Any = left, trainer: Any = first.trainer) -> Any:
            trainer.stop_requested = next(left) == 0
            return take(*arguments)

        first.trainer.step = step
        assert not first.train()
        second = run(shards, tmp_path / str(steps), resume=True)
        assert second.train()
        for name, network in whole.trainer.networks().items():
            resumed = second.trainer.networks()[name].state_dict()
            assert all(torch.equal(value, resumed[key]) for key, value in network.state_dict().items()), (steps, name)


def test_a_run_whose_photos_are_dealt_out_anew_says_so(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(shards, tmp_path)
    first.trainer.stop_requested = True
    assert not first.train()
    run(shards, tmp_path, resume=True, batch_size=3)  # with a single rank, resuming is exact
    assert "used twice" not in capsys.readouterr().out
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({**state, "ranks": 2}, tmp_path / "state.pt")
    run(shards, tmp_path, resume=True)
    assert "used twice" in capsys.readouterr().out


def test_a_run_does_not_go_on_with_another_stream(shards: str, tmp_path: Path) -> None:
    first = run(shards, tmp_path)
    first.trainer.stop_requested = True
    assert not first.train()
    with pytest.raises(UserError, match="does not hold the photos"):
        run(shards.replace("02", "01"), tmp_path, resume=True)


def test_a_plan_and_a_card_say_that_photos_were_streamed(shards: str, tmp_path: Path) -> None:
    one = run(shards, tmp_path)
    said = plan(one.config, one.trainer.train, one.held_out)
    assert "22 photos an epoch, streamed, 2 held out (00/000.png to 00/001.png)" in said
    training = one.model().config.training
    card = write_card("x", training, {"photos": 2, "figures": {}, "history": []}, [])
    assert "22 photos an epoch, streamed" in card


def test_a_signal_to_all_processes_saves_and_ends_the_run(shards: str, tmp_path: Path) -> None:
    """Ctrl-C in a terminal and a service manager send the signal to the workers, too."""
    arguments = (
        "--data", shards, "--out", tmp_path / "run", *TINY, "--content", "mse", "--held-out", "2", "--epochs", "1",
        "--photos-per-epoch", "99999", "--workers", "2", "--save-minutes", "0",
    )  # fmt: skip
    process = subprocess.Popen(
        train_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        start_new_session=True,
    )  # fmt: skip
    while not rows(tmp_path / "run"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert "Continue with:" in said and "Traceback" not in complaints


@pytest.mark.parametrize(
    "given", [{"data": "s/{0..9}.tar"}, {"data": "hf://a/b"}, {"data": "photos", "photos_per_epoch": 5}]
)
def test_a_stream_needs_the_length_of_its_epochs_and_a_folder_has_none(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--photos-per-epoch") as caught:
        make_config(given)
    assert is_one_sentence(str(caught.value))


PEAK = """
import resource, sys
import srgan.photos.streams
from srgan.training.config import Config
from srgan.photos.streams import open_stream

srgan.photos.streams.SHUFFLE = 100
shards = int(sys.argv[2])
pattern = f"{sys.argv[1]}/{{000..{shards - 1:03}}}.tar"
config = Config(data=pattern, crop=128, photos_per_epoch=99, held_out=5, workers=0)
count = sum(len(batch) for batch in open_stream(config)[0].batches(0, 0, 0, shards * 100 - 50, 16))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(100):
        pixels = random.integers(0, 256, (132, 132, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.bmp")  # 52 kB each, 5 MB a shard
    make_shards(tmp_path, folder, 1)
    (tmp_path / "00.tar").rename(tmp_path / "000.tar")
    for number in range(1, 16):
        os.link(tmp_path / "000.tar", tmp_path / f"{number:03}.tar")
    peaks = []
    for count in (4, 16):  # 21 and 83 MB
        done = run_python("-c", PEAK, str(tmp_path), str(count))
        assert done.returncode == 0, done.stderr
        photos, peak = map(int, done.stdout.split())
        assert photos == count * 100 - 50
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 20, peaks
