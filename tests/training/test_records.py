"""Rows of stats.jsonl, state.pt and metrics.json are read as they were written."""

from srgan.training.records import EpochRow, StatsRow


def test_rows_come_back_from_their_lines() -> None:
    rows = [
        StatsRow("train", "detail", 20, 3, {"generator": 0.25, "photos_per_second": 2.0}),
        StatsRow("warning", "detail", 5000, 1, texts={"trouble": "won", "text": "The discriminator has won."}),
        StatsRow("finished", "detail", 40, texts={"epochs": "0.5"}),
    ]
    flat = [row.to_json() for row in rows]
    assert flat[0] == {
        "kind": "train", "stage": "detail", "epoch": 3, "photos": 20, "generator": 0.25, "photos_per_second": 2.0
    }  # fmt: skip
    assert "epoch" not in flat[2]
    assert [StatsRow.from_json(row) for row in flat] == rows


def test_values_are_rounded_to_six_decimals() -> None:
    assert StatsRow("train", "detail", 1, 1, {"pixel": 1 / 3}).rounded().values == {"pixel": 0.333333}


def test_epochs_of_earlier_runs_are_read_and_written_alike() -> None:
    flat = {"stage": "detail", "epoch": 2, "generator": 0.5, "psnr_y": 25.0}
    row = EpochRow.from_json(flat)
    assert row == EpochRow("detail", 2, {"generator": 0.5, "psnr_y": 25.0}) and row.to_json() == flat
