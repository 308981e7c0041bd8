"""Push and pull with the real client over real HTTP against tests/fake_hub.py."""

import io
import json
import os
import pickle
import shutil
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from desk import REPO, SHOW, Desk, at_a_desk
from fake_hub import READ_ONLY, STRANGER, TOKEN, Blob, Repo
from fresh_process import ROOT, Result
from helpers import says
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load, load_file, save, save_file

from srgan.publish import background
from srgan.publish import push as push_module

TINY = [
    "--crop", "32", "--channels", "8", "--blocks", "1", "--content", "mse", "--epochs", "2", "--fidelity-epochs", "1",
    "--batch-size", "4", "--held-out", "2", "--checkpoint-every", "1", "--device", "cpu", "--precision", "fp32",
]  # fmt: skip


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "my photos"
    folder.mkdir()
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@dataclass(frozen=True)
class Trained:
    folder: Path
    result: Result
    desk: Desk


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Runs train.py --push on a Hub that accepts commits but no tags. No test may write to its folder."""
    with at_a_desk(tmp_path_factory.mktemp("home")) as desk:
        desk.hub.fail("POST .*/tag/", 500)
        folder, options = (
            desk.folder / "run",
            ["--data-terms", "made for tests", "--license", "mit", "--push-every", "1"],
        )
        data = ["--data", photos, "--showcase", photos, "--out", folder]
        result = desk.run("train.py", *data, *TINY, *options, "--push", "--private")
        desk.hub.faults.clear()
        yield Trained(folder, result, desk)


@pytest.fixture(scope="session")
def finished(trained: Trained) -> Path:
    """Returns a finished run folder. No test may write there."""
    return trained.folder


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with at_a_desk(tmp_path) as desk:
        yield desk


# The whole way


@pytest.mark.parametrize("large_files", [True, False], ids=["lfs", "inline"])
def test_what_is_pushed_comes_back_the_same(desk: Desk, finished: Path, large_files: bool) -> None:
    desk.hub.large_files = large_files
    result = desk.push(finished)
    assert result.code == 0, result.err
    repo = desk.hub.models[REPO]
    commit = repo.branches["main"]
    assert f"Published: {desk.hub.url}/{REPO} (commit {commit[:7]})" in result.out
    assert list(repo.messages.values()).count("run: detail stage, epoch 2") == 1  # one commit has all files
    local = {path.relative_to(finished / "model").as_posix() for path in (finished / "model").rglob("*.*")}
    assert set(repo.files()) == local | {".gitattributes"}
    assert bool(desk.hub.lfs) == large_files
    name, pixels, _, of_the_folder, _, of_the_run = desk.load(REPO, finished / "model", finished)
    assert name == f"{REPO} ({commit[:7]}) {commit}"
    assert pixels == of_the_folder == of_the_run
    fetched = {path.name for path in (desk.folder / "hf").rglob("snapshots/*/*")}
    assert fetched <= {"config.json", "model.safetensors", "fidelity.safetensors", "metrics.json", "README.md"}


def test_train_push_that_fails_costs_nothing_and_is_completed_later(trained: Trained, photos: Path) -> None:
    hub, result = trained.desk.hub, trained.result
    repo = hub.models["alice/srgan-my-photos"]
    assert repo.private
    assert "will be published as alice/srgan-my-photos" in result.out
    # During the training, a failure is reported and the training continues. After it, exit code 1 and advice.
    assert "Not published; training continues: alice/srgan-my-photos: the Hub has a problem (HTTP 500)" in result.out
    assert result.code == 1
    said, _, command = result.err.strip().rpartition(" Publish it later with: ")
    assert (
        "train.py: the model is trained but not published: alice/srgan-my-photos: the Hub has a problem (HTTP 500)"
        in said
    )
    assert command == f"python -m srgan push {trained.folder} alice/srgan-my-photos --private"
    assert {"interim: fidelity stage, epoch 1", "interim: detail stage, epoch 1", "run: detail stage, epoch 2"} <= set(
        repo.messages.values()
    )
    assert not repo.tags
    before = repo.branches["main"]
    later = trained.desk.run(*command.split()[1:])
    assert later.code == 0, later.err
    assert repo.branches["main"] == before  # nothing twice
    assert set(repo.tags) == {"epoch-1", "epoch-2"}
    assert repo.files()["model.safetensors"] == (trained.folder / "model" / "model.safetensors").read_bytes()
    # No paths of this machine are published.
    assert str(photos.parent).encode() not in b"".join(repo.files().values())


def test_train_push_that_works(trained: Trained, photos: Path) -> None:
    hub = trained.desk.hub
    options = ["--data", photos, "--out", trained.folder, "--resume", "--push", REPO]
    result = trained.desk.run("train.py", *options)
    assert result.code == 0, result.err
    assert f"Published: {hub.url}/{REPO}" in result.out
    assert set(hub.models[REPO].tags) == {"epoch-1", "epoch-2"} and not hub.models[REPO].private


def test_two_ranks_publish_once(desk: Desk, photos: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", ROOT / "train.py"]
    run = ["--data", photos, "--out", desk.folder / "run", *TINY, "--push", REPO]
    result = desk.run(*torchrun, *run)
    assert result.code == 0, result.err
    assert result.out.count(f"Published: {desk.hub.url}/{REPO}") == 1
    repo = desk.hub.models[REPO]
    assert "run: detail stage, epoch 2" in repo.messages.values() and set(repo.tags) == {"epoch-1", "epoch-2"}
    assert len(set(repo.messages.values())) == len(repo.messages)  # nothing twice
    assert repo.files()["model.safetensors"] == (desk.folder / "run" / "model" / "model.safetensors").read_bytes()


# Before the first photo is read


REFUSED = {
    "no token": ({"HF_TOKEN": None}, ["token", "there is none", "hf auth login"]),
    "not valid": ({"HF_TOKEN": "hf_nobodys"}, ["invalid or expired", "HF_TOKEN"]),
    "read only": ({"HF_TOKEN": READ_ONLY}, ["alice", "may only read", "HF_TOKEN"]),
    "another's name": ({"HF_TOKEN": STRANGER}, ["alice/faces", "HTTP 403", "HF_TOKEN"]),
    "no token at all": ({"HF_TOKEN": f"{TOKEN}\x07x"}, ["characters", "HF_TOKEN"]),
    "offline": ({"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE"]),
    "no network": ({"HF_ENDPOINT": "http://127.0.0.1:9"}, ["cannot be reached", "connection"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pushed_is_known_before_the_training(desk: Desk, photos: Path, case: str) -> None:
    environment, words = REFUSED[case]
    result = desk.run("train.py", "--data", photos, "--push", REPO, **environment)
    assert result.code == 2 and says(result.err, "train.py: ", *words)
    assert not (desk.folder / "cache").exists() and not (desk.folder / "runs").exists() and not desk.hub.models


def test_names_and_flags_are_checked(desk: Desk, photos: Path) -> None:
    desk.hub.models["alice/public"] = Repo()
    desk.hub.models["alice/bert"] = Repo()
    desk.hub.models["alice/bert"].put({"config.json": b'{"architectures": ["Bert"]}', "model.safetensors": b"bert"})
    for options, sentence in (
        (["--push", "alice/a b"], "alice/a b is no valid name on the Hub"),
        (["--push", "alice/a b", "--dry-run"], "alice/a b is no valid name on the Hub"),
        (["--push", "alice/public", "--private"], "alice/public is public on the Hub: make it private"),
        (["--push", "alice/bert"], "alice/bert holds a model of another program"),
        (["--push", "alice/x", "--license", "CC BY-NC 4.0"], "the Hub knows no licence 'CC BY-NC 4.0': give --license"),
        (["--push", "--license", "MIT", "--dry-run"], "the Hub knows no licence 'MIT'"),
        (["--push", "alice/x", "--push-every", "0"], "--push-every is 0; it must be at least 1."),
        (["--private"], "--private and --push-every need --push."),
    ):
        result = desk.run("train.py", "--data", photos, *options)
        assert result.code == 2 and sentence in result.err and result.err.count("\n") == 1, result.err
    assert not (desk.folder / "cache").exists() and desk.hub.models.keys() == {"alice/public", "alice/bert"}
    assert desk.hub.models["alice/bert"].files()["model.safetensors"] == b"bert"


def test_a_dry_run_makes_no_repository(desk: Desk, photos: Path) -> None:
    result = desk.run("train.py", "--data", photos, "--push", "--dry-run", *TINY)
    assert result.code == 0 and "will be published as alice/srgan-my-photos" in result.out
    assert not desk.hub.models


# A Hub that misbehaves


def history(repo: Repo) -> tuple[int, dict[str, str], dict[str, str]]:
    return len(repo.trees), dict(repo.branches), dict(repo.tags)


@pytest.fixture
def model(finished: Path, tmp_path: Path) -> Path:
    """Returns a model folder without checkpoints."""
    return Path(shutil.copytree(finished / "model", tmp_path / "model"))


def test_pushing_again_changes_nothing(desk: Desk, finished: Path) -> None:
    desk.push(finished)
    before = history(desk.hub.models[REPO])
    result = desk.push(finished)
    assert result.code == 0 and "Already published" in result.out
    assert history(desk.hub.models[REPO]) == before


RECOVERED = {
    "429": {"match": "POST .*/commit/", "status": 429, "headers": {"Retry-After": "7"}, "times": 1},
    "409": {"match": "POST .*/commit/", "status": 409, "times": 1},
    "412": {"match": "POST .*/commit/", "status": 412, "times": 2},
    "500 in mid-upload": {"match": "PUT /lfs-upload/", "status": 500, "times": 2},
    "cut": {"match": "POST .*/commit/", "does": "cut", "times": 1},
    "cut in mid-upload": {"match": "PUT /lfs-upload/", "does": "cut", "times": 1},
    "answer lost": {"match": "POST .*/commit/", "does": "truncate", "times": 1},
    "slow": {"match": "POST .*/commit/", "does": "slow", "seconds": 1.0, "times": 1},
}


@pytest.mark.parametrize("case", RECOVERED)
def test_a_passing_trouble_is_overcome(desk: Desk, model: Path, case: str) -> None:
    fault = desk.hub.fail(**RECOVERED[case])
    result = desk.push(model)
    assert result.code == 0, result.err
    assert fault.hits == fault.times
    repo = desk.hub.models[REPO]
    assert len(repo.trees) == 2 and set(repo.tags) == {"epoch-2"}  # the initial commit, and this one once
    assert repo.files()["model.safetensors"] == (model / "model.safetensors").read_bytes()


FAILED = {
    "401": ({"match": "POST .*/commit/", "status": 401, "headers": {"X-Error-Message": "Invalid credentials in "
             "Authorization header"}}, "the Hugging Face token is invalid or expired: run `hf auth login`"),
    "429": ({"match": "POST .*/commit/", "status": 429, "headers": {"Retry-After": "3600"}},
            "the Hub received too many requests: try again in 3600 seconds."),
    "403": ({"match": "POST .*/commit/", "status": 403}, "the Hugging Face token does not allow "
                                                         "this (HTTP 403): run `hf auth"),
    "404": ({"match": "POST .*/commit/", "status": 404}, "no such repository on the Hub"),
    "500 in mid-upload": ({"match": "PUT /lfs-upload/", "status": 500}, "the Hub has a problem (HTTP 500)"),
    "500 at the commit": ({"match": "POST .*/commit/", "status": 503}, "the Hub has a problem (HTTP 503)"),
    "500 at the tag": ({"match": "POST .*/tag/", "status": 500}, "the Hub has a problem (HTTP 500)"),
    "cut": ({"match": "POST .*/commit/", "does": "cut"}, "the Hub cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_a_failed_push_is_completed_by_the_next(desk: Desk, model: Path, case: str) -> None:
    fault, sentence = FAILED[case]
    desk.hub.fail(**fault)
    result = desk.push(model)
    assert result.code == 1 and f"srgan push: {REPO}: {sentence}" in result.err.splitlines()[-1]
    desk.hub.faults.clear()
    assert desk.push(model).code == 0
    repo = desk.hub.models[REPO]
    assert len(repo.trees) == 2 and set(repo.tags) == {"epoch-2"}
    assert repo.files()["model.safetensors"] == (model / "model.safetensors").read_bytes()


def test_licence_and_terms_are_changed_by_hand(desk: Desk, finished: Path) -> None:
    """An unknown licence is refused before anything is created on the Hub or written locally."""
    run = Path(shutil.copytree(finished, desk.folder / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    refused = desk.push(run, "--license", "my-own", "--terms", "free")
    assert refused.code == 2 and "the Hub knows no licence 'my-own': give --license" in refused.err
    assert not desk.hub.models and before == {path: path.read_bytes() for path in run.rglob("*.*")}
    assert desk.push(run, "--license", "cc-by-nc-4.0", "--terms", r"free \1 to\nall").code == 0
    repo = desk.hub.models[REPO]
    for revision in ("main", "epoch-1"):
        card = ModelCard(repo.files(revision)["README.md"].decode())
        assert card.data.license == "cc-by-nc-4.0" and card.data.eval_results
        assert r"- Terms of the photos: free \1 to\nall" in card.text and "photos: made for tests" not in card.text
    training = json.loads(repo.files()["config.json"])["training"]
    assert (training["settings"]["license"], training["data"]["terms"]) == ("cc-by-nc-4.0", r"free \1 to\nall")
    settings = json.loads((run / "settings.json").read_text())  # --resume writes the card anew from these
    assert (settings["license"], settings["data_terms"]) == ("cc-by-nc-4.0", r"free \1 to\nall")


def test_what_an_earlier_model_has_left_is_deleted_and_what_its_owner_added_stays(desk: Desk, finished: Path) -> None:
    desk.push(finished)
    repo = desk.hub.models[REPO]
    mine = {"samples/mine.png": b"mine", "notes.md": b"mine"}
    repo.put({**mine, "peers.json": b"{}", "peers.png": b"old"})
    tagged = dict(repo.tags)
    run = Path(shutil.copytree(finished, desk.folder / "run"))
    card = run / "model" / "README.md"
    card.write_text(card.read_text().replace("![0](samples/0.png)\n", "").replace(", detail=0.8", ""))
    for folder in (run / "model", *(run / "checkpoints").glob("detail-*")):
        (folder / "fidelity.safetensors").unlink()
        (folder / "README.md").write_text((folder / "README.md").read_text().replace(", detail=0.8", ""))
    result = desk.push(run)
    assert result.code == 0, result.err
    ours = {path.relative_to(run / "model").as_posix() for path in (run / "model").rglob("*.*")} - {"samples/0.png"}
    assert repo.files().keys() == ours | mine.keys() | {".gitattributes"}
    for tag, files in (("epoch-1", repo.files("epoch-1")), ("epoch-2", repo.files("epoch-2"))):
        assert repo.tags[tag] != tagged[tag] and "fidelity.safetensors" not in files  # its weights have changed
    blends = "from srgan import Upscaler; print([Upscaler.load(name).can_blend for name in sys.argv[2:]])"
    assert desk.run("-c", f"import sys; {blends}", REPO, f"{REPO}@epoch-1").out == "[False, False]\n"
    for revision in ("main", "epoch-1"):
        run_code(desk, repo.files(revision)["README.md"].decode())


def test_pictures_that_an_edited_card_shows_stay(desk: Desk, model: Path) -> None:
    desk.push(model)
    repo = desk.hub.models[REPO]
    repo.put({"README.md": repo.files()["README.md"] + b"My words.\n"})
    card = model / "README.md"
    card.write_text(card.read_text().replace("![0](samples/0.png)\n", ""))
    (model / "fidelity.safetensors").unlink()
    assert desk.push(model).code == 0
    assert "samples/0.png" in repo.files() and "fidelity.safetensors" not in repo.files()


def test_only_the_samples_that_the_card_shows_are_pushed(desk: Desk, model: Path) -> None:
    """A picture that the card no longer shows may still be in the folder."""
    (model / "samples" / "my child.png").write_bytes(b"private")
    assert desk.push(model).code == 0
    assert "samples/0.png" in desk.hub.models[REPO].files()
    assert "samples/my child.png" not in desk.hub.models[REPO].files()


# The card


def run_code(desk: Desk, card: str) -> None:
    """Runs the code under "Use" in the card and checks its results."""
    code = card.split("```python\n")[1].split("```")[0]
    Image.new("RGB", (9, 7)).save(desk.folder / "small.png")
    result = desk.run("-c", code)
    assert result.code == 0, result.err
    with Image.open(desk.folder / "large.png") as large:
        assert large.size == (36, 28)
    (desk.folder / "large.png").unlink()


def test_the_card(desk: Desk, model: Path) -> None:
    desk.push(model)
    text = desk.hub.models[REPO].files()["README.md"].decode()
    run_code(desk, text)
    assert "detail=0.8" in text and "fidelity.safetensors" in text
    card = ModelCard(text)
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("srgan", "image-to-image", "mit")
    assert data.datasets == ["my-photos"] and data.metrics == ["psnr", "ssim"] and "super-resolution" in data.tags
    figures = json.loads((model / "metrics.json").read_text())["figures"]
    found = {result.metric_name: result.metric_value for result in data.eval_results}
    assert found["PSNR-Y (dB, BT.601 luma, 4 px cut from each border), detail 1"] == round(
        figures["detail 1"]["psnr_y"], 4
    )
    assert len(found) == 9  # PSNR-Y, SSIM-Y and PSNR-RGB at three settings
    for part in (
        f'Upscaler.load("{REPO}")', "![0](samples/0.png)", "| bicubic |", "made for tests", "## Limits",
        "python train.py --data 'my photos'", "![Losses and figures over the epochs](curves.png)",
    ):  # fmt: skip
        assert part in text


def test_a_card_edited_on_the_hub_is_kept(desk: Desk, model: Path) -> None:
    desk.push(model)
    repo = desk.hub.models[REPO]
    edited = repo.files()["README.md"].replace(b"## Limits", b"## My own words").replace(b"\n", b"\r\n")
    repo.put({"README.md": edited})
    (model / "metrics.json").write_text((model / "metrics.json").read_text().replace("\n", " \n"))
    result = desk.push(model)
    assert result.code == 0 and "The model card was edited on the Hub" in result.out
    assert repo.files()["README.md"] == edited
    assert repo.files()["metrics.json"] == (model / "metrics.json").read_bytes()


def test_a_card_of_ours_is_renewed(desk: Desk, model: Path) -> None:
    desk.push(model)
    repo = desk.hub.models[REPO]
    repo.put({"README.md": repo.files()["README.md"].replace(b"\n", b"\r\n")})  # as a website might store it
    (model / "README.md").write_text((model / "README.md").read_text() + "More.\n")
    assert desk.push(model).code == 0
    assert b"More.\n" in repo.files()["README.md"]


def test_a_licence_chosen_on_the_website_is_kept(desk: Desk, model: Path) -> None:
    desk.hub.models[REPO] = Repo()
    desk.hub.models[REPO].put({"README.md": b"---\nlicense: cc-by-nc-4.0\n---\n"})
    assert desk.push(model).code == 0
    card = ModelCard(desk.hub.models[REPO].files()["README.md"].decode())
    assert card.data.license == "cc-by-nc-4.0" and card.data.library_name == "srgan" and "## Limits" in card.text


# Epochs


def test_a_tag_holds_the_weights_of_its_epoch(desk: Desk, finished: Path) -> None:
    desk.push(finished)
    repo = desk.hub.models[REPO]
    for epoch in (1, 2):
        kept = load_file(finished / "checkpoints" / f"detail-00{epoch}" / "model.safetensors")
        tagged = load(repo.files(f"epoch-{epoch}")["model.safetensors"])
        assert all(torch.equal(tagged[name], value) for name, value in kept.items())
    assert repo.files("main")["model.safetensors"] == repo.files("epoch-2")["model.safetensors"]
    first = repo.files("epoch-1")
    assert json.loads(first["metrics.json"])["history"][-1]["epoch"] == 1
    assert json.loads(first["config.json"])["training"]["data"]["seen"] == {"fidelity": 8, "detail": 8}
    assert json.loads(repo.files()["config.json"])["training"]["data"]["seen"] == {"fidelity": 8, "detail": 16}
    assert b'Upscaler.load("alice/faces@epoch-1")' in first["README.md"]
    assert not any(name.startswith("samples/") for name in first)
    name, pixels = desk.load(f"{REPO}@epoch-1")
    assert name.startswith(f"{REPO}@epoch-1 ({repo.tags['epoch-1'][:7]})") and pixels != desk.load(REPO)[1]
    listing = "from srgan.hub import epoch_models; import sys; print(epoch_models(sys.argv[2]))"
    assert desk.run("-c", listing, REPO).out == f"['{REPO}@epoch-1', '{REPO}@epoch-2']\n"
    assert desk.run("-c", listing, finished).out == "[]\n"


def test_the_tag_of_an_earlier_run_is_moved_and_said(desk: Desk, model: Path) -> None:
    desk.push(model)
    repo = desk.hub.models[REPO]
    before = repo.tags["epoch-2"]
    weights = load_file(model / "model.safetensors")
    save_file({name: value * 0.5 for name, value in weights.items()}, model / "model.safetensors")
    result = desk.push(model)
    assert f"Tagged: {REPO}@epoch-2, which named {before[:7]} before" in result.out
    assert repo.tags["epoch-2"] == repo.branches["main"] != before


# Pulling


def is_the_same(desk: Desk, folder: Path) -> bool:
    """Returns whether the pulled model gives the same picture as the model in a folder."""
    _, pulled, _, local = desk.load(REPO, folder)
    return pulled == local


def test_pulled_once_it_works_offline(desk: Desk, finished: Path) -> None:
    desk.push(finished)
    main, first = (desk.hub.models[REPO].resolve(name) or "" for name in ("main", "epoch-1"))
    models = [REPO, f"{REPO}@epoch-1", f"{REPO}@{main}"]
    lines = desk.load(*models)
    assert [line.rsplit(" ", 1)[1] for line in lines[::2]] == [main, first, main]
    asked = len(desk.hub.requests)
    cached = [line.replace(") ", ", from the cache) ") for line in lines]
    assert desk.load(*models, HF_HUB_OFFLINE="1") == cached and len(desk.hub.requests) == asked
    assert desk.load(*models, HF_ENDPOINT="http://127.0.0.1:9") == cached
    desk.hub.fail("GET /api/models/", 502)
    assert desk.load(*models) == cached


@pytest.mark.parametrize("large_files", [True, False], ids=["lfs", "inline"])
@pytest.mark.parametrize("does", ["truncate", "corrupt"])
def test_a_damaged_download_is_fetched_again(desk: Desk, model: Path, does: str, large_files: bool) -> None:
    desk.hub.large_files = large_files
    desk.push(model)
    fault = desk.hub.fail("GET .*/resolve/.*model.safetensors", does=does, times=1)
    assert is_the_same(desk, model) and fault.hits == 1


def test_a_download_that_is_always_damaged_is_refused_and_leaves_nothing(desk: Desk, model: Path) -> None:
    desk.push(model)
    desk.hub.fail("GET .*/resolve/.*model.safetensors", does="corrupt")
    refused = (
        "refused: alice/faces: model.safetensors was damaged during the download, twice: try again; alice/faces is not"
    )
    assert desk.load(REPO) == [f"{refused} in the cache."]
    assert desk.load(REPO, HF_HUB_OFFLINE="1")[0].endswith("alice/faces is not in the cache.")  # not half a model
    desk.hub.faults.clear()
    assert is_the_same(desk, model)


NOT_THERE = {
    "no repository": ("alice/none", {}, "alice/none: no such repository on the Hub, or you may not "
                                        "see it: check the name"),
    "nor without a token": ("alice/none", {"HF_TOKEN": None}, "alice/none: no such repository on the Hub"),
    "no revision": (f"{REPO}@epoch-9", {}, "alice/faces@epoch-9: no such revision on the Hub"),
    "private": ("alice/secret", {"HF_TOKEN": None}, "if it is private, run `hf auth login`, or set HF_TOKEN."),
    "token not valid": (REPO, {"HF_TOKEN": "hf_x"}, "alice/faces: the Hugging Face token is invalid or expired"),
    "offline": (REPO, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so the Hub is not used: "
                                               "unset it to use the Hub; "
                "alice/faces is not in the cache."),
    "no network": (REPO, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "alice/faces: the Hub cannot be reached ([Errno 111] "
                   "Connection refused): check the connection; alice/faces is not in the cache."),
    "no model": (REPO, {}, "alice/faces holds no model of this program: config.json is missing."),
    "no name": ("../alice/faces", {}, "../alice/faces: there is no such model folder, and it is no "
                                      "name of a model on the Hub (USER/NAME"),
    "a way out": ("alice/faces@../../x", {}, "there is no such model folder, and it is no name of a model on the Hub"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_THERE)
def test_a_model_that_is_not_there_is_said_in_a_sentence(desk: Desk, case: str) -> None:
    model, environment, sentence = NOT_THERE[case]
    desk.hub.models |= {REPO: Repo(), "alice/secret": Repo(private=True)}
    (line,) = desk.load(model, **environment)
    assert line.startswith("refused: ") and sentence in line and line.endswith(".")


NOT_HAD = {
    "401": ({"status": 401}, "the Hugging Face token is invalid or expired: run `hf auth login`"),
    "403": ({"status": 403}, "the Hugging Face token does not allow this (HTTP 403): run `hf auth login`"),
    "gated": ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "its owner grants access on request: ask for"),
    "404": ({"status": 404}, "no such repository on the Hub"),
    "429": ({"status": 429, "headers": {"Retry-After": "7"}}, "the Hub received too many requests: try again in 7 s"),
    "500": ({"status": 500}, "the Hub has a problem (HTTP 500): try again later"),
    "cut": ({"does": "cut"}, "the Hub cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_HAD)
def test_a_hub_that_fails_at_a_pull_is_said_and_leaves_nothing_half(desk: Desk, model: Path, case: str) -> None:
    fault, sentence = NOT_HAD[case]
    desk.push(model)
    for match in ("GET /api/models/", "POST .*/paths-info/"):
        desk.hub.fail(match, **fault)
        (line,) = desk.load(REPO)
        assert line.startswith(f"refused: {REPO}: {sentence}") and line.endswith(".")
        desk.hub.faults.clear()
    assert is_the_same(desk, model)


def test_a_slow_hub_is_not_waited_for(desk: Desk) -> None:
    desk.hub.models[REPO] = Repo()
    desk.hub.fail("GET /api/models/", does="slow", seconds=5)
    hurry = "import srgan.hub; srgan.hub.SECONDS = 0.3\n"
    assert "the Hub cannot be reached" in desk.run("-c", hurry + SHOW, REPO).out


def test_a_folder_wins_over_the_hub(desk: Desk, model: Path) -> None:
    folder = Path(shutil.copytree(model, desk.folder / REPO))
    desk.hub.models[REPO] = Repo()
    assert desk.load(REPO, folder)[::2] == ["faces ", "faces "]
    assert not desk.hub.requests


def test_the_page_gets_the_shipped_model_and_a_sentence(desk: Desk, model: Path) -> None:
    code = """
