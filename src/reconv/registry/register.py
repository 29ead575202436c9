"""The verdict's winner -> a version of the registered model, `champion` only if it earned it. Called by the stage
`register`.
"""

import importlib.metadata
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from reconv.artifacts import Registration
from reconv.data.arrays import PreparedData
from reconv.files import sha256_of_file
from reconv.model_json import read_model_json
from reconv.params import Params
from reconv.registry.checksums import CHECKSUMS, FILES_SHA256, Checksums, check_files, checksums_of
from reconv.registry.fetching import BUNDLE_ARTIFACT, MODEL_ARTIFACT, OPPONENT_ARTIFACT
from reconv.registry.gate import fresh_test_note
from reconv.registry.judging import Judged, judge
from reconv.registry.outcome import SERVED_SEED, Outcome
from reconv.registry.registry import Registry
from reconv.registry.version import CANDIDATE, CONTEST, SCREEN, TEST_ACCURACY, TEST_SET, WEIGHTS_SHA256, Version
from reconv.serving.bundle import WEIGHTS, read_served
from reconv.tracking.lineage import dvc_hashes
from reconv.tracking.opening import git_commit
from reconv.tracking.outcomes import test_metrics
from reconv.tracking.record import StageRun

_PACKAGE = Path(__file__).parents[1]
_REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "torch",
)


def register(outcome: Outcome, data: PreparedData, params: Params, run: StageRun, registry: Registry) -> Registration:
    """Log the candidate under `run`, make it a version unless it is one already, and set its alias."""
    with judge(outcome, data, params, registry) as judged:
        (decision, comparison, contest, screen), champion = judged.judgement, judged.champion
        version = registry.candidate(judged.identity) or _create(judged, outcome, run, registry)
        # What it says and its alias are set again where an interruption left them out.
        note = fresh_test_note(contest) if contest else ""
        registry.describe(version, f"{outcome.verdict.text}\n\n{decision.alias}: {decision.reason}.\n\n{note}".rstrip())
        if decision.alias == "champion":
            registry.promote(version, "promoted", decision.reason)
        elif champion is None or champion.number != version.number:
            registry.challenge(version)
        run.log_params({"model": judged.model, "version": version.number, "alias": decision.alias})
        run.describe(
            f"**{registry.name}** version {version.number} ({judged.model}, seed {SERVED_SEED}) is `{decision.alias}`: "
            f"{decision.reason}. {note}".rstrip()
        )
        is_new = decision.alias == "champion" and champion is not None and champion.number != version.number
        return Registration(
            name=registry.name,
            version=version.number,
            alias=decision.alias,
            model=judged.model,
            seed=SERVED_SEED,
            run_id=run.run_id,
            reason=decision.reason,
            contest=contest,
            screen=screen,
            identity=judged.identity,
            replaced=champion.number if champion is not None and is_new else None,
            comparison=comparison,
            times_lost=outcome.times_lost,
        )


def _create(judged: Judged, outcome: Outcome, run: StageRun, registry: Registry) -> Version:
    model, manifest_digest = judged.model, read_served(judged.bundle).data_digest
    source, files_sha256 = _log_model(judged, outcome, run)
    tags = {
        "model": model,
        "seed": str(SERVED_SEED),
        "git_commit": git_commit(),
        "data_digest": manifest_digest,
        "pipeline_run": run.parent.run_id,
        **{key: str(value) for key, value in asdict(outcome.origins[model]).items()},
        TEST_ACCURACY: f"{outcome.metrics[model].accuracy.seeds[SERVED_SEED]:.6f}",
        CANDIDATE: judged.identity,
        FILES_SHA256: files_sha256,
        WEIGHTS_SHA256: sha256_of_file(judged.bundle / WEIGHTS),
        TEST_SET: judged.reference.test_digest,
        **_of_torchvision(judged.bundle),
        **{f"dvc.{path}": digest for path, digest in dvc_hashes().items()},
    }
    if guessing := outcome.verdict.guessing:
        tags["guessing_accuracy"] = f"{guessing.accuracy:.6f}"
        tags["better_than_guessing"] = "no" if model in guessing.no_better else "yes"
    tests = {CONTEST: judged.judgement.contest, SCREEN: judged.judgement.screen}
    tags |= {key: test.model_dump_json() for key, test in tests.items() if test}
    return registry.create(source, tags)


def _of_torchvision(bundle: Path) -> dict[str, str]:
    """Name and, if there are any, digest of the pretrained weights of the classifier; nothing for a network of our
    own."""
    described = read_model_json(bundle)
    found = {"network": described.network.get("model"), "weights_sha256": described.weights_sha256}
    return {key: value for key, value in found.items() if value}


def _log_model(judged: Judged, outcome: Outcome, run: StageRun) -> tuple[str, str]:
    """Log it under the run, with the other model beside it; return its URI and the digest of the list of its files."""
    import mlflow

    torchvision = ["torchvision"] if _of_torchvision(judged.bundle) else []
    with tempfile.TemporaryDirectory(prefix="reconv-register-") as scratch, mlflow.start_run(run_id=run.run_id):
        # A copy without caches: what lies beside the sources on this machine is no part of the model.
        code = Path(shutil.copytree(_PACKAGE, Path(scratch) / "reconv", ignore=shutil.ignore_patterns("__pycache__")))
        info = mlflow.pyfunc.log_model(
            name=MODEL_ARTIFACT,
            python_model=str(code / "serving" / "pyfunc.py"),
            artifacts={"classifier": str(judged.bundle)},
            code_paths=[str(code)],
            signature=False,  # pixels or files, which no schema of MLflow's can say: the model refuses what is neither
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in (*_REQUIREMENTS, *torchvision)],
        )
        mlflow.log_metrics(test_metrics(outcome.metrics[judged.model]), model_id=info.model_id)
        mlflow.log_artifacts(str(judged.opponent), OPPONENT_ARTIFACT)
        return str(info.model_uri), _log_checksums(info.model_uri, judged, code)


def _log_checksums(uri: str, judged: Judged, code: Path) -> str:
    """Log the checksums of the model's files as MLflow has them now; return the SHA-256 of their list.

    Raises:
        RegistryError: the code or the bundle is not what was sent there a moment ago.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="reconv-register-") as scratch:
        model = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch))
        for sent, there in ((code, model / "code" / "reconv"), (judged.bundle, model / BUNDLE_ARTIFACT)):
            check_files(there, checksums_of(sent))
        checksums = Checksums(model=checksums_of(model), opponent=checksums_of(judged.opponent))
        path = Path(scratch) / CHECKSUMS
        checksums.save(path)
        mlflow.log_artifact(str(path))
        return sha256_of_file(path)
