"""The model folder: a saved model is loaded unchanged, and nothing else is accepted as a model."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import full_disk, is_one_sentence, random_generator
from safetensors.torch import load_file, save_file

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.model_folder import Model, ModelConfig, load_model, save_model
from srgan.upscaler import Upscaler


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """Returns a model folder that a test may damage."""
    return shutil.copytree(model_folder, tmp_path / "faces")


def test_what_is_saved_comes_back(model: Model, tmp_path: Path) -> None:
    training = {"settings": {"epochs": 3}, "data": {"name": "ä", "train": 9}, "hours": {"fidelity": 0.25}}
    saved = Model(
        dataclasses.replace(model.config, training=training), model.weights, {"figures": {"bicubic": {"psnr_y": 28.1}}}
    )
    save_model(tmp_path / "new" / "folder", saved, "# card\n")
    loaded = load_model(tmp_path / "new" / "folder")
    assert dataclasses.asdict(loaded.config) == {**dataclasses.asdict(saved.config), "value_range": [-1, 1]}
    assert loaded.metrics == saved.metrics
    assert loaded.weights.keys() == {"detail", "fidelity"}
    for kind, weights in saved.weights.items():
        assert loaded.weights[kind].keys() == weights.keys()
        assert all(torch.equal(loaded.weights[kind][name], value) for name, value in weights.items())
    assert (tmp_path / "new" / "folder" / "README.md").read_text() == "# card\n"


def test_a_loaded_model_restores_exactly_as_the_saved_one(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path, model, "")
    low = torch.rand(1, 3, 12, 9) * 2 - 1
    before, after = Upscaler(model, device="cpu", precision="fp32"), Upscaler.load(tmp_path, "cpu", "fp32")
    for detail in (0.0, 0.3, 1.0):
        assert torch.equal(before.restore(low, detail), after.restore(low, detail))


def test_the_folder_holds_what_the_contract_names(folder: Path) -> None:
    names = {"config.json", "metrics.json", "README.md", "model.safetensors", "fidelity.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert {name: config[name] for name in ("channels", "blocks", "scale", "value_range", "recipe")} == {
        "channels": 8, "blocks": 1, "scale": 4, "value_range": [-1, 1], "recipe": "default",
    }  # fmt: skip


@pytest.mark.parametrize(
    "metrics",
    [
        {"photos": "many"}, {"figures": [1]}, {"figures": {"detail 1": 3}}, {"figures": {"detail 1": {"psnr_y": "x"}}},
        {"history": 5}, {"history": [{"psnr_y": 1.0}]}, {"history": [{"stage": "detail", "psnr_y": [1]}]},
    ],
)  # fmt: skip
def test_figures_of_another_shape_are_refused(folder: Path, metrics: object) -> None:
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="does not hold the figures") as caught:
        load_model(folder)
    assert is_one_sentence(str(caught.value))


def test_weights_of_networks_in_other_layouts_and_types_are_saved(tmp_path: Path) -> None:
    network = random_generator(1).to(memory_format=torch.channels_last)
    save_model(tmp_path, Model(ModelConfig(8, 1), {"detail": network.state_dict()}, {}), "")
    loaded = load_model(tmp_path)
    assert "fidelity" not in loaded.weights
    assert all(torch.equal(loaded.weights["detail"][name], value) for name, value in network.state_dict().items())


# Folders that are no models


def refusal(folder: Path, named: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_model(folder)
    text = str(caught.value)
    assert is_one_sentence(text) and str(named) in text
    return text


def test_the_revision_is_the_hubs_commit_or_that_of_the_program_that_trained_it(model: Model) -> None:
    def revision(commit: object, of_the_hub: str = "") -> str:
        config = dataclasses.replace(model.config, training={"versions": {"commit": commit}})
        return Upscaler(dataclasses.replace(model, config=config), "", "cpu", commit=of_the_hub).revision

    assert revision("92f2eea") == revision("92f2eea" + "0" * 33) == "92f2eea"
    assert revision("92f2eea", "0123456789abcdef") == "0123456"
    assert [revision(odd) for odd in ("", None, 7, "<script>alert(1)</script>", "92f2eeag")] == [""] * 5
    assert Upscaler(dataclasses.replace(model, config=ModelConfig(training={"versions": []})), "", "cpu").revision == ""


def test_missing_files_are_named(folder: Path) -> None:
    assert "no such model folder" in refusal(folder / "missing", folder / "missing")
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
        assert "missing" in refusal(folder, folder / name)
    refusal(folder / "README.md", folder / "README.md")


def spoil(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize("file", ["model.safetensors", "fidelity.safetensors"])
def test_weights_must_fit_exactly(folder: Path, file: str) -> None:
    path = folder / file
    whole = path.read_bytes()
    changes: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
        "tail.bias": lambda weights: weights.pop("tail.bias"),
        "stowaway": lambda weights: weights.update(stowaway=torch.zeros(1)),
        "head.0.weight": lambda weights: weights.update({"head.0.weight": torch.zeros(8, 3, 7, 7)}),
        "not finite": lambda weights: weights["tail.weight"].view(-1)[5:6].fill_(float("nan")),
    }
    for word, change in changes.items():
        spoil(path, change)
        assert word in refusal(folder, path)
        path.write_bytes(whole)
    load_model(folder)


def test_infinite_weights_are_refused(folder: Path) -> None:
    spoil(folder / "model.safetensors", lambda weights: weights["head.0.bias"][:1].fill_(float("inf")))
    assert "not finite" in refusal(folder, folder / "model.safetensors")


def test_damaged_weights_files_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for content in (b"", whole[:5], whole[:2000], whole[:-1], b"\xff" * 100, b"text that is no weights file"):
        path.write_bytes(content)
        refusal(folder, path)


def test_a_pickle_under_the_name_of_safetensors_is_refused_unopened(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"tail.bias": Trap()}, folder / "model.safetensors")
    refusal(folder, folder / "model.safetensors")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 0}, {"channels": 100_000}, {"channels": -8}, {"channels": "8"}, {"channels": 8.0},
        {"channels": True},
        {"channels": None}, {"blocks": 0}, {"blocks": 10**9}, {"blocks": [1]}, {"scale": 2}, {"scale": "4"},
        {"value_range": [0, 1]}, {"value_range": 5}, {"value_range": []}, {"colour": "red"},
        {"upsampling": "none"}, {"upsampling": ["direct"]},
    ],
)  # fmt: skip
def test_configs_of_no_model_of_this_program_are_refused(folder: Path, changes: dict[str, object]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refusal(folder, path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"8", b'"text"', b"null", b"\xff\xfe{}", b"[" * 100_000])
def test_broken_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    refusal(folder, folder / "config.json")


def test_a_config_of_another_size_is_refused(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "channels": 16}))
    refusal(folder, folder / "model.safetensors")


# Disks that refuse


def test_a_full_disk_leaves_the_model_that_was_there(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = Model(ModelConfig(8, 1), {"detail": random_generator(7).state_dict()}, {})
    with pytest.raises(UserError) as caught:
        full_disk(lambda: save_model(folder, other, ""), 10_000)
    assert is_one_sentence(str(caught.value)) and str(folder / "model.safetensors") in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_that_is_loaded_does_not_hold_its_files(model_folder: Path) -> None:
    """Windows cannot replace a mapped file, so a run could not finish while the page uses its model."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs Linux's list of what is mapped")
    loaded = load_model(model_folder)
    assert loaded.weights and str(model_folder) not in maps.read_text()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "new.png", tmp_path / "file" / "below" / "new.png"):
        with pytest.raises(UserError) as caught:
            write_whole(path, Path.touch)
        assert is_one_sentence(str(caught.value)) and str(path) in str(caught.value)


