"""The verdict's winner -> a version of the registered model, `champion` only if it earned it. Called by the stage
`register`; `judge` alone says what would become of it.

N test images.
"""

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import Contest, Decision, Metrics, Registration, Verdict
from reconv.data.arrays import PreparedData
from reconv.data.shards import AnyImages
from reconv.files import read_json, sha256_of_file
from reconv.model_json import read_model_json
from reconv.params import Params
from reconv.places import BASELINE, CNN, COMPARE, evaluate_dir, run_file, search_dir, seed_dir
from reconv.registry.checksums import CHECKSUMS, FILES_SHA256, Checksums, check_files, checksums_of
from reconv.registry.fetching import BUNDLE_ARTIFACT, MODEL_ARTIFACT, OPPONENT_ARTIFACT
from reconv.registry.gate import Look, contest, decide, fresh_test_note, mcnemar_p_value
from reconv.registry.ledger import look_number
from reconv.registry.reference import Reference, content_hashes, load_reference, reference_of, save_reference
from reconv.registry.registry import Registry, taken_back
from reconv.registry.version import CANDIDATE, TEST_SET, WEIGHTS_SHA256, Version
from reconv.serving.bundle import WEIGHTS, identity, read_served, write_bundle
from reconv.serving.logits import Logits, scaled_probabilities
from reconv.tracking.lineage import dvc_hashes
from reconv.tracking.opening import git_commit
from reconv.tracking.outcomes import test_metrics
from reconv.tracking.record import StageRun
from reconv.yaml_files import read_yaml

_PACKAGE = Path(__file__).parents[1]
SERVED_SEED = 0
"""Chosen before any test image was seen: the best seed on the test set would look better than it is."""
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


@dataclass(frozen=True)
class Origin:
    """MLflow's runs that a model comes from."""

    search_run: str
    trial: int
    """Of the search: the one whose values it has."""
    training_run: str


@dataclass(frozen=True)
class Outcome:
    """What the stages before have found."""

    verdict: Verdict
    metrics: dict[str, Metrics]
    predictions: dict[str, pd.DataFrame]
    """As `evaluate` writes them."""
    origins: dict[str, Origin]

    @property
    def candidate(self) -> str:
        """The model that is registered: the winner, or the more accurate one where nobody wins."""
        return self.verdict.winner or max(self.verdict.accuracy, key=self.verdict.accuracy.__getitem__)

    def temperature(self, model: str) -> float:
        """Of the served seed."""
        return self.metrics[model].temperature.seeds[SERVED_SEED]

    def logits(self, model: str) -> Logits:
        """(N, K) of the served seed."""
        table = self.predictions[model]
        of_seed = table[table["seed"] == SERVED_SEED].sort_values("image")
        return of_seed.filter(like="logit_").to_numpy(np.float32)


def _other(model: str) -> str:
    return BASELINE if model == CNN else CNN


def origin_of(model: str) -> Origin:
    """As the stages before wrote it down."""
    runs = [str(read_json(run_file(stage, model))["run_id"]) for stage in ("search", "train")]
    return Origin(runs[0], int(read_yaml(search_dir(model) / "best.yaml")["trial"]), runs[1])


def outcome_here() -> Outcome:
    """What the stages before left in results/."""
    verdict = Verdict.load(COMPARE / "verdict.json")
    models = list(verdict.accuracy)
    return Outcome(
        verdict,
        {model: Metrics.load(evaluate_dir(model) / "metrics.json") for model in models},
        {model: pd.read_parquet(evaluate_dir(model) / "predictions.parquet") for model in models},
        {model: origin_of(model) for model in models},
    )


@dataclass(frozen=True)
class Judged:
    """A candidate's bundle, and what the gate says of it."""

    model: str
    bundle: Path
    opponent: Path
    """The bundle of the other model."""
    identity: str
    reference: Reference
    champion: Version | None
    decision: Decision
    contest: Contest | None

    @property
    def is_champion(self) -> bool:
        """Already."""
        return self.champion is not None and self.champion.tags.get(CANDIDATE) == self.identity


