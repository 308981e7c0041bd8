"""Videos, frame by frame in bounded memory: PyAV (an extra of the package) reads and writes them.

Frames are enlarged in parts of PART_FRAMES, kept in a folder beside the result until the last one is there, so that
stopped work goes on where it was. Sound is copied as it is.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from srgan.errors import UserError
from srgan.files import write_whole

ENDINGS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
WRITTEN = frozenset({".mp4", ".m4v", ".mov", ".mkv"})

CODECS = {"h264": ("libx264", {"crf": "16", "preset": "medium"}), "av1": ("libsvtav1", {"crf": "24", "preset": "8"})}
"""Encoders, and how closely they keep what they are given."""

PART_FRAMES = 96

DEEP = 10
"""Bits a channel from which on some are lost: the network takes 8."""

JPEG_RANGE = 2
"""FFmpeg's number for levels from 0 to 255."""

BT709, BT601 = 1, 5
"""FFmpeg's numbers of colour matrices, of which the second is for all but the first here, in both directions."""

EnlargeFrame = Callable[[Image.Image, float, float], Image.Image]
"""Takes an RGB frame, and how much of the work is done before and with it, from 0 to 1; gives it in the new size."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def load_av() -> Any:
    os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 tells of every part otherwise; 1: errors
    try:
        import av  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise UserError("Videos take one more package: pip install av.") from None
    return av


@dataclass(frozen=True)
class Video:
    path: Path
    size: tuple[int, int]
    """as it is shown, upright"""
    frames: int
    """as far as the file tells; an estimate where it does not"""
    notes: list[str]


def read_video(path: Path) -> Video:
    """Raises UserError where it cannot be read, or holds no moving picture."""
    with opened(path) as file:
        stream = video_stream(file, path)
        first = next(file.decode(stream), None)
        if first is None:
            raise UserError(f"{path}: no frame of it can be read.")
        size = upright(first).size
        length = float(stream.duration * stream.time_base) if stream.duration else (file.duration or 0) / 1e6
        frames = stream.frames or max(1, round(length * float(stream.average_rate or 25)))
        notes = []
        if max(part.bits for part in first.format.components) >= DEEP:
            notes.append("It holds 10 or more bits a channel, of which 8 are kept.")
        if left := [each.type for each in file.streams if each.type not in ("video", "audio")]:
            notes.append(f"Its {' and '.join(sorted(set(left)))} streams are left out.")
        return Video(path, size, frames, notes)


def enlarge_video(
    video: Video, place: Path, size: tuple[int, int], enlarge: EnlargeFrame, codec: str, settings: dict[str, Any]
) -> None:
    """Writes the video with every frame enlarged to a size, whose odd sides lose a pixel: codecs want even ones.

    Time stamps, sound, colour tags and metadata are kept; what is shown turned is turned. settings: all that the frames
    depend on, in JSON's types: parts that were made with others are made anew. Raises UserError.
    """
    if place.suffix.lower() not in WRITTEN:
        raise UserError(f"{place}: videos are written as {', '.join(sorted(WRITTEN))}; name it .mp4, say.")
    folder = parts_folder(video, place, {**settings, "size": size, "codec": codec})
    even = (size[0] // 2 * 2, size[1] // 2 * 2)
    with opened(video.path) as file:
        stream = video_stream(file, video.path)
        frames = file.decode(stream)
        number = 0
        while True:
            part = folder / f"{number:06}.mp4"
            batch = islice(frames, PART_FRAMES)
            if part.exists():
                count = sum(1 for _ in batch)
            else:
                count = write_part(part, batch, even, enlarge, codec, stream, number * PART_FRAMES, video.frames)
            if count < PART_FRAMES:
                break
            number += 1
    write_whole(place, lambda partial: join(video, folder, partial))
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.parts"):
        shutil.rmtree(left)


def parts_folder(video: Video, place: Path, settings: dict[str, Any]) -> Path:
    """Where the finished parts of this very work lie."""
    status = video.path.stat()
    told = json.dumps([str(video.path.resolve()), status.st_size, status.st_mtime_ns, settings], sort_keys=True)
    folder = place.with_name(f".{place.name}.{hashlib.sha256(told.encode()).hexdigest()[:16]}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_part(
    place: Path, frames: Iterator[Any], size: tuple[int, int], enlarge: EnlargeFrame, codec: str, source: Any,
    before: int, whole: int,
) -> int:  # fmt: skip
    """Gives how many frames it took; none, and there is no part. Its time begins at 0; the name of a second file that
    goes with it tells where that is."""
    first = next(frames, None)
    if first is None:
        return 0
    av = load_av()
    count, start = 0, first.pts or 0
    encoder, options = CODECS[codec]

    def write(partial: Path) -> None:
        nonlocal count
        with av.open(str(partial), "w", format="mp4") as file:
            stream = file.add_stream(encoder, rate=source.average_rate or 25, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            context = stream.codec_context
            context.time_base = stream.time_base = source.time_base
            context.max_b_frames = 0  # so time stamps rise in every part, and over their joints
            tag_colours(context, first)
            frame, last = first, None
            while frame is not None:
                share = min(1.0, (before + count) / whole), min(1.0, (before + count + 1) / whole)
                large = enlarge(upright(frame), *share).crop((0, 0, *size))
                encoded = from_picture(large, first)
                pts = (frame.pts if frame.pts is not None else start + count) - start
                encoded.pts = last = pts if last is None else max(pts, last + 1)
                encoded.time_base = source.time_base
                file.mux(stream.encode(encoded))
                count += 1
                frame = next(frames, None)
            file.mux(stream.encode(None))

    write_whole(place.with_suffix(".start"), lambda partial: partial.write_text(str(start), encoding="utf-8"))
    write_whole(place, write)
    return count


def join(video: Video, folder: Path, place: Path) -> None:
    """All parts one after the other, with the sound."""
    av = load_av()
    parts = sorted(folder.glob("*.mp4"))
    with opened(video.path) as source, av.open(str(parts[0])) as first, av.open(str(place), "w") as file:
        file.metadata.update(source.metadata)
        base = video_stream(source, video.path).time_base
        moving = file.add_stream_from_template(first.streams.video[0], opaque=True)
        moving.time_base = base
        sounds = {stream.index: file.add_stream_from_template(stream, opaque=True) for stream in source.streams.audio}
        for old in source.streams.audio:
            sounds[old.index].metadata.update(old.metadata)
        sound = packets(source.demux(source.streams.audio)) if sounds else iter(())
        waiting = next(sound, None)
        for packet in joined_packets(parts, base):
            while waiting is not None and seconds(waiting) <= seconds(packet):
                waiting.stream = sounds[waiting.stream.index]
                file.mux(waiting)
                waiting = next(sound, None)
            packet.stream = moving
            file.mux(packet)
        while waiting is not None:
            waiting.stream = sounds[waiting.stream.index]
            file.mux(waiting)
            waiting = next(sound, None)


def joined_packets(parts: list[Path], base: Fraction) -> Iterator[Any]:
    av = load_av()
    for part in parts:
        start = int(part.with_suffix(".start").read_text(encoding="utf-8"))
        with av.open(str(part)) as file:
            for packet in packets(file.demux(file.streams.video[0])):
                old = packet.time_base
                packet.pts = start + round(packet.pts * old / base)
                packet.dts = start + round(packet.dts * old / base)
                packet.duration = round((packet.duration or 0) * old / base)
                packet.time_base = base
                yield packet


def packets(found: Iterator[Any]) -> Iterator[Any]:
    """Those that hold something."""
    return (packet for packet in found if packet.dts is not None and packet.pts is not None)


def seconds(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def opened(path: Path) -> Any:
    av = load_av()
    try:
        return av.open(str(path))
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"{path}: not a video that can be read ({error}).") from None


def video_stream(file: Any, path: Path) -> Any:
    if not file.streams.video:
        raise UserError(f"{path} holds no moving picture.")
    stream = file.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


# Frames and pictures


def matrix(frame: Any) -> int:
    return BT709 if frame.colorspace == BT709 else BT601


def upright(frame: Any) -> Image.Image:
    """RGB, as players show it."""
    shown = frame.reformat(format="rgb24", src_colorspace=matrix(frame))
    picture = Image.fromarray(shown.to_ndarray())
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


def from_picture(picture: Image.Image, like: Any) -> Any:
    """In the colours of another frame."""
    frame = load_av().VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    full = {"dst_color_range": JPEG_RANGE} if like.color_range == JPEG_RANGE else {}
    return frame.reformat(format="yuv420p", dst_colorspace=matrix(like), **full)


def tag_colours(context: Any, like: Any) -> None:
    for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(context, name, getattr(like, name))
