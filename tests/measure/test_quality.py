"""benchmarks/quality.py: the table of peers, its curve and sheet, and the parts that go into a model card."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from helpers import ROOT, SHARED, is_one_sentence, make_pairs, make_photos
from PIL import Image
from safetensors.torch import save, save_file
from torch import nn

from srgan.errors import UserError
from srgan.measure.evaluation import evaluate, means
from srgan.measure.pairs import WholePictures
from srgan.model_folder import Model, save_model
from srgan.publish.card import add_to_card, write_card
from srgan.publish.facts import facts, versions
from srgan.training.config import Config

sys.path.insert(0, str(ROOT / "benchmarks"))
import peer_networks
import peers
import quality


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Makes a model folder like a run's, with a card that names another way to load it."""
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


def gone(folder: Path | None) -> peers.Peer:
    raise peers.Absent("its package is not installed")


def test_all_systems_are_measured_side_by_side(
    folder: Path, tmp_path: Path, lpips_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "PEERS", {"Lanczos": peers.PEERS["Lanczos"], "Gone": gone})
    monkeypatch.setattr(quality, "SHEET_SIDE", 32)
    data = [make_pairs(tmp_path / "pairs"), make_photos(tmp_path / "squares", 3)]
    make_photos(tmp_path / "sheet" / "below", 1)
    make_photos(tmp_path / "sheet", 2)
    other = tmp_path / "other"
    small = tiny_model(("detail",), seed=5)
    save_model(other, replace(small, config=replace(small.config, training={"settings": {"crop": 48}})), "# other\n")
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", [
        "quality.py", "--data", *map(str, data), "--last", "2", "--lpips", str(lpips_file),
        "--model", str(folder), str(other), "--sheet", str(tmp_path / "sheet"), "--out", str(out), "--card",
        "--degrade", "clean", "jpeg50", "--unpaired", str(data[1]),
    ])  # fmt: skip
    assert quality.main() == 0
    report = json.loads((out / "quality.json").read_text())
    blend = (f"faces, detail {d}" for d in ("0", "0.25", "0.5", "0.75", "1"))
    systems = ["bicubic", "Lanczos", *blend, "other, detail 1"]
    assert list(report) == ["pairs", "pairs-jpeg50", "squares", "squares-jpeg50"]
    clean, worn = (report[name]["figures"]["bicubic"] for name in ("squares", "squares-jpeg50"))
    assert clean["psnr_y"] > worn["psnr_y"] + 0.1
    for table in report.values():
        assert table["pictures"] in ("whole", "centre 64x64 crops"), "of the larger of both models' crops"
        assert table["photos"] == 2 and list(table["figures"]) == systems
        assert all(row.keys() == {"psnr_y", "ssim_y", "psnr_rgb", "lpips"} for row in table["figures"].values())
    text = (out / "quality.md").read_text()
    assert "## squares by kind of wear" in text and f"| {worn['psnr_y']:.2f} / {worn['lpips']:.3f} |" in text
    assert Image.open(out / "quality-unpaired.png").height > 3 * 4 * 32
    assert "Gone is left out: its package is not installed." in text and "2 from LR_bicubic_X4" in text
    assert 2 * 32 < Image.open(out / "quality-sheet.png").height < 3 * 32 + 40
    for curve in (out / "quality-pairs.png", out / "quality-squares.png", folder / "peers.png"):
        assert Image.open(curve).width > 600
    card = (folder / "README.md").read_text()
    row = report["pairs"]["figures"]["Lanczos"]
    assert f"| Lanczos | {row['psnr_y']:.2f} |" in card and "(peers.png)" in card


