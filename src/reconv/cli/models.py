"""reconv models, promote, rollback: the registered model's versions, and which of them is served."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconv.cli.conduct import as_json, echo, named, print_json, say_warning, table, well_behaved
from reconv.untrusted import printable

if TYPE_CHECKING:
    from reconv.registry.registry import Registry
    from reconv.registry.version import Version

_DIGITS = 8
_SHOWN_CHANGES = 5


@click.group(invoke_without_command=True)
@named
@as_json
@click.pass_context
@well_behaved
def models(context: click.Context, name: str | None, wants_json: bool) -> None:
    """List the registered versions, and which one is champion.

    Each with its accuracy, what the gate said of it, and its lineage: commit, data, runs, trial.

    \b
    Examples:
      reconv models
      reconv models --json | jq '.versions[0].lineage'
      reconv models verify champion --out served
    """
    if context.invoked_subcommand is None:
        _list(name, wants_json)


@models.command()
@click.argument("version", default="champion")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for a checked copy to serve from.")
@named
@well_behaved
def verify(version: str, out: Path | None, name: str | None) -> None:
    """Check a version's files and code against the checksums in the registry.

    VERSION is a number or an alias. MLflow runs the code that is stored with a model unchecked: serve the copy that
    --out writes, and keep it where only you can write.

    \b
    Examples:
      reconv models verify 3
      reconv models verify champion --out served
      mlflow models serve -m served --env-manager local
    """
    from reconv.errors import RegistryError

    registry = _registry(name)
    found = registry.version(version)
    if not found.has_checksums:
        raise RegistryError(f"{registry.name} {found.warning}")
    if out is None:
        registry.verify(found)
    else:
        if out.exists():
            raise RegistryError(f"--out is {out}, which exists already: name a new folder.")
        registry.copy_model(found, out)
    copied = f"; the checked copy is in {out}" if out else ""
    echo(f"{registry.name} version {found.number}: all files match their checksums{copied}")


def _list(name: str | None, wants_json: bool) -> None:
    registry = _registry(name)
    versions, changes = [_described(version) for version in registry.versions()], registry.changes()
    if wants_json:
        print_json({"name": registry.name, "versions": versions, "changes": [asdict(change) for change in changes]})
        return
    if not versions:
        echo(f"no version of {registry.name} is registered yet: `reconv run` registers the winner.")
        return
    echo(f"{_as_table(versions)}\n")
    for change in changes[-_SHOWN_CHANGES:]:
        echo(f"{change.at}  version {change.version} {change.kind}: {printable(change.reason)}")


@click.command()
@click.argument("version")
@click.option("--reason", required=True, help="Why; it is recorded.")
@named
@as_json
@well_behaved
def promote(version: str, reason: str, name: str | None, wants_json: bool) -> None:
    """Make a version the champion, whatever the gate said.

    VERSION is a number or an alias.

    \b
    Examples:
      reconv promote 3 --reason "tried on the line for a week"
    """
    registry = _registry(name)
    before, after = registry.champion(), registry.version(version)
    _check(registry, after)
    registry.promote(after, "by hand", reason)
    _say_change(registry, before, after, wants_json)


@click.command()
@click.option("--reason", required=True, help="Why; it is recorded.")
@named
@as_json
@well_behaved
def rollback(reason: str, name: str | None, wants_json: bool) -> None:
    """Make the champion before the present one champion again.

    The next retraining promotes no copy of the one that is taken back.

    \b
    Examples:
      reconv rollback --reason "takes wet scratches for dents"
    """
    registry = _registry(name)
    before, after = registry.roll_back(reason, lambda version: _check(registry, version))
    _say_change(registry, before, after, wants_json)


def _registry(name: str | None) -> "Registry":
    from reconv.params import load_params
    from reconv.registry.opening import open_registry

    return open_registry(load_params(), name)


def _check(registry: "Registry", version: "Version") -> None:
    """Refuse a version whose files are not those that were registered."""
    registry.verify(version)
    say_warning(version.warning)


def _say_change(registry: "Registry", before: "Version | None", after: "Version", wants_json: bool) -> None:
    number = before.number if before else None
    if wants_json:
        print_json({"name": registry.name, "champion": after.number, "before": number})
    elif number == after.number:
        echo(f"{registry.name} version {after.number} is champion already")
    else:
        instead = f", instead of version {number}" if number else ""
        echo(f"{registry.name} version {after.number} is champion{instead}")


def _described(version: "Version") -> dict[str, Any]:
    tags = version.tags
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "model": tags.get("model", ""),
        "has_checksums": version.has_checksums,
        "test_accuracy": float(tags["test_accuracy"]) if "test_accuracy" in tags else None,
        "contest": json.loads(tags["reconv.contest"]) if "reconv.contest" in tags else None,
        "screen": json.loads(tags["reconv.screen"]) if "reconv.screen" in tags else None,
        "registered": time.strftime("%Y-%m-%d %H:%M", time.localtime(version.created)),
        "lineage": {
            "git_commit": tags.get("git_commit", ""),
            "data_digest": tags.get("data_digest", ""),
            "run": version.run_id,
            "pipeline_run": tags.get("pipeline_run", ""),
            **{key: tags.get(key, "") for key in ("training_run", "search_run", "trial")},
        },
        "description": version.description,
    }


def _as_table(versions: list[dict[str, Any]]) -> str:
    rows = [
        [
            "version",
            "",
            "model",
            "test accuracy",
            "against the champion",
            "registered",
            "files",
            "commit",
            "data",
            "run",
        ]
    ]
    for one in versions:
        lineage, test = one["lineage"], one["contest"] or one["screen"]
        accuracy = "" if one["test_accuracy"] is None else f"{one['test_accuracy']:.2%}"
        against = ""
        if test:
            points = 100 * (test["accuracy"] - test["champion_accuracy"])
            against = f"{points:+.2f} points over version {test['champion']}, p {test['p_value']:.2g}"
            against += "" if one["contest"] else " (validation images: screened out)"
        rows.append(
            [
                str(one["version"]),
                ", ".join(one["aliases"]),
                one["model"],
                accuracy,
                against,
                one["registered"],
                "checksums" if one["has_checksums"] else "no checksums",
                lineage["git_commit"][:_DIGITS],
                lineage["data_digest"][:_DIGITS],
                lineage["run"][:_DIGITS],
            ]
        )
    return table(rows)
