"""Videos keep every frame, its time, sound, colours and orientation. Interrupted work is resumed."""

import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import is_one_sentence, run_python
from PIL import Image

from srgan import video
from srgan.errors import UserError
from srgan.video import enlarge_video, read_video, upright_frame

av = pytest.importorskip("av")

BASE = Fraction(1, 12800)
FRAMES = 40
SIZE = (32, 24)


def clip(path: Path, colorspace: int = 1, full: bool = False) -> list[int]:
    """Writes a video of a stripe that moves over a flat colour, with a variable frame rate and a tone. Returns the
    frames' times."""
    times, at = [], 0
    with av.open(str(path), "w") as file:
        moving = file.add_stream("libx264", rate=25, options={"crf": "4", "preset": "ultrafast"})
        moving.width, moving.height, moving.pix_fmt = *SIZE, "yuv420p"
        context = moving.codec_context
        context.time_base = BASE
        context.colorspace, context.color_primaries, context.color_trc = colorspace, 1, 1
        context.color_range = 2 if full else 1
        sound = file.add_stream("aac", rate=48000)
        for number in range(FRAMES):
            pixels = np.full((*SIZE[::-1], 3), (200, 40, 90), np.uint8)
            pixels[:12, number % 16 : number % 16 + 8] = (20, 220, 60)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            range_of = {"dst_color_range": 2} if full else {}
            frame = frame.reformat(format="yuv420p", dst_colorspace=colorspace, **range_of)
            frame.pts, frame.time_base = at, BASE
            times.append(at)
            at += 512 if number % 3 else 1024
            file.mux(moving.encode(frame))
        file.mux(moving.encode(None))
        for number in range(int(at * BASE * 48000) // 1024):
            wave = np.sin(np.arange(1024) / 20)[None].astype(np.float32)
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48000, 1024 * number, Fraction(1, 48000)
            file.mux(sound.encode(tone))
        file.mux(sound.encode(None))
    return times


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def sound_of(path: Path) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as file:
        return [(packet.pts, bytes(packet)) for packet in file.demux(audio=0) if packet.pts is not None]


def doubled(picture: Image.Image, before: float = 0.0, after: float = 1.0) -> Image.Image:
    return picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "PART_FRAMES", 16)


def enlarge(
    source: Path, place: Path, by: Callable[..., Image.Image] = doubled, codec: str = "h264", **settings: Any
) -> None:
    found = read_video(source)
    enlarge_video(found, place, (2 * found.size[0], 2 * found.size[1]), by, codec, settings)


@pytest.mark.parametrize(
    ("colorspace", "full", "codec"), [(1, False, "h264"), (5, False, "h264"), (1, True, "h264"), (1, False, "av1")]
)
def test_frames_times_sound_and_colours_are_kept(tmp_path: Path, colorspace: int, full: bool, codec: str) -> None:
    times = clip(tmp_path / "in.mp4", colorspace, full)
    assert read_video(tmp_path / "in.mp4").frames == FRAMES
    shares: list[float] = []

    def watched(picture: Image.Image, before: float, after: float) -> Image.Image:
        shares.extend((before, after))
        return doubled(picture)

    enlarge(tmp_path / "in.mp4", tmp_path / "out.mp4", watched, codec)
    old, new = frames_of(tmp_path / "in.mp4"), frames_of(tmp_path / "out.mp4")
    assert [frame.pts * frame.time_base for frame in new] == [at * BASE for at in times]
    assert sound_of(tmp_path / "out.mp4") == sound_of(tmp_path / "in.mp4")
    for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
        assert getattr(new[0], name) == getattr(old[0], name)
    for before, after in zip(old, new, strict=True):
        wanted, found = (
            np.asarray(picture, float) for picture in (doubled(upright_frame(before)), upright_frame(after))
        )
        assert np.abs(found - wanted).mean() < 4
    assert read_video(tmp_path / "out.mp4").size == (64, 48)
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    """The video is turned by the matrix in MP4's track header, as phones do."""
    clip(tmp_path / "in.mp4")
    data = bytearray((tmp_path / "in.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of the first track; ISO/IEC 14496-12, 8.3.2
    one = 1 << 16
    assert struct.unpack(">9i", data[at : at + 36]) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise
    (tmp_path / "turned.mp4").write_bytes(data)
    assert read_video(tmp_path / "turned.mp4").size == (24, 32)
    enlarge(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    (first, *_) = frames_of(tmp_path / "out.mp4")
    assert (first.width, first.height, first.rotation) == (48, 64, 0)
    still = upright_frame(frames_of(tmp_path / "in.mp4")[0])
    wanted = np.asarray(doubled(still.transpose(Image.Transpose.ROTATE_270)), float)
    assert np.abs(np.asarray(upright_frame(first), float) - wanted).mean() < 4


def test_stopped_work_goes_on_where_it_was_and_other_settings_begin_anew(tmp_path: Path) -> None:
    times = clip(tmp_path / "in.mp4")
    asked: list[float] = []

    def until(most: int) -> Callable[..., Image.Image]:
        def by(picture: Image.Image, before: float, after: float) -> Image.Image:
            asked.append(before)
            if len(asked) > most:
                raise KeyboardInterrupt
            return doubled(picture)

        return by

    with pytest.raises(KeyboardInterrupt):
        enlarge(tmp_path / "in.mp4", tmp_path / "out.mp4", until(20), detail=1)
    assert not (tmp_path / "out.mp4").exists()
    (folder,) = tmp_path.glob(".out.mp4.*.parts")
    (folder / ".0123.partial.mp4").write_text("left by a killed process")
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        enlarge(tmp_path / "in.mp4", tmp_path / "out.mp4", until(0), detail=0)
    assert asked == [0.0]
    asked.clear()
    enlarge(tmp_path / "in.mp4", tmp_path / "out.mp4", until(100), detail=1)
    assert len(asked) == FRAMES - 16 and asked[0] == 16 / FRAMES
    assert [frame.pts * frame.time_base for frame in frames_of(tmp_path / "out.mp4")] == [at * BASE for at in times]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_the_command_enlarges_a_video(tmp_path: Path, model_folder: Path) -> None:
    clip(tmp_path / "in.mp4")
    settings = ("--model", str(model_folder), "--device", "cpu", "--scale", "1.5")
    done = run_python("-m", "srgan", "upscale", str(tmp_path / "in.mp4"), *settings)
    assert done.returncode == 0, done.stderr
    assert "in-x1.5.mp4" in done.stdout
    found = frames_of(tmp_path / "in-x1.5.mp4")
    assert len(found) == FRAMES and (found[0].width, found[0].height) == (48, 36)
    again = run_python("-m", "srgan", "upscale", str(tmp_path / "in.mp4"), *settings)
    assert again.returncode == 0 and "--overwrite" in again.stdout


def test_what_is_no_video_or_cannot_be_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError) as caught:
        read_video(tmp_path / "text.mp4")
    assert is_one_sentence(str(caught.value))
    clip(tmp_path / "in.mp4")
    with pytest.raises(UserError, match="mp4") as caught:
        enlarge(tmp_path / "in.mp4", tmp_path / "out.avi")
    assert is_one_sentence(str(caught.value))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="pip install av") as caught:
        read_video(tmp_path / "in.mp4")
    assert is_one_sentence(str(caught.value))
