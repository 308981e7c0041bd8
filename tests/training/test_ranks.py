"""Several processes train one model: the same weights as with one, no photo twice, one output, no process left over."""

import signal
import socket
import subprocess
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from helpers import (
    ROOT,
    TINY,
    environment,
    is_one_sentence,
    make_photos,
    rows,
    run_python,
    train,
    train_command,
    wait_for,
)

from srgan import ranks
from srgan.photos.crops import load_crops
from srgan.ranks import Place

BOTH_STAGES = (
    *TINY, "--batch-size", "3", "--held-out", "2", "--content", "mse", "--jitter", "0.05",
    "--fidelity-epochs", "1", "--epochs", "1", "--optimizer", "muon",
)  # fmt: skip
"""Steps of 3 photos and, at the end of an epoch, of 1: uneven shares, and a rank without a photo."""


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("photos", [1, 2, 7, 8, 30])
def test_shares_are_even_and_take_every_photo_once(monkeypatch: pytest.MonkeyPatch, photos: int, count: int) -> None:
    taken: Counter[int] = Counter()
    sizes = []
    for rank in range(count):
        monkeypatch.setattr(ranks, "_place", Place(rank, count))
        share = ranks.share(photos)
        part = range(photos)[share.part]
        assert share.photos == photos and len(part) >= 1
        size = round(share.weight * photos)
        assert size == len(part) or (size, len(part)) == (0, 1)  # takes part with weight 0
        sizes.append(size)
        if size:
            taken.update(part)
    assert taken == Counter(range(photos))
    assert max(sizes) - min(sizes) <= 1


def test_no_photo_is_seen_twice_in_an_epoch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = load_crops(photos, 32)
    steps = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "_place", Place(rank, 3))
        steps.append(list(crops.batches(0, 0, 0, 12, 5)))
    for step, size in enumerate((5, 5, 2)):
        parts = [batches[step] for batches in steps]
        monkeypatch.setattr(ranks, "_place", Place())
        whole = list(crops.batches(0, 0, 0, 12, 5))[step]
        assert len(whole) == size
        real = parts if size == 5 else parts[1:]  # of two photos the first rank has none, and takes another's
        assert torch.equal(torch.cat(real), whole)


def test_each_rank_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for gpus in (0, 2):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        for number in range(3):
            ranks.take_gpu(number)
    assert taken == [0, 1]


def test_alone_nothing_is_waited_for() -> None:
    assert ranks.is_first() and ranks.world_size() == 1
    assert ranks.all_reduce_any(True, False) == [True, False]
    assert ranks.from_first(lambda: 3) == 3
    assert list(ranks.together(iter([1, 2, 3]))) == [1, 2, 3] and list(ranks.together(iter([]))) == []
    gradient = torch.ones(2)
    ranks.all_reduce_mean([gradient], 1.0)
    assert gradient.tolist() == [1, 1]


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    done = train("--data", photos, "--out", out, *BOTH_STAGES)
    assert done.returncode == 0, done.stderr
    return out


def same_weights(one: Path, other: Path) -> None:
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (one, other)]
    first, second = ({**state["networks"], "fidelity": state["fidelity"]} for state in states)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=2e-6)


def test_two_ranks_under_torchrun_give_the_weights_of_one(photos: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_python(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(ROOT / "train.py"), "--data",
        str(photos), "--out", str(out), *BOTH_STAGES, SRGAN_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same_weights(out, alone)
    for words in ("10 photos to train on", "on 2 processes", "detail epoch 1", "Model folder"):
        assert done.stdout.count(words) == 1, words
    found, wanted = (figures(folder) for folder in (out, alone))
    assert len(found) == 2
    for row, other in zip(found, wanted, strict=True):  # losses are means over both ranks, too
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


def figures(run: Path) -> list[dict[str, float]]:
    """Returns the validation figures and the losses."""
    found = [row for row in rows(run) if row["kind"] == "validation"]
    return [{name: value for name, value in row.items() if isinstance(value, float)} for row in found]


def begin(*command_lines: tuple[str | Path, ...]) -> list[subprocess.Popen[str]]:
    """Starts a rank for each command line without torchrun, which would end the others itself if one is lost."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(len(command_lines))}
    pipe = subprocess.PIPE
    return [
        subprocess.Popen(
            train_command(*arguments), stdout=pipe, stderr=pipe, text=True,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **together),
        )
        for rank, arguments in enumerate(command_lines)
    ]  # fmt: skip


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str, list[str]]:
    """Returns the exit codes, the whole output, and the sentences with which train.py ended."""
    said = [process.communicate(timeout=200) for process in processes]
    assert -signal.SIGABRT not in [process.returncode for process in processes], said
    assert not any("Traceback" in complaints for _, complaints in said), said
    sentences = chain.from_iterable(complaints.splitlines() for _, complaints in said)
    last = [line for line in sentences if line.startswith("train.py: ")]
    return [process.returncode for process in processes], "".join(text for text, _ in said), last


def test_a_lost_rank_ends_the_run_and_any_number_of_ranks_goes_on(photos: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("--data", photos, "--out", out, *BOTH_STAGES, "--save-minutes", "0")
    processes = begin(arguments, arguments)
    wait_for(lambda: len(rows(out)) >= 2, processes[0])
    processes[1].kill()
    codes, _, sentences = ended(processes)
    assert codes == [1, -signal.SIGKILL]
    assert len(sentences) == 1 and is_one_sentence(sentences[0]) and "--resume" in sentences[0]

    before = len(rows(out))
    processes = begin((*arguments, "--resume"), (*arguments, "--resume"))
    wait_for(lambda: len(rows(out)) >= before + 1, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    codes, said, sentences = ended(processes)
    assert codes == [0, 0] and sentences == []
    assert said.count("Saved.") == 1

    done = train(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    same_weights(out, alone)
    validated = [(row["stage"], row["epoch"]) for row in rows(out) if row["kind"] == "validation"]
    assert validated == [("fidelity", 1), ("detail", 1)]


@pytest.mark.parametrize(
    ("words", "wrong"), [("--batch-size 1", ("--batch-size", "1")), ("holds no run", ("--resume",))]
)
def test_what_is_wrong_is_said_by_one_rank(photos: Path, tmp_path: Path, words: str, wrong: tuple[str, ...]) -> None:
    arguments = ("--data", photos, "--out", tmp_path / "run", *BOTH_STAGES, *wrong)
    codes, _, sentences = ended(begin(arguments, arguments))
    assert 2 in codes and 0 not in codes
    assert len(sentences) == 1 and is_one_sentence(sentences[0]) and words in sentences[0]


def test_ranks_that_see_other_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    """The ranks have equally many photos, but one has another name, as may happen on another machine."""
    other = make_photos(tmp_path / "photos")
    (other / "000.png").rename(other / "000a.png")
    out = tmp_path / "run"
    codes, _, sentences = ended(begin(*(("--data", folder, "--out", out, *BOTH_STAGES) for folder in (photos, other))))
    assert codes == [2, 2]
    assert len(sentences) == 1 and is_one_sentence(sentences[0]) and "other photos" in sentences[0]
    assert not out.exists()