@contextmanager
def judge(outcome: Outcome, data: PreparedData, params: Params, registry: Registry) -> Iterator[Judged]:
    """The gate's decision on the candidate, which is registered nowhere yet: the comparison is in the ledger, as its
    outcome is seen. The bundle is gone after the block."""
    model, logits_NK = outcome.candidate, outcome.logits(outcome.candidate)
    with tempfile.TemporaryDirectory(prefix="reconv-register-") as scratch:
        bundle, opponent = Path(scratch) / "classifier", Path(scratch) / "opponent"
        for out, one in ((bundle, model), (opponent, _other(model))):
            trained, temperature = seed_dir(one, SERVED_SEED), outcome.temperature(one)
            write_bundle(out, trained, temperature, data.manifest, params.data.resize, params.data.transparency)
        reference = reference_of(data, scaled_probabilities(logits_NK, outcome.temperature(model)).max(axis=1))
        save_reference(reference, bundle)
        name = identity(bundle)
        champion = registry.champion()
        answers_N = None if champion is None else _answers_of(champion, registry, data)
        rival = champion.number if champion is not None and answers_N is not None else None
        section = params.register_
        look = Look(look_number(registry, name, rival, reference), section.false_promotion, section.fresh_test_after)
        against = None
        if champion is not None and answers_N is not None:
            unseen_N = _unseen(champion, registry, data.test.images)
            labels_N = data.test.labels[unseen_N]
            candidate_N = logits_NK.argmax(axis=1)[unseen_N] == labels_N
            against = contest(candidate_N, answers_N[unseen_N] == labels_N, look, str(champion.number))
        right_N, other_N = (outcome.logits(one).argmax(axis=1) == data.test.labels for one in (model, _other(model)))
        decision = decide(outcome.verdict, look, against, mcnemar_p_value(right_N, other_N))
        judged = Judged(model, bundle, opponent, name, reference, champion, decision, against)
        yield replace(judged, decision=_of_known(judged, registry) or decision)


def _of_known(judged: Judged, registry: Registry) -> Decision | None:
    """A candidate that is the champion stays it; one that a person took back is not promoted again."""
    if judged.champion is not None and judged.is_champion:
        return Decision(alias="champion", reason=f"it is version {judged.champion.number}, the champion already")
    known = registry.candidate(judged.identity)
    reason = taken_back(registry.changes()).get(known.number) if known is not None else None
    if known is None or reason is None:
        return None
    by_hand = f"`reconv promote {known.number}` overrules that"
    return Decision(
        alias="challenger", reason=f"it is version {known.number}, which was taken back ({reason}); {by_hand}"
    )


def _answers_of(version: Version, registry: Registry, data: PreparedData) -> NDArray[np.int64] | None:
    """(N,) of the classes that a registered classifier gives the test images; None if it takes other images or knows
    other classes.

    Raises:
        RegistryError: it cannot be fetched, and whoever takes its place would do so unopposed.
    """
    from reconv.serving.answering import Answering

    answering = Answering(registry.bundle(version))
    conversion, manifest = answering.conversion, data.manifest
    takes_these = (conversion.shape, conversion.value_range) == (manifest.image_shape, manifest.value_range)
    if not takes_these or set(answering.class_names) != set(manifest.class_names):
        return None
    number_of = {name: label for label, name in enumerate(data.manifest.class_names)}
    labels_K = np.array([number_of[name] for name in answering.class_names])
    answers_N: NDArray[np.int64] = labels_K[answering.logits(data.test.images).argmax(axis=1)]
    return answers_N


def _unseen(champion: Version, registry: Registry, images_N: AnyImages) -> NDArray[np.bool_]:
    """(N,): those that the champion was not trained on, as it may have been on what another split tests with."""
    reference = load_reference(registry.bundle(champion))
    if reference is None:
        return np.ones(len(images_N), bool)
    unseen_N: NDArray[np.bool_] = ~np.isin(content_hashes(images_N), reference.development)
    return unseen_N if unseen_N.any() else np.ones(len(images_N), bool)


def register(outcome: Outcome, data: PreparedData, params: Params, run: StageRun, registry: Registry) -> Registration:
    """Log the candidate under `run`, make it a version unless it is one already, and set its alias."""
    with judge(outcome, data, params, registry) as judged:
        decision, champion = judged.decision, judged.champion
        version = registry.candidate(judged.identity) or _create(judged, outcome, run, registry)
        # What it says and its alias are set again where an interruption left them out.
        note = fresh_test_note(judged.contest) if judged.contest else ""
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
            contest=judged.contest,
            replaced=champion.number if champion is not None and is_new else None,
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
        "test_accuracy": f"{outcome.metrics[model].accuracy.seeds[SERVED_SEED]:.6f}",
        CANDIDATE: judged.identity,
        FILES_SHA256: files_sha256,
        WEIGHTS_SHA256: sha256_of_file(judged.bundle / WEIGHTS),
        TEST_SET: judged.reference.test_digest,
        **_of_torchvision(judged.bundle),
        **{f"dvc.{path}": digest for path, digest in dvc_hashes().items()},
    }
    if judged.contest is not None:
        tags["reconv.contest"] = judged.contest.model_dump_json()
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
