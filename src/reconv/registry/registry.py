"""Versions of the registered model and who of them is champion, in MLflow's registry.

The alias `champion` says who is served. Tags of the registered model keep each change of it, one tag for each, so that
a champion can be taken back.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from reconv.errors import RegistryError
from reconv.params import registered_name
from reconv.registry.changes import CHANGE, Change, Kind, changes_in, former_champions
from reconv.registry.fetching import Fetcher
from reconv.registry.version import CANDIDATE, CHALLENGER, CHAMPION, Version
from reconv.tracking.filters import quoted
from reconv.untrusted import without_links

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

_MOST_CHARACTERS = 4000
_MISSING = "RESOURCE_DOES_NOT_EXIST"


class Registry:
    """The versions of the registered model `name`, which need not exist yet.

    Raises:
        RegistryError: the name is not allowed.
    """

    def __init__(self, client: "MlflowClient", name: str) -> None:
        try:
            self.name = registered_name(name)
        except ValueError as error:
            raise RegistryError(f"the registered model's name is {name!r}, must be {error}.") from None
        self._client = client
        self._fetcher = Fetcher(client, name)

    def exists(self) -> bool:
        found = self._client.search_registered_models(f"name = {quoted(self.name)}", max_results=1)
        return bool(found)

    def versions(self) -> list[Version]:
        """The newest first."""
        found = {int(one.version): one for one in self._client.search_model_versions(f"name = {quoted(self.name)}")}
        # A search does not fill the aliases in.
        aliases: dict[int, list[str]] = {}
        for alias, version in (self._model().aliases if found else {}).items():
            aliases.setdefault(int(version), []).append(alias)
        return [_version(found[number], aliases.get(number, [])) for number in sorted(found, reverse=True)]

    def version(self, wanted: str) -> Version:
        """By its number or an alias.

        Raises:
            RegistryError: there is none.
        """
        versions = self.versions()
        for one in versions:
            if wanted in (str(one.number), *one.aliases):
                return one
        if not versions:
            raise RegistryError(f"no model is registered as {self.name}: `reconv run` registers one.")
        known = ", ".join(f"{one.number}{''.join(f' ({alias})' for alias in one.aliases)}" for one in versions)
        remedy = " `reconv promote VERSION --reason TEXT` makes one champion." if wanted == CHAMPION else ""
        raise RegistryError(f"{self.name} has no version {wanted!r}; there is {known}.{remedy}")

    def champion(self) -> Version | None:
        return next((one for one in self.versions() if one.is_champion), None)

    def candidate(self, identity: str) -> Version | None:
        """The newest version that gives the same answers."""
        return next((one for one in self.versions() if one.tags.get(CANDIDATE) == identity), None)

    def create(self, source: str, tags: Mapping[str, str]) -> Version:
        """A new version of what MLflow keeps at `source`, with its tags from its first moment on."""
        import mlflow

        return _version(mlflow.register_model(source, self.name, tags=dict(tags)), [])

    def bundle(self, version: Version) -> Path:
        """Return its classifier's folder on this machine, fetched once and checked every time.

        Raises:
            RegistryError: it cannot be had, or is not what was registered.
        """
        return self._fetcher.bundle(version)

    def opponent(self, version: Version) -> Path:
        """Return the folder of the classifier that it was compared with; errors as of `bundle`."""
        return self._fetcher.opponent(version)

    def copy_model(self, version: Version, out: Path) -> None:
        """Write all that MLflow would load and run of it to the new folder `out`, checked; errors as of `bundle`."""
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".reconv-", dir=out.parent) as temporary:
            self._fetcher.model(version, Path(temporary)).replace(out)

    def verify(self, version: Version) -> None:
        """Raises RegistryError unless all that MLflow would load and run of it is what was registered."""
        with TemporaryDirectory(prefix="reconv-verify-") as temporary:
            self._fetcher.model(version, Path(temporary))

    def changes(self) -> list[Change]:
        """Of who is champion, the first first."""
        return changes_in(self._tags())

    def promote(self, version: Version, kind: Kind, reason: str) -> None:
        """Make it champion; nothing if it is."""
        before, changes = self.champion(), self.changes()
        if before is not None and before.number == version.number:
            return
        if before is not None and (not changes or changes[-1].version != before.number):
            changes.append(self._keep(len(changes) + 1, before.number, "by hand", "not by reconv, or interrupted"))
        self._client.set_registered_model_alias(self.name, CHAMPION, str(version.number))
        if CHALLENGER in version.aliases:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)
        self._keep(len(changes) + 1, version.number, kind, reason)

    def _keep(self, number: int, version: int, kind: Kind, reason: str) -> Change:
        change = Change(version, kind, reason[:_MOST_CHARACTERS], utc_now())
        self.note(f"{CHANGE}{number:06d}", asdict(change))
        return change

    def challenge(self, version: Version) -> None:
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(version.number))

    def roll_back(self, reason: str, check: Callable[[Version], None] | None = None) -> tuple[Version, Version]:
        """Make the previous champion champion again, if `check` does not raise for it; return the old and the new
        one.

        Raises:
            RegistryError: there was none.
        """
        before = self.champion()
        if before is None:
            raise RegistryError(f"{self.name} has no champion that could be taken back.")
        stack = former_champions(self.changes(), before.number)
        present = {one.number: one for one in self.versions()}
        known = [number for number in stack if number in present]
        if not known:
            raise RegistryError(
                f"{self.name} version {before.number} is the first champion: there is none to go back to. "
                "`reconv promote VERSION` makes another version champion."
            )
        after = present[known[-1]]
        if check is not None:
            check(after)
        self.promote(after, "rolled back", reason)
        return before, after

    def describe(self, version: Version, text: str) -> None:
        self._client.update_model_version(self.name, str(version.number), without_links(text)[:_MOST_CHARACTERS])

    def tag(self, version: Version, key: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, str(version.number), key, value)

    def note(self, key: str, value: Mapping[str, Any]) -> None:
        """A tag of the registered model, which is made if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_registered_model_tag(self.name, key, json.dumps(value))
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            self._client.create_registered_model(self.name)
            self._client.set_registered_model_tag(self.name, key, json.dumps(value))

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Tags of the registered model, by what follows the prefix."""
        return {
            key.removeprefix(prefix): json.loads(value)
            for key, value in sorted(self._tags().items())
            if key.startswith(prefix)
        }

    def _tags(self) -> Mapping[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._model().tags)
        except MlflowException as error:
            if error.error_code == _MISSING:
                return {}
            raise

    def _model(self) -> Any:
        return self._client.get_registered_model(self.name)


def _version(found: "ModelVersion", aliases: list[str]) -> Version:
    return Version(
        number=int(found.version),
        aliases=tuple(sorted(aliases)),
        run_id=found.run_id or "",
        tags=dict(found.tags),
        description=found.description or "",
        created=found.creation_timestamp / 1000,
    )


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
