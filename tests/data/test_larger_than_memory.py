"""Training batches come from shards that together are larger than the memory that the process may have: the kernel
drops pages of mapped files, which no process can write to, as it needs the room."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from control_group import limited_group

from reconv.data import shards
from reconv.data.shards import write_images

_LIMIT_BYTES = 250 * 10**6
_NUM_IMAGES, _SHAPE = 50_000, (64, 64, 3)  # 614 MB

_EPOCH = """
import sys, torch
from pathlib import Path
from reconv.data.arrays import Split
from reconv.data.batches import Resident, TrainingBatches
from reconv.data.shards import map_images, mapped
from reconv.params import AugmentParams

Path(sys.argv[1], "cgroup.procs").write_text("0")  # what the imports took counts elsewhere
count, shape = int(sys.argv[2]), (64, 64, 3)
images = map_images(lambda file: mapped(Path(file), "uint8"), "development", count, shape)
split = Split(images, mapped(Path("labels.npy"), "int64"))
seen = 0
batches = TrainingBatches(Resident(split, torch.device("cpu")), 500, AugmentParams(crop=0, flip=False), 0, 0)
for images, labels in batches:
    assert torch.equal(images[:, 5, 7, 1].long(), labels % 256)
    seen += len(labels)
print(seen)
"""

_TAKE = """
import sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
print(len(bytearray(b"1") * int(sys.argv[2])))
"""


@pytest.fixture
def limited() -> Iterator[Path]:
    with limited_group(_LIMIT_BYTES) as group:
        yield group


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_an_epoch_needs_no_more_memory_than_there_is(limited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARD_BYTES", 150 * 10**6)
    labels = np.arange(_NUM_IMAGES)
    image_of_each_value = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, *_SHAPE))
    write_images(Path(), "development", image_of_each_value, labels % 256, _SHAPE)
    np.save("labels.npy", labels)
    files = sorted(Path().glob("development-images-*.npy"))
    for path in files:  # what lies in the cache already would count for who put it there
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    done = run(_EPOCH, limited, _NUM_IMAGES)

    assert sum(path.stat().st_size for path in files) > 2 * _LIMIT_BYTES
    assert (done.stdout.strip(), done.returncode) == (str(_NUM_IMAGES), 0), done.stderr


@pytest.mark.slow
def test_the_limit_is_one(limited: Path) -> None:
    assert run(_TAKE, limited, 2 * _LIMIT_BYTES).returncode == -9
    assert run(_TAKE, limited, _LIMIT_BYTES // 4).returncode == 0
