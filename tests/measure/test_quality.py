"""benchmarks/quality.py: the table of peers, its curve and sheet, and what of them goes into a model card."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from helpers import ROOT, is_one_sentence, make_pairs, make_photos
from PIL import Image

from srgan.model_folder import Model, save_model
from srgan.publish.card import add_to_card, write_card
from srgan.publish.facts import facts, versions
from srgan.training.config import Config

sys.path.insert(0, str(ROOT / "benchmarks"))
import peers
import quality


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as a run leaves it, with a card that names another way to load it."""
    photos = {"train": 9, "held_out": 3, "seen": {"fidelity": 18, "detail": 9}}
    training = facts(Config(data="photos", crop=64), photos, {"fidelity": 3600, "detail": 1800}, versions())
    metrics = {"photos": 3, "figures": {"bicubic": {"psnr_y": 25.0}, "detail 1": {"psnr_y": 27.0}}}
    model = tiny_model()
    model = Model(replace(model.config, training=training), model.weights, metrics)
    card = write_card("faces", training, metrics, []).replace('load("faces")', 'load("weights/faces")')
    save_model(tmp_path / "faces", model, card)
    return tmp_path / "faces"


@pytest.mark.parametrize(
    ("degrade", "said", "unsaid"),
    [("clean", "clean bicubic", "--degrade"), ("web", "--degrade web", "they are enlarged too")],
)
def test_the_card_says_which_small_pictures_the_model_can_take(degrade: str, said: str, unsaid: str) -> None:
    training = facts(Config(data="photos", degrade=degrade), {"train": 9, "held_out": 3, "seen": {}}, {}, {})
    _, limits = write_card("faces", training, {"photos": 3, "figures": {}}, []).split("## Limits")
    assert said in limits and unsaid not in limits and "JPEG" in limits


def gone() -> peers.Peer:
    raise peers.Absent("its package is not installed")


def test_all_systems_are_measured_side_by_side(
    folder: Path, tmp_path: Path, lpips_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "PEERS", {"Lanczos": peers.PEERS["Lanczos"], "Gone": gone})
    monkeypatch.setattr(quality, "SHEET_SIDE", 32)
    data = [make_pairs(tmp_path / "pairs"), make_photos(tmp_path / "squares", 3)]
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", [
        "quality.py", "--data", *map(str, data), "--last", "2", "--lpips", str(lpips_file), "--model", str(folder),
        "--sheet", str(data[1]), "--out", str(out), "--card",
        "--degrade", "clean", "jpeg50", "--unpaired", str(data[1]),
    ])  # fmt: skip
    assert quality.main() == 0
    report = json.loads((out / "quality.json").read_text())
    systems = ["bicubic", "Lanczos", *(f"ours, detail {d}" for d in ("0", "0.25", "0.5", "0.75", "1"))]
    assert list(report["tables"]) == ["pairs", "pairs-jpeg50", "squares", "squares-jpeg50"]
    clean, worn = (report["tables"][name]["figures"]["bicubic"] for name in ("squares", "squares-jpeg50"))
    assert clean["psnr_y"] > worn["psnr_y"] + 0.1
    for table in report["tables"].values():
        assert table["photos"] == 2 and list(table["figures"]) == systems
        assert all(row.keys() == {"psnr_y", "ssim_y", "psnr_rgb", "lpips"} for row in table["figures"].values())
    text = (out / "quality.md").read_text()
    assert "## squares by kind of wear" in text and f"| {worn['psnr_y']:.2f} / {worn['lpips']:.3f} |" in text
    assert Image.open(out / "quality-unpaired.png").height > 3 * 4 * 32
    assert "Gone is left out: its package is not installed." in text and "2 from LR_bicubic_X4" in text
    assert Image.open(out / "quality-sheet.png").height > 3 * 32
    for curve in (out / "quality-pairs.png", out / "quality-squares.png", folder / "peers.png"):
        assert Image.open(curve).width > 600
    card = (folder / "README.md").read_text()
    row = report["tables"]["pairs"]["figures"]["Lanczos"]
    assert f"| Lanczos | {row['psnr_y']:.2f} |" in card and "(peers.png)" in card


def test_sections_go_into_a_card_and_what_its_owner_wrote_stays(folder: Path) -> None:
    place = folder / "README.md"
    place.write_text(place.read_text().replace("## Training\n", "## Training\n\nOn a wet Monday.\n"))
    before = place.read_text()
    add_to_card(folder)
    assert place.read_text() == before  # nothing lies there
    (folder / "failures.md").write_text("Glasses melt.\n")
    add_to_card(folder)
    (folder / "failures.md").write_text("Glasses melt into the cheek.\n")
    add_to_card(folder)
    section = "## Where it fails\n\nGlasses melt into the cheek.\n\n"
    assert place.read_text() == before.replace("## Limits\n", f"{section}## Limits\n")
    place.write_text("# My own card\n")
    add_to_card(folder)
    add_to_card(folder)
    assert place.read_text() == f"# My own card\n\n{section.rstrip()}\n"


def test_a_wrong_folder_is_refused_in_one_sentence(
    tmp_path: Path, lpips_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality, "PEERS", {})
    arguments = ["quality.py", "--data", str(tmp_path / "nowhere"), "--lpips", str(lpips_file)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert quality.main() == 2
    assert is_one_sentence(capsys.readouterr().err)


def test_keras_channels_come_after_their_place_in_the_square() -> None:
    n, out, height, width = 2, 3, 4, 5
    x = torch.arange(n * 4 * out * height * width, dtype=torch.float32).view(n, 4 * out, height, width)
    found = peers.depth_to_space(x)
    for row in (0, 1):
        for column in (0, 1):
            first = (2 * row + column) * out
            assert torch.equal(found[..., row::2, column::2], x[:, first : first + out])


def test_ncnn_weights_are_counted_from_the_net(tmp_path: Path) -> None:
    lines = ["7767517", "2 2", "Input in 0 1 data", "Convolution a 1 1 data b 0=48 1=3 4=1 5=1 6=1296"]
    (tmp_path / "net.param").write_text("\n".join(lines))
    assert peers.count_weights(tmp_path / "net.param") == 48 * 3 * 3 * 3 + 48