import sys, pathlib, srgan.upscaler
srgan.upscaler.SHIPPED_MODEL = pathlib.Path(sys.argv[3])
for name in (sys.argv[2], srgan.upscaler.SHIPPED_MODEL):
    upscaler, notice = srgan.upscaler.load_or_shipped(name)
    print(upscaler.name, "|", notice)
"""
    lines = desk.run("-c", code, "alice/none", model).out.splitlines()
    assert lines[0].startswith("model | alice/none: no such repository on the Hub")
    assert lines[0].endswith(". The model that ships is used instead.") and lines[1] == "model | "


# Hostile repositories


@dataclass
class Claim(Blob):
    """A file that the Hub lists as larger than it is."""

    size: int = 0

    def entry(self, path: str) -> dict[str, Any]:
        return super().entry(path) | {"size": self.size}


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def hostile_files(case: str, good: dict[str, bytes]) -> dict[str, bytes]:
    config, weights = json.loads(good["config.json"]), load(good["model.safetensors"])
    first = next(iter(weights))
    bad: dict[str, dict[str, bytes]] = {
        "absurd size": {"config.json": json.dumps({**config, "channels": 10**9}).encode()},
        "infinite size": {"config.json": b'{"channels": 1e999, "blocks": 1}'},
        "no table": {"config.json": b"[1, 2]"},
        "unknown keys": {"config.json": json.dumps({**config, "\x1b[31m\n" + "x" * 5000: 1}).encode()},
        "deep": {"config.json": b"[" * 100_000},
        "endless digits": {"config.json": b'{"channels": ' + b"9" * 100_000 + b"}"},
        "huge config": {"config.json": b" " * 9_000_000},
        "wrong shapes": {"model.safetensors": save({**weights, first: weights[first][:1].clone()})},
        "another tensor": {"model.safetensors": save({**weights, "x\n" * 5000: weights[first].clone()})},
        "not finite": {"model.safetensors": save({**weights, first: weights[first] * float("nan")})},
        "huge header": {"model.safetensors": struct.pack("<Q", 50 * 2**30) + b"{" + b" " * 1000},
        "pickle": {"model.safetensors": pickle.dumps(Evil())},
        "torch pickle": {"model.safetensors": torch_pickle()},
        "empty": {"model.safetensors": b""},
        "fidelity": {"fidelity.safetensors": save({**weights, first: weights[first] * float("inf")})},
        "metrics": {"metrics.json": b"[" * 100_000},
    }
    return {**good, **bad[case]}


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": Evil()}, buffer)
    return buffer.getvalue()


HOSTILE = {
    "absurd size": "config.json does not describe a model of this program: channels is 1000000000, not a number from",
    "infinite size": "channels is inf, not a number from 1 to 256.",
    "no table": "config.json cannot be read (it holds no table).",
    "unknown keys": "config.json does not describe a model of this program",
    "deep": "config.json cannot be read (maximum recursion depth exceeded",
    "endless digits": "config.json cannot be read (Exceeds the limit",
    "huge config": "mallory/huge-config: config.json has 9,000,000 bytes; it should have 8,000,000 at most.",
    "wrong shapes": "is missing, unknown or of another shape.",
    "another tensor": "is missing, unknown or of another shape.",
    "not finite": "model.safetensors holds weights that are not finite numbers.",
    "huge header": "damaged or no safetensors file (its header claims 53,687,091,200 bytes).",
    "pickle": "model.safetensors is damaged or no safetensors file",
    "torch pickle": "model.safetensors is damaged or no safetensors file",
    "empty": "model.safetensors is damaged or no safetensors file",
    "fidelity": "fidelity.safetensors holds weights that are not finite numbers.",
    "metrics": "metrics.json cannot be read (maximum recursion depth exceeded",
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def answers(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yields the answer for each hostile repository. One process loads all of them and must survive."""
    with at_a_desk(tmp_path_factory.mktemp("hostile")) as desk:
        names = {case: f"mallory/{case.replace(' ', '-')}" for case in HOSTILE}
        for case, name in names.items():
            desk.hub.models[name] = Repo()
            desk.hub.models[name].put(hostile_files(case, files_in(finished / "model")))
        desk.hub.models[REPO] = Repo()
        desk.hub.models[REPO].put(files_in(finished / "model"))
        *lines, good, _ = desk.load(*names.values(), REPO)
        assert good.startswith(REPO)
        assert not list(desk.folder.rglob("executed")) and str(desk.folder) not in "".join(lines)
        yield dict(zip(HOSTILE, lines, strict=True))


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_repository_is_refused(answers: dict[str, str], case: str) -> None:
    line = answers[case]
    assert line.startswith("refused: mallory/") and HOSTILE[case] in line and line.endswith(".")
    assert len(line) < 400 and line.isprintable()


