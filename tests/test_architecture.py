"""The rules of the design that no single module can keep, read from the source: who imports whom, which library has
which owner, and that dvc.yaml declares what its stages run and read.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "reconv"
PIPELINE = REPOSITORY / "pipeline"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py") if path.stem != "__init__"
)
OTHERS = {"retrain", "own_python"}  # in pipeline/, beside the stages
SCRIPTS = sorted(path.stem for path in PIPELINE.glob("*.py") if path.stem not in OTHERS)

BASE = {
    *("errors", "masking", "domains", "params", "artifacts", "files", "yaml_files", "model_json", "places", "resuming"),
    "untrusted",
}
# Part of the package (a folder or a module) -> the parts, or single modules of them, that it may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "errors": {"masking"},
    "interruption": set(),
    "git": {"errors"},
    "environment": {"git", "places"},
    "masking": set(),
    "untrusted": set(),
    "domains": set(),
    "params": {"errors", "domains", "yaml_files"},
    "files": {"errors", "masking", "untrusted"},
    "yaml_files": {"errors", "files"},
    "artifacts": {"domains", "errors", "files"},
    "model_json": {"artifacts", "domains", "params"},
    "places": set(),
    "resuming": {"files", "places"},
    "running": {"errors", "interruption", "places"},
    "local_server": {"errors"},
    "dead_locks": {"errors", "files"},
    "repro": {"dead_locks", "running"},
    "console": {"masking", "places", "training.observer", "untrusted"},
    "training_logs": {"files", "places", "training.observer"},
    "data": BASE,
    "models": BASE,
    "training": BASE | {"data", "models"},
    "search": BASE | {"data", "training"},
    "evaluation": BASE | {"data", "models", "training", "serving.logits"},
    "explain": BASE | {"data", "models"},
    "study": BASE | {"data", "models", "training", "evaluation", "serving.logits"},
    "report": BASE | {"evaluation"},
    "tracking": BASE | {"git", "training.observer"},
    "serving": BASE | {"data", "models"},
    "registry": BASE | {"data", "serving", "tracking"},
    "exporting": {"errors", "files", "model_json", "places", "data.arrays", "serving.answering", "serving.bundle"},
    "cluster_decoding": BASE | {"data", "training.cluster", "training.ray_data"},
    "submission": BASE | {"dead_locks", "environment", "git", "tracking"},
    "prediction": BASE | {"data", "serving", "training.cluster", "training.precision", "training.ray_data"},
    "retraining": BASE | {"data", "dead_locks", "registry", "repro", "running", "serving", "submission", "tracking"},
    "reproducing": BASE | {"data", "submission", "tracking", "training"},
    "inspection": BASE | {"data"},
    "devices": {"errors", "training.precision"},
    "doctor": BASE
    | {
        "data.remote",
        "data.spec",
        "devices",
        "environment",
        "git",
        "registry",
        "tracking",
        "training.cluster",
        "training.session_folder",
    },
    "demo": {
        "errors",
        "places",
        "data.decoding",
        "explain.gradcam",
        "registry.resolving",
        "report.pictures",
        "serving",
    },
    "cli": BASE
    | {
        "console",
        "data.gate",
        "dead_locks",
        "demo",
        "doctor",
        "environment",
        "exporting",
        "inspection",
        "interruption",
        "local_server",
        "prediction",
        "registry",
        "repro",
        "reproducing",
        "retraining",
        "tracking",
    },
    "dvc": BASE | {"running", "submission.locked"},
    "stage": BASE
    | {
        "console",
        "dvc",
        "environment",
        "interruption",
        "running",
        "tracking",
        "training.cluster",
        "training.head",
        "training.observer",
        "training.session_folder",
        "training_logs",
    },
}
# Library -> the only parts that import it.
OWNERS: dict[str, set[str]] = {
    "ray": {"training", "search", "cluster_decoding", "prediction", "submission"},
    "mlflow": {"tracking", "registry", "serving"},
    "yaml": {"params", "yaml_files"},
    "onnx": {"exporting"},
    "onnx_ir": {"exporting"},
    "onnxruntime": {"exporting"},
    "dvc": set(),
}
# Runs with torch and Lightning alone.
PORTABLE = [module for module in MODULES if module.startswith(("data.", "models."))] + ["training.fit"]
HEAVY = {"ray", "mlflow", "dvc"}
# A change in these moves no number of any output, so that no stage need run again for it: what reads params and files
# (their formats are checked when they are read), what a person or MLflow sees, and where a training runs.
PLUMBING = {
    "masking",
    "errors",
    "environment",
    "git",
    "interruption",
    "domains",
    "params",
    "artifacts",
    "model_json",
    "places",
    "resuming",
    "running",
    "dvc.__init__",
    "dvc.declared",
    "dvc.inputs",
    "dvc.one_run",
    "dvc.recorded",
    "dvc.stage_inputs",
    "submission.__init__",
    "submission.locked",
    "files",
    "yaml_files",
    "untrusted",
    "console",
    "stage",
    "tracking.courier",
    "tracking.delivery",
    "tracking.filters",
    "tracking.journal",
    "tracking.local_store",
    "tracking.machine",
    "tracking.opening",
    "tracking.remedies",
    "tracking.server",
    "tracking.lineage",
    "tracking.record",
    "tracking.outcomes",
    "tracking.trainings",
    "training.job",
    "training.observer",
    "training.cluster",
    "training.head",
    "training.ray_data",
    "training.room",
    "training.threads",
    "training.delivery",
    "training.nodes",
    "training.session_folder",
    "training.energy",
    "training.memory",
    "training.sharing",
    "training.shortage",
    "training_logs",
    "cluster_decoding",
    "training.precision",  # of evaluate, which takes from it the device alone
    "report.summary",  # of register, for the terminal
}


@cache
def imports_of(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Modules of reconv, and libraries, that a file imports: also inside functions and under `if TYPE_CHECKING`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}".startswith("reconv")}
    ours = {name.removeprefix("reconv.") for name in names if name.startswith("reconv.")}
    # A package's own names are defined in its __init__, which is a module too.
    modules = {name for name in ours if name in MODULES} | {
        f"{name}.__init__" for name in ours if (SOURCE / name / "__init__.py").is_file()
    }
    return frozenset(modules), frozenset(name.split(".")[0] for name in names if not name.startswith("reconv"))


def path_of(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


def part_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def closure(start: Path) -> set[str]:
    """All modules of reconv that `start` imports, and these, and so on."""
    found: set[str] = set()
    pending = set(imports_of(start)[0])
    while pending:
        module = pending.pop()
        found.add(module)
        pending |= imports_of(path_of(module))[0] - found
    return found


@pytest.mark.parametrize("module", [*MODULES, "models.__init__"])
def test_imports_point_one_way(module: str) -> None:
    part = part_of(module)
    imported = {name for name in imports_of(path_of(module))[0] if part_of(name) != part}

    refused = {name for name in imported if not {name, part_of(name)} & ALLOWED[part]}
    assert refused == set(), f"{part} may import {sorted(ALLOWED[part])}"


def test_the_rule_itself_has_no_circle() -> None:
    parts = {part: {part_of(name) for name in names} for part, names in ALLOWED.items()}
    ordered: list[str] = []
    while len(ordered) < len(parts):
        free = [part for part in parts if part not in ordered and parts[part] <= set(ordered)]
        assert free, f"a circle among {sorted(set(ALLOWED) - set(ordered))}"
        ordered += free


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_has_one_owner(library: str) -> None:
    users = {part_of(module) for module in MODULES if library in imports_of(path_of(module))[1]}

    assert users == OWNERS[library]


@pytest.mark.parametrize("module", MODULES)
def test_text_reaches_a_terminal_by_way_of_its_two_owners(module: str) -> None:
    """Who prints by itself forgets that a class may be called ESC ]0;owned."""
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }

    assert module in ("console", "cli.conduct") or not called & {"print", "click.echo", "click.secho"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_stage_scripts_leave_the_libraries_to_their_owners(script: str) -> None:
    assert not imports_of(PIPELINE / f"{script}.py")[1] & {*OWNERS, "torch", "pytorch_lightning"}


@pytest.mark.parametrize("module", PORTABLE)
def test_training_needs_neither_ray_nor_mlflow_nor_dvc(module: str) -> None:
    for imported in {module} | closure(path_of(module)):
        assert not imports_of(path_of(imported))[1] & HEAVY, imported


def test_nothing_heavy_is_loaded_by_a_training_process() -> None:
    script = (
        "import sys, reconv.training.fit, reconv.data.packing; print(sorted({'ray','mlflow','dvc'}&set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.strip() == "[]"


def test_drivers_start_without_torch() -> None:
    """What fetch, prepare, compare, search and train import before they start."""
    drivers = ("fetch", "prepare", "compare", "search", "train")
    script = "import sys\n" + "\n".join(
        f"import {', '.join(sorted(top_level_imports(name)))}\nif 'torch' in sys.modules: sys.exit('torch: {name}')"
        for name in drivers
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")


def top_level_imports(script: str) -> set[str]:
    """At its top, or first under `if __name__ == "__main__"`."""
    tree = ast.parse((PIPELINE / f"{script}.py").read_text(encoding="utf-8"))
    body = [part for node in tree.body for part in (node.body if isinstance(node, ast.If) else [node])]
    return {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_stage_script_is_short(script: str) -> None:
    assert len((PIPELINE / f"{script}.py").read_text(encoding="utf-8").splitlines()) <= 40


def stages() -> dict[str, dict]:
    return yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def script_of(stage: dict) -> Path:
    return REPOSITORY / stage["cmd"].split()[1]


def test_every_script_is_a_stage() -> None:
    assert {script_of(stage).stem for stage in stages().values()} == set(SCRIPTS)


# DVC runs the others each time, whatever they depend on.
RUN_ON_CHANGES = [name for name, stage in stages().items() if not stage.get("always_changed")]


@pytest.mark.parametrize("name", RUN_ON_CHANGES)
def test_a_stage_depends_on_its_script(name: str) -> None:
    stage = stages()[name]

    assert str(script_of(stage).relative_to(REPOSITORY)) in stage["deps"]


@pytest.mark.parametrize("name", RUN_ON_CHANGES)
def test_declared_files_of_ours_exist(name: str) -> None:
    declared = [dep for dep in stages()[name]["deps"] if dep.startswith(("src/", "pipeline/"))]

    assert [dep for dep in declared if not (REPOSITORY / dep).exists()] == []


@pytest.mark.parametrize("name", RUN_ON_CHANGES)
def test_a_stage_depends_on_the_code_that_decides_its_outputs(name: str) -> None:
    stage = stages()[name]
    declared = [REPOSITORY / dep for dep in stage["deps"]]
    needed = {path_of(module) for module in closure(script_of(stage)) - PLUMBING}

    undeclared = {path for path in needed if not any(path.is_relative_to(dep) for dep in declared)}
    assert sorted(str(path.relative_to(REPOSITORY)) for path in undeclared if path.stat().st_size) == []


@pytest.mark.parametrize("name", RUN_ON_CHANGES)
def test_a_stage_declares_the_params_that_it_reads(name: str) -> None:
    declared = [str(param) for param in stages()[name].get("params", [])]

    undeclared = {
        read for read in params_read_by(script_of(stages()[name])) if not any(covers(param, read) for param in declared)
    }
    assert undeclared == set()


@pytest.mark.parametrize("name", stages())
def test_where_it_runs_repeats_no_stage(name: str) -> None:
    assert not any(str(param).startswith("resources") for param in stages()[name].get("params", []))


def params_read_by(script: Path) -> set[str]:
    """Dotted keys under `params`, also of what the functions that are given the whole params read of them."""
    read: set[str] = set()
    paths = [script]
    if passes_whole_params(script):
        paths += [path_of(module) for module in imports_of(script)[0] - {"stage"}]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (key := key_of(node)):
                read.add(key)
    sections = {"data", "augment", "recipe", "models", "search", "train", "evaluate", "compare", "register"}
    longest = {key for key in read if not any(other.startswith(f"{key}.") for other in read)}
    return {key for key in longest if key.split(".")[0] in sections}


def passes_whole_params(script: Path) -> bool:
    """Whether `params` or `this.params` is an argument of a call."""
    return any(
        isinstance(argument, ast.Name | ast.Attribute) and ast.unparse(argument) in ("params", "this.params")
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for argument in node.args
    )


def key_of(node: ast.Attribute) -> str | None:
    """`params.train.num_seeds` -> train.num_seeds; params.network(...) -> models."""
    head, dot, key = ast.unparse(node).removeprefix("this.").removeprefix("settings.").partition(".")
    if head != "params" or not dot:
        return None
    return "models" if key.startswith(("network", "with_values")) else key.replace("register_", "register")


def covers(declared: str, read: str) -> bool:
    """A section covers its keys; models.MODEL is all that a stage of that model reads of models."""
    if read == "models":
        return declared.startswith("models")
    return read == declared or read.startswith(f"{declared}.")
