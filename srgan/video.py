"""Videos, frame by frame in bounded memory: PyAV (an extra of the package) reads and writes them.

Frames are enlarged in parts of PART_FRAMES. Finished parts are kept in a folder beside the result until all are
finished, so that stopped work can be continued. Sound is copied unchanged.
"""

import glob
import hashlib
import heapq
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from srgan.errors import UserError
from srgan.files import write_whole

ENDINGS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
WRITTEN = frozenset({".mp4", ".m4v", ".mov", ".mkv"})

CODECS = {"h264": ("libx264", {"crf": "16", "preset": "medium"}), "av1": ("libsvtav1", {"crf": "24", "preset": "8"})}
"""FFmpeg's encoders and their settings, by the names for --codec. A lower crf keeps more."""

PART_FRAMES = 96

DEEP = 10
"""Videos with this many bits per channel or more lose some of them, because the network takes 8."""

JPEG_RANGE = 2
"""FFmpeg's number of the colour range whose levels go from 0 to 255."""

BT709, BT601 = 1, 5
"""FFmpeg's numbers of colour matrices. Frames whose matrix is not BT.709 are read and written with the matrix of
BT.601."""

EnlargeFrame = Callable[[Image.Image, float, float], Image.Image]
"""Enlarges an RGB frame, given the shares of the work, from 0 to 1, that are done before and after it."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def load_av() -> Any:
    os.environ.setdefault("SVT_LOG", "1")  # only errors: otherwise the AV1 encoder prints lines for every part
    try:
        import av  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise UserError("Videos need one more package: pip install av.") from None
    return av


@dataclass(frozen=True)
class Video:
    path: Path
    size: tuple[int, int]
    """width and height as players show them, after rotation"""
    frames: int
    """number of frames according to the file, or an estimate if the file does not state it"""
    notes: list[str]
    """a sentence for everything that the result will lack"""


def read_video(path: Path) -> Video:
    """Reads a video's properties. Raises UserError if the file cannot be read or holds no video."""
    with open_video(path) as file:
        stream = video_stream(file, path)
        first = next(file.decode(stream), None)
        if first is None:
            raise UserError(f"{path}: no frame of it can be read.")
        size = upright_frame(first).size
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
    """Writes the video with every frame enlarged to a size. An odd side loses a pixel, because codecs need even sides.

    Time stamps, sound, colour tags and metadata are kept; rotated frames are written upright. settings: everything else
    that the frames depend on, in JSON's types: parts that were made with other settings are made again. Raises
    UserError if the ending of `place` is none of WRITTEN, or if the video cannot be read or written.
    """
    if place.suffix.lower() not in WRITTEN:
        raise UserError(f"{place}: videos are written as {', '.join(sorted(WRITTEN))}; choose one of these endings.")
    folder = parts_folder(video, place, {**settings, "size": size, "codec": codec})
    even = (size[0] // 2 * 2, size[1] // 2 * 2)
    with open_video(video.path) as file:
        stream = video_stream(file, video.path)
        frames = file.decode(stream)
        for number in count():
            part, batch = folder / f"{number:06}.mp4", islice(frames, PART_FRAMES)
            if part.exists():
                done = sum(1 for _ in batch)
            else:
                done = write_part(part, batch, even, enlarge, codec, stream, number * PART_FRAMES, video.frames)
            if done < PART_FRAMES:
                break
    write_whole(place, lambda partial: join_parts(video, folder, partial))
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.parts"):
        shutil.rmtree(left)


def parts_folder(video: Video, place: Path, settings: dict[str, Any]) -> Path:
    """Makes the folder for the finished parts. Its name depends on the video and on everything that the frames depend
    on."""
    status = video.path.stat()
    told = json.dumps([str(video.path.resolve()), status.st_size, status.st_mtime_ns, settings], sort_keys=True)
    folder = place.with_name(f".{place.name}.{hashlib.sha256(told.encode()).hexdigest()[:16]}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_part(
    place: Path, frames: Iterator[Any], size: tuple[int, int], enlarge: EnlargeFrame, codec: str, source: Any,
    before: int, whole: int,
) -> int:  # fmt: skip
    """Writes a part and returns the number of its frames. Without frames, nothing is written.

    The time stamps in the part begin at 0. A second file of the same name, ending in .start, holds the part's first
    time stamp in the whole video. before: number of frames before the part; whole: number of frames of the video.
    """
    first = next(frames, None)
    if first is None:
        return 0
    av = load_av()
    done, start = 0, first.pts or 0
    encoder, options = CODECS[codec]

    def write(partial: Path) -> None:
        nonlocal done
        with av.open(str(partial), "w", format="mp4") as file:
            stream = file.add_stream(encoder, rate=source.average_rate or 25, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            context = stream.codec_context
            context.time_base = stream.time_base = source.time_base
            context.max_b_frames = 0  # so that time stamps increase within a part and from one part to the next
            tag_colours(context, first)
            last = -1
            for frame in chain([first], frames):
                share = min(1.0, (before + done) / whole), min(1.0, (before + done + 1) / whole)
                large = enlarge(upright_frame(frame), *share).crop((0, 0, *size))
                encoded = from_picture(large, first)
                pts = (frame.pts if frame.pts is not None else start + done) - start
                encoded.pts = last = max(pts, last + 1)
                encoded.time_base = source.time_base
                file.mux(stream.encode(encoded))
                done += 1
            file.mux(stream.encode(None))

    write_whole(place.with_suffix(".start"), lambda partial: partial.write_text(str(start), encoding="utf-8"))
    write_whole(place, write)
    return done


def join_parts(video: Video, folder: Path, place: Path) -> None:
    """Writes all parts one after the other, with the sound."""
    av = load_av()
    parts = sorted(folder.glob("[0-9]*.mp4"))  # not the unfinished files of a killed process
    with open_video(video.path) as source, av.open(str(parts[0])) as first, av.open(str(place), "w") as file:
        file.metadata.update(source.metadata)
        base = video_stream(source, video.path).time_base
        moving = file.add_stream_from_template(first.streams.video[0], opaque=True)
        moving.time_base = base
        sounds = {stream.index: file.add_stream_from_template(stream, opaque=True) for stream in source.streams.audio}
        for old in source.streams.audio:
            sounds[old.index].metadata.update(old.metadata)
        heard = packets(source.demux(source.streams.audio)) if sounds else ()  # demux() of no streams reads all
        tracks = (
            ((sounds[packet.stream.index], packet) for packet in heard),
            ((moving, packet) for packet in joined_packets(parts, base)),
        )
        for stream, packet in heapq.merge(*tracks, key=lambda pair: packet_seconds(pair[1])):
            packet.stream = stream
            file.mux(packet)


def joined_packets(parts: list[Path], base: Fraction) -> Iterator[Any]:
    """Yields the packets of all parts, with the time stamps of the whole video in the time base of the source."""
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
    """Leaves out empty packets, with which PyAV ends a stream."""
    return (packet for packet in found if packet.dts is not None and packet.pts is not None)


def packet_seconds(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def open_video(path: Path) -> Any:
    av = load_av()
    try:
        return av.open(str(path))
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"{path} cannot be read as a video ({error}).") from None


def video_stream(file: Any, path: Path) -> Any:
    if not file.streams.video:
        raise UserError(f"{path} holds no video.")
    stream = file.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


# Frames and pictures


def matrix(frame: Any) -> int:
    return BT709 if frame.colorspace == BT709 else BT601


def upright_frame(frame: Any) -> Image.Image:
    """Converts a frame to RGB, rotated as players show it."""
    shown = frame.reformat(format="rgb24", src_colorspace=matrix(frame))
    picture = Image.fromarray(shown.to_ndarray())
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


def from_picture(picture: Image.Image, like: Any) -> Any:
    """Converts an RGB picture to a frame with the colour matrix and range of another frame."""
    frame = load_av().VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    full = {"dst_color_range": JPEG_RANGE} if like.color_range == JPEG_RANGE else {}
    return frame.reformat(format="yuv420p", dst_colorspace=matrix(like), **full)


def tag_colours(context: Any, like: Any) -> None:
    for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(context, name, getattr(like, name))