def test_a_file_that_is_said_to_be_huge_is_not_fetched(desk: Desk, model: Path) -> None:
    repo = desk.hub.models[REPO] = Repo()
    repo.put(files_in(model))
    repo.trees[repo.branches["main"]]["model.safetensors"] = Claim(b"x", False, 50 * 2**30)
    (line,) = desk.load(REPO)
    assert "model.safetensors has 53,687,091,200 bytes; it should have" in line
    assert not any("model.safetensors" in request for request, _ in desk.hub.requests if "resolve" in request)


def test_nothing_but_the_model_is_fetched(desk: Desk, model: Path) -> None:
    strange = {"../../../evil.py": b"x", "/etc/evil": b"x", "model.bin": pickle.dumps(Evil()), "a/../b.json": b"{}"}
    repo = desk.hub.models[REPO] = Repo()
    repo.put({**files_in(model), **strange})
    assert is_the_same(desk, model)
    asked = {request.partition("?")[0].rsplit("/", 1)[1] for request, _ in desk.hub.requests if "resolve" in request}
    assert asked == {"config.json", "model.safetensors", "fidelity.safetensors", "metrics.json"}


# Small parts


def test_names_from_folders() -> None:
    for folder, name in (("/x/my photos", "srgan-my-photos"), ("CelebA_1.0/", "srgan-CelebA_1-0"), ("/x/--", "srgan")):
        assert push_module.default_name(folder) == name
    assert len(push_module.default_name("x" * 200)) <= 96


