"""What a retraining does when there is something new: drift, the pipeline, the gate. Called by `retrain`."""

from collections.abc import Callable

from reconv.artifacts import RawSource, Registration, Verdict
from reconv.data.arrays import PreparedData
from reconv.errors import ParamsError, RetrainingError
from reconv.masking import masked
from reconv.params import Params
from reconv.places import COMPARE, RAW, REGISTERED
from reconv.registry.gate import fresh_test_note
from reconv.registry.judging import judge
from reconv.registry.opening import open_registry
from reconv.registry.outcome import outcome_here
from reconv.registry.reference import load_reference
from reconv.registry.version import Version
from reconv.retraining.cost import cost_of
from reconv.retraining.drift import drift, new_images
from reconv.retraining.record import NOTHING_BUT_REGISTER, Changes, Draft, Ended
from reconv.retraining.workspace import planned, ran_since, run
from reconv.serving.answering import Answering
from reconv.submission.locked import LOCK, locked_stages
from reconv.submission.submit import Submission
from reconv.tracking.server import tracking_uri

Say = Callable[[str], None]


class Work:
    """Of one retraining, whose `draft` is told what it finds."""

    def __init__(self, params: Params, draft: Draft, say: Say, show: Say, dry_run: bool, submit: bool) -> None:
        self._params = params
        self._draft = draft
        self._say, self._show = say, show
        self._dry_run, self._submit = dry_run, submit
        if submit:
            _check_registry_is_shared(params)
        self._registry = open_registry(params)

    def run(self, changes: Changes) -> Ended:
        """Raises ReconvError if it cannot go on."""
        target = "compare" if self._dry_run else "register"
        goes_on = " · goes on where the last one was interrupted" if self._draft.resumed else ""
        self._say(f"new: {changes.text}{goes_on}")
        self._say(f"runs {', '.join(planned([target])) or 'nothing but what follows'}")
        champion = self._registry.champion()
        self._draft.note(champion_before=champion.number if champion else None)
        before = locked_stages(LOCK)
        try:
            self._make(target, changes, champion)
        finally:
            ran = ran_since(before)
            self._draft.note(stages=tuple(ran), cost=cost_of(ran, self._params.report))
        self._draft.note(verdict=Verdict.load(COMPARE / "verdict.json").text)
        return self._would_be(champion) if self._dry_run else self._is(champion)

    def _make(self, target: str, changes: Changes, champion: Version | None) -> None:
        """New images are looked at before hours are spent on them, unless a cluster does the work; what the registry
        lost is registered from what is here."""
        submits = self._submit and changes != NOTHING_BUT_REGISTER
        if submits:
            run(["fetch"])
            self._send(target)
        elif changes.data:
            run(["prepare"])
        if changes.data and champion:
            self._look_for_drift(champion)
        if not submits:
            run([target])

    def _send(self, target: str) -> None:
        """As a job whose name is another one for other images: the same schedule that fires twice joins it."""
        occasion = RawSource.load(RAW / "source.json").digest
        if not Submission([target], self._say, self._show, occasion).run():
            raise RetrainingError("the job did not succeed: its lines above say why. The next run goes on.")

    def _look_for_drift(self, champion: Version) -> None:
        if champion.warning:
            self._say(champion.warning)
        bundle = self._registry.bundle(champion)
        reference = load_reference(bundle)
        if reference is None:
            self._say(f"version {champion.number} is from before its images were kept: drift is not known")
            return
        data = PreparedData()
        fresh = new_images(data, reference)
        found = drift(fresh, data.manifest, reference, Answering(bundle))
        self._draft.note(drift=found)
        drifted = "; ".join(one.text for one in found if one.has_drifted)
        if drifted:
            self._say(f"{fresh.count:,} new images, unlike those that the champion was trained on: {drifted}")
        elif found:
            self._say(f"{fresh.count:,} new images, like those that the champion was trained on")

    def _is(self, before: Version | None) -> Ended:
        registration = Registration.load(REGISTERED)
        self._registry.version(str(registration.version))  # or the cluster's is another one
        contest, champion = registration.contest, self._registry.champion()
        self._draft.note(
            reason=registration.reason,
            contest=contest,
            screen=registration.screen,
            note=fresh_test_note(contest) if contest else "",
            champion_after=champion.number if champion else None,
        )
        is_another = champion is not None and (before is None or champion.number != before.number)
        return "promoted" if is_another else "kept"

    def _would_be(self, before: Version | None) -> Ended:
        with judge(outcome_here(), PreparedData(), self._params, self._registry) as judged:
            decision, _, contest, screen = judged.judgement
            self._draft.note(
                reason=decision.reason,
                contest=contest,
                screen=screen,
                note=fresh_test_note(contest) if contest else "",
                champion_after=before.number if before else None,
            )
            is_better = decision.alias == "champion" and not judged.is_champion
            return "would be promoted" if is_better else "would be kept"


def _check_registry_is_shared(params: Params) -> None:
    """Lest a job's champion be registered where nobody looks."""
    uri = tracking_uri(params.resources)
    if not uri.startswith(("http://", "https://")):
        raise ParamsError(
            f"MLflow's records are in {masked(uri)}, must be on a server for `reconv retrain --submit`: the cluster "
            "registers models there. Set MLFLOW_TRACKING_URI or resources.tracking_uri to one that both reach."
        )