def test_a_failure_while_writing_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")

    def fail(place: Path) -> None:
        place.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [place.name for place in tmp_path.iterdir()] == ["figures.json"]


def test_the_format_is_told_by_the_name_while_writing(tmp_path: Path) -> None:
    seen: list[str] = []

    def write(place: Path) -> None:
        seen.append(place.suffix)
        place.touch()

    write_whole(tmp_path / "new" / "picture.webp", write)
    assert seen == [".webp"] and (tmp_path / "new" / "picture.webp").exists()


def test_what_a_model_has_seen_is_told_from_whatever_its_file_says() -> None:
    training = {
        "data": {"seen": {"fidelity": 100, "detail": 20}}, "hours": {"fidelity": 1.5, "detail": 0.25},
        "started_from": {"model": "m", "photos": 1000, "hours": 2},
    }  # fmt: skip
    assert ModelConfig(training=training).seen() == (1120, 3.75)
    for odd in ({}, {"data": 3, "hours": [1], "started_from": "m"}, {"data": {"seen": {"fidelity": "many"}}}):
        assert ModelConfig(training=odd).seen() == (0, 0)


def test_a_card_that_names_a_folder_outside_utf8_is_written_all_the_same(tmp_path: Path, model: Model) -> None:
    save_model(tmp_path / "model", model, "# caf\udce9, 東京\n")
    assert (tmp_path / "model" / "README.md").read_text(encoding="utf-8") == "# caf?, 東京\n"


@pytest.mark.parametrize(
    ("settings", "removes"),
    [
        ({"degrade": "web"}, True), ({"degrade": "old"}, True), ({"degrade": "any"}, True), ({"degrade": 0.5}, True),
        ({"degrade": "clean"}, False), ({"degrade": "copy"}, False), ({"degrade": 0.0}, False), ({}, False), (7, False),
    ],
)  # fmt: skip
def test_the_config_says_whether_the_model_has_learned_to_remove_jpeg(settings: object, removes: bool) -> None:
    assert ModelConfig(training={"settings": settings}).removes_jpeg() == removes
    assert not ModelConfig().removes_jpeg()