def test_a_signature_holds_for_its_text_alone() -> None:
    card = push_module.sign("# Faces\n\nText.\n\n")
    assert push_module.is_signed(card) and push_module.is_signed(card.replace("\n", "\r\n") + "\n")
    assert not push_module.is_signed(card.replace("Text", "text")) and not push_module.is_signed("# Faces\n")
    assert not push_module.is_signed(card + "Added below.\n")
    assert push_module.sign("# Faces\n\nText.") == card


def test_a_push_under_way_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate, pushed, written = threading.Event(), [], []

    def slow_push(folder: Path, repo_id: str, say: Any) -> None:
        gate.wait(10)
        pushed.append(folder)

    monkeypatch.setattr(background, "push", slow_push)
    publisher = background.Publisher(REPO, 2, lambda: written.append(1) or Path(f"interim-{len(written)}"))
    for epoch in (1, 2, 3, 4):
        publisher.after_epoch(epoch)
    assert "Epoch 4 is not published, because the previous upload is still running." in capsys.readouterr().out
    assert len(written) == 1 and not pushed
    gate.set()
    publisher.wait()
    assert pushed == [Path("interim-1")]


def test_a_push_that_is_stopped_says_how_to_go_on(desk: Desk) -> None:
    code = """
import pathlib, sys, types
from srgan.commands import train
def stopped(*_): raise KeyboardInterrupt
train.push = stopped
config = types.SimpleNamespace(run_folder=lambda: pathlib.Path("runs/my faces"))
sys.exit(train.publish("train.py", config, "alice/faces", private=False))
"""
    result = desk.run("-c", code)
    command = "python -m srgan push 'runs/my faces' alice/faces"
    assert result.code == 1 and "not published" in result.err and result.err.endswith(f"{command}\n")
