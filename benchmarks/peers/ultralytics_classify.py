"""`yolo classify train`, from scratch at 32 pixels: the command that its documentation shows for a folder of images.

It has an environment of its own in build/benchmarks, made once. Defaults are kept (augmentation, optimizer), except
what would need the network, what draws plots, and `cache=ram`, which only makes it faster. On a CPU it loads images in
its own process whatever `workers` says. Prints a JSON line per epoch, read from the results.csv that it writes.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / "benchmarks" / "ultralytics"
REQUIREMENT = "ultralytics==8.4.190"
MODEL = "yolo11n-cls.yaml"
_OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def environment() -> Path:
    """The folder of its virtual environment, with `yolo` in bin; made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / "ready"
    if not ready.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        subprocess.run([*install, REQUIREMENT], check=True)
        if subprocess.run([python, "-c", "import cv2"], stderr=subprocess.DEVNULL, check=False).returncode:
            # No libGL here: the same OpenCV without windows.
            subprocess.run([uv, "pip", "uninstall", "--quiet", "--python", python, "opencv-python"], check=True)
            subprocess.run([*install, "opencv-python-headless"], check=True)
        ready.touch()
    return ENVIRONMENT


def command(data: Path, epochs: int, minutes: float | None, output: Path, train_images: int | None) -> list[str]:
    """What a user would type; `output` gets results.csv and the weights. With `minutes` it trains for so long and fits
    its schedule to that; `epochs` then only chooses the optimizer."""
    more = [f"time={minutes / 60:.5f}"] if minutes else []
    more += [f"fraction=[{train_images},1000]"] if train_images else []
    return [
        str(ENVIRONMENT / "bin" / "yolo"),
        *("classify", "train", f"model={MODEL}", f"data={data}", "imgsz=32", f"epochs={epochs}", "batch=128"),
        *("device=cpu", "workers=2", "cache=ram", "amp=False", "plots=False"),
        *(f"project={output}", "name=run", *more),
    ]


def reports(results: Path) -> list[dict[str, float]]:
    """Epoch and test accuracy of each whole row of results.csv."""
    if not results.exists():
        return []
    lines = [line for line in results.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = csv.DictReader(lines, skipinitialspace=True)
    return [{"epoch": int(row["epoch"]), "accuracy": float(row["metrics/accuracy_top1"])} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of PNGs, see data.py")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--minutes", type=float, help="of training, instead of epochs")
    parser.add_argument("--train-images", type=int)
    arguments = parser.parse_args()
    environment()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        log = output / "log"
        env = {**os.environ, **_OFFLINE, "YOLO_CONFIG_DIR": str(output)}
        with log.open("w") as said:
            run = command(arguments.data.resolve(), arguments.epochs, arguments.minutes, output, arguments.train_images)
            yolo = subprocess.Popen(run, env=env, stdout=said, stderr=said)
        printed = 0
        while True:
            ended = yolo.poll() is not None
            found = reports(output / "run" / "results.csv")
            for report in found[printed:]:
                print(json.dumps(report), flush=True)
            printed = len(found)
            if ended:
                break
            time.sleep(0.1)
        if yolo.returncode:
            sys.exit(f"{' '.join(run)} ended with {yolo.returncode}:\n{log.read_text()[-3000:]}")


if __name__ == "__main__":
    main()
