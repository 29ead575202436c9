"""A stage's inputs from its start to its end: checked against the whole `dvc` run, for changes, and recorded."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import reconv
from reconv.dvc.declared import Declared, declared_stages, overlap
from reconv.dvc.inputs import changes, inputs_of
from reconv.dvc.one_run import check_one_run
from reconv.dvc.recorded import check_recorded
from reconv.errors import ChangedError
from reconv.params import read_params
from reconv.running import parent_dvc
from reconv.submission.locked import LOCK, locked_stages


class StageInputs:
    """What the stage `name` (DVC's name for it) reads, as it was when this object was created.

    `values` is what params.yaml held. A stage that dvc.yaml does not know has no inputs.

    Raises:
        ChangedError: its code changed while it was imported, another stage of the same `dvc` found other parameters,
            or dvc.lock does not say what the stages before used.
    """

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        stages = declared_stages()
        self._declared = stages.get(name, Declared())
        self._inputs = inputs_of(self._declared, values)
        self._check_code_was_imported_as_it_is([out for declared in stages.values() for out in declared.outs])
        locked, dvc = locked_stages(LOCK), parent_dvc()
        if dvc is not None and name in stages:
            check_one_run(dvc, values)
            check_recorded(name, stages, locked)
        self._locked = {out["path"]: out.get("md5") for entry in locked.values() for out in entry.get("outs", ())}

    def _check_code_was_imported_as_it_is(self, made: Sequence[str]) -> None:
        """`made` are the stages' outputs, which are not imported."""
        now = time.time()  # a file server's clock may be ahead of it
        edited = [path for path, when in self._inputs.changed_at.items() if reconv.IMPORTED_AT < when <= now]
        code = [path for path in edited if not any(overlap(path, out) for out in made)]
        if code:
            raise ChangedError(f"{', '.join(code)} changed while this stage was starting. Run the same command again.")

    def verify(self) -> None:
        """Raise ChangedError if anything is no longer as it was."""
        if found := changes(self._inputs, inputs_of(self._declared, read_params())):
            raise ChangedError(
                "\n".join(["inputs changed while this stage ran, so DVC would record what it did not use:", *found])
                + "\nNothing was recorded. Run the same command again to use the new ones."
            )

    def as_record(self) -> dict[str, Any]:
        """Return values and digests, for the stage's run file: of large data the digest that dvc.lock had."""
        deps = {dep: self._inputs.digests.get(dep) or self._locked.get(dep) for dep in self._declared.deps}
        return {"params": self._inputs.params, "deps": {dep: md5 for dep, md5 in deps.items() if md5}}
