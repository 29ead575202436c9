"""From a run or a model back to what it was made of."""

from pathlib import Path

from reconv.yaml_files import read_yaml


def dvc_hashes(lock: Path = Path("dvc.lock")) -> dict[str, str]:
    """Path -> hash of every output that dvc.lock records; empty where there is none.

    A stage's inputs stand there before it starts, since DVC writes the file after each stage.
    """
    if not lock.exists():
        return {}
    stages = (read_yaml(lock) or {}).get("stages", {})
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
