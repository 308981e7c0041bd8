"""Measures how fast a stream is read and whether its memory grows. Reads synthetic shards to the end without training.

    python benchmarks/streaming.py [--photos FOLDER] [--shards 10 40] [--workers 1] [--json streaming.json]

One shard of --photos-per-shard photos is made. The others are links to it, but each is read and decoded in full. Every
row is measured in a separate process, with the peak memory of a worker and of the process that takes its batches.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training import synthetic_photos

from srgan.files import write_whole
from srgan.photos.finding import find_photos
from srgan.publish.facts import hardware

READ = """
import json, resource, sys, time
from srgan.training.config import Config
from srgan.photos.streams import open_stream

pattern, photos, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
config = Config(data=pattern, photos_per_epoch=photos, held_out=1, workers=workers)
start = time.perf_counter()
count = sum(len(batch) for batch in open_stream(config)[0].batches(0, 0, 0, photos, 30))
seconds = time.perf_counter() - start
self, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({
    "photos": count, "photos_per_second": round(count / seconds),
    "photos_per_cpu_second": round(count / (workers.ru_utime + workers.ru_stime)),
    "peak_mb": round(self.ru_maxrss / 1024), "worker_peak_mb": round(workers.ru_maxrss / 1024),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", default="", help="folder of photos (default: synthetic ones)")
    parser.add_argument("--photos-per-shard", type=int, default=1000, help="(default: 1000)")
    parser.add_argument(
        "--shards", type=int, nargs="+", default=[10, 40], help="numbers of shards to measure with (default: 10 40)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that read (default: 1)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    report: dict[str, Any] = {"date": datetime.date.today().isoformat(), "hardware": hardware(), "rows": []}
    print(f"{report['hardware']}, {options.workers} workers, {report['date']}\n")
    columns = ("shards", "MB", "photos", "photos/s", "photos/s of CPU time", "peak MB", "peak MB of a worker")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_shards(folder, options)
        for count in options.shards:
            row = {"shards": count, "mb": round(count * size / 1e6), **read(folder, count, options)}
            report["rows"].append(row)
            print(f"| {' | '.join(f'{value:,}' for value in row.values())} |", flush=True)
    if options.json:
        write_whole(options.json, lambda path: path.write_text(json.dumps(report, indent=2) + "\n"))


def make_shards(folder: Path, options: argparse.Namespace) -> int:
    """Makes the shards 0000.tar, 0001.tar, ... and returns the size of one in bytes."""
    if not options.photos:
        (folder / "photos").mkdir()
        synthetic_photos(folder / "photos", options.photos_per_shard)
    photos = find_photos(options.photos or folder / "photos")[: options.photos_per_shard]
    with tarfile.open(folder / "0000.tar", "w") as archive:
        for photo in photos:
            archive.add(photo, photo.name)
    for number in range(1, max(options.shards)):
        os.link(folder / "0000.tar", folder / f"{number:04}.tar")
    return (folder / "0000.tar").stat().st_size


def read(folder: Path, shards: int, options: argparse.Namespace) -> dict[str, Any]:
    pattern = f"{folder}/{{0000..{shards - 1:04}}}.tar"
    photos = shards * options.photos_per_shard - shards  # one photo of each shard is held out
    command = [sys.executable, "-c", READ, pattern, str(photos), str(options.workers)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


if __name__ == "__main__":
    main()