def test_tables_of_earlier_runs_stay(tmp_path: Path) -> None:
    row = {"psnr_y": 30.0, "ssim_y": 0.9, "psnr_rgb": 29.0, "lpips": 0.1}
    table = {
        "models": ["faces"], "precision": "float32", "date": "2026-11-27", "parameters": {}, "absent": {}, "photos": 2,
        "pictures": "whole", "low_resolution": "made by the bicubic", "left_out": {}, "data": "squares",
        "degrade": "clean", "figures": {"bicubic": row, "faces, detail 1": row | {"lpips": 0.05}},
    }  # fmt: skip
    quality.save_table(table, tmp_path)
    fewer = {"faces, detail 1": row | {"psnr_y": 27.5}}
    quality.save_table({**table, "degrade": "web", "date": "2026-11-28", "figures": fewer}, tmp_path)
    quality.save_table({**table, "photos": 3}, tmp_path)
    report = json.loads((tmp_path / "quality.json").read_text())
    assert {name: (of["photos"], of["date"]) for name, of in report.items()} == {
        "squares": (3, "2026-11-27"), "squares-web": (2, "2026-11-28"),
    }  # fmt: skip
    text = (tmp_path / "quality.md").read_text()
    assert "| bicubic | 30.00 / 0.100 |  |" in text and "| faces, detail 1 | 30.00 / 0.050 | 27.50 / 0.100 |" in text


def test_sections_go_into_a_card_and_what_its_owner_wrote_stays(folder: Path) -> None:
    place = folder / "README.md"
    place.write_text(place.read_text().replace("## Training\n", "## Training\n\nOn a wet Monday.\n"))
    before = place.read_text()
    add_to_card(folder)
    assert place.read_text() == before  # the folder has no such files
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


@pytest.mark.parametrize("name", ["RLFN x4", "SMFANet+ x4"])
def test_a_peer_without_its_file_says_which_file_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(peers.Absent, match=r"--peers names no folder with \S+\.safetensors$"):
        peers.PEERS[name](None)
    with pytest.raises(peers.Absent, match=r" holds no \S+\.safetensors$"):
        peers.PEERS[name](tmp_path)


@pytest.mark.parametrize("wrong", [b"no weights", save({"conv_1.weight": torch.zeros(46, 3, 3, 3)})])
def test_a_peer_refuses_a_file_of_something_else(wrong: bytes, tmp_path: Path) -> None:
    (tmp_path / "rlfn-x4-ntire2024-baseline.safetensors").write_bytes(wrong)
    with pytest.raises(UserError) as refused:
        peers.PEERS["RLFN x4"](tmp_path)
    assert is_one_sentence(str(refused.value)) and "does not hold the weights of RLFN" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "network", "file", "weights"),
    [
        ("RLFN x4", peer_networks.RLFN, "rlfn-x4-ntire2024-baseline.safetensors", 317_218),
        ("SMFANet+ x4", peer_networks.SMFANetPlus, "smfanet-plus-x4-df2k.safetensors", 495_888),
    ],
)
def test_peers_from_files_take_and_give_the_range_of_all_others(
    name: str, network: type[nn.Module], file: str, weights: int, tmp_path: Path
) -> None:
    """All weights are 0 except the last bias, which is mid-grey in the network's training range: 0 to 255 for RLFN, 0
    to 1 for SMFANet+."""
    state = {key: torch.zeros_like(value) for key, value in network().state_dict().items()}
    last = "upsampler.0.bias" if name == "RLFN x4" else "to_img.0.bias"
    state[last] += 127.5 if name == "RLFN x4" else 0.5
    save_file(state, tmp_path / file)
    peer = peers.PEERS[name](tmp_path)
    assert peer.parameters == weights
    with torch.inference_mode():
        restored = peer.restore(torch.rand(2, 3, 17, 23) * 2 - 1)
    assert restored.shape == (2, 3, 68, 92) and restored.abs().max() < 1e-6


@pytest.mark.skipif(
    not (SHARED / "models/peers").is_dir(), reason="the published weights do not lie beside the checkout"
)
@pytest.mark.parametrize(("name", "psnr"), [("RLFN x4", 32.10), ("SMFANet+ x4", 32.51)])
def test_peers_reach_their_figure_on_set5(name: str, psnr: float) -> None:
    """The figure of SMFANet+ is its authors'; the figure of RLFN is what the challenge's code gives with this file."""
    systems = {name: peers.PEERS[name](SHARED / "models/peers").restore}
    rows = evaluate(systems, WholePictures(SHARED / "data/Set5"), None, torch.device("cpu"))
    assert means(rows)[name]["psnr_y"] == pytest.approx(psnr, abs=0.005)


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
