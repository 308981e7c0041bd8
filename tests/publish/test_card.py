"""Parts of the model card. test_hub.py tests whole cards and runs the code in them."""

from pathlib import Path

import pytest
from conftest import tiny_model
from helpers import ROOT
from huggingface_hub import ModelCard
from PIL import Image

from srgan.errors import UserError
from srgan.model_folder import save_model
from srgan.publish.card import card_data, restated, shown_files, use_text, with_model_name


def run_code(card: str) -> None:
    exec(card.split("```python\n")[1].split("```")[0], {})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes to a temporary working folder with a picture to enlarge."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 7)).save("small.png")
    return tmp_path


@pytest.mark.parametrize("kinds", [("detail",), ("detail", "fidelity")], ids=["one set", "two sets"])
def test_the_code_in_a_card_runs(here: Path, kinds: tuple[str, ...]) -> None:
    name = 'my "faces"'
    save_model(here / name, tiny_model(kinds), "")
    text = use_text(name, blends=len(kinds) == 2)
    run_code(with_model_name(with_model_name(text, "a/b"), name))
    assert Image.open("large.png").size == (36, 28)
    assert ("detail=" in text, "fidelity.safetensors" in text) == ((True, True) if len(kinds) == 2 else (False, False))


@pytest.mark.parametrize("model", ["celeba-faces", "photos"])
def test_the_code_in_the_cards_of_the_models_that_ship_runs(here: Path, model: str) -> None:
    (here / "weights").symlink_to(ROOT / "weights")
    run_code((ROOT / "weights" / model / "README.md").read_text(encoding="utf-8"))
    assert Image.open("large.png").size == (36, 28)


def test_a_model_that_is_saved_over_one_of_two_sets_has_one(tmp_path: Path) -> None:
    save_model(tmp_path, tiny_model(), "")
    assert (tmp_path / "fidelity.safetensors").exists()
    save_model(tmp_path, tiny_model(("detail",)), "")
    assert not (tmp_path / "fidelity.safetensors").exists()


def test_files_that_a_card_shows_are_known() -> None:
    card = '![a](samples/a%20b.png) [x](<./c d.md>) ![t](t.png "A title") <img src="peers.png"> `samples/no.png`'
    assert shown_files(card) == {"samples/a b.png", "c d.md", "t.png", "peers.png"}


def test_licence_and_terms_change_and_nothing_else_does() -> None:
    card = "---\nlicense: mit\ntags:\n- x\n---\n# Faces\n\n- Terms of the photos: old\n- Time: 1 h\n"
    changed = restated(card, "other", "new\nterms")
    assert ModelCard(changed).data.to_dict() == {"license": "other", "tags": ["x"]}
    assert changed.endswith("# Faces\n\n- Terms of the photos: new terms\n- Time: 1 h\n")
    assert restated(card, "", "") == card
    with pytest.raises(UserError, match="Terms of the photos"):
        restated("# Rewritten\n", "", "new")


def test_figures_that_are_not_finite_stay_out_of_the_metadata() -> None:
    """The Hub would refuse the card after the training."""
    figures = {"detail 1": {"psnr_y": float("inf"), "ssim_y": 1.0}}
    data = card_data("faces", "photos", {}, {"photos": 3, "figures": figures})
    assert [result.metric_type for result in data.eval_results or []] == ["ssim"]
