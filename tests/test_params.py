from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconv.errors import ParamsError
from reconv.params import ColumnsParams, Params, TransferParams, load_params


@pytest.fixture
def load(params_values: dict[str, Any]) -> Callable[..., Params]:
    """load("recipe.lr", 20): the tiny params.yaml with one value changed (or removed), written and loaded."""

    def write_and_load(key: str, value: Any = None, remove: bool = False) -> Params:
        *sections, name = key.split(".")
        section = params_values
        for part in sections:
            section = section[part]
        if remove:
            del section[name]
        else:
            section[name] = value
        Path("params.yaml").write_text(yaml.safe_dump(params_values), encoding="utf-8")
        return load_params()

    return write_and_load


def test_the_repositorys_params_are_valid(repository: Path) -> None:
    params = load_params(repository / "params.yaml")

    assert set(params.search.space) == {"cnn", "feedforward"}


def test_missing_file_says_where_to_run() -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml is missing: run in the project's folder"):
        load_params()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "data: [unclosed", "\x00"])
def test_file_that_holds_no_sections_is_refused(text: str) -> None:
    Path("params.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load_params()


@pytest.mark.parametrize("key", ["recipe.speed", "colour", "models.cnn.depth"])
def test_unknown_key_is_named_in_full(load: Callable[..., Params], key: str) -> None:
    with pytest.raises(ParamsError, match="unknown key") as refusal:
        load(key, 1)

    assert key in str(refusal.value).replace(".loguniform", "")


def test_columns_of_a_table_may_be_left_out_as_in_files_that_are_older_than_the_key(
    load: Callable[..., Params],
) -> None:
    assert load("data.columns", remove=True).data.columns == ColumnsParams()
    assert load("data.columns", {"path": "{id}.png"}).data.columns.path == "{id}.png"


@pytest.mark.parametrize("key", ["recipe.lr", "data", "models.cnn.widths", "register.name"])
def test_missing_key_is_named_in_full(load: Callable[..., Params], key: str) -> None:
    with pytest.raises(ParamsError, match=f"{key}: missing"):
        load(key, remove=True)


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("data.validation", 1.2, "less than 1"),
        ("data.validation", 0, "greater than 0"),
        ("data.image_size", 4, "greater than or equal to 8"),
        ("data.columns.path", "", "at least 1 character"),
        ("data.channels", 2, "'auto', 1 or 3"),
        ("augment.flip", "sometimes", "boolean"),
        ("recipe.lr", "fast", "number"),
        ("recipe.lr", 20, "less than or equal to 10"),
        ("recipe.lr", float("nan"), "finite"),
        ("recipe.batch_size", 0, "greater than or equal to 1"),
        ("recipe.batch_size", 1.5, "integer"),
        ("recipe.precision", 16, "'auto', 'bf16' or 32"),
        ("models.cnn.kernel_size", 4, "odd"),
        ("models.cnn.pooling", "median", "'max', 'average' or 'strided'"),
        ("models.cnn.dropout", 1, "less than 1"),
        ("search.reduction_factor", 1, "greater than or equal to 2"),
        ("train.num_seeds", None, "integer"),
        ("compare.confidence", 1, "less than 1"),
        ("resources.gpus_per_trial", -1, "greater than or equal to 0"),
        ("resources.train.workers", 0, "a number of workers, from 1 on, or [fewest, most]"),
        ("resources.train.workers", "1-4", "[fewest, most]"),
        ("resources.train.workers", True, "[fewest, most]"),
        ("resources.train.workers", [4, 2], "[fewest, most]"),
        ("resources.train.workers", [1, 2, 3], "[fewest, most]"),
        ("resources.gpus_per_trial", 2, "less than or equal to 1"),
        ("resources.memory_per_trial", "2 elephants", "a size such as 4GB"),
        ("resources.memory_per_trial", 0, "greater than 0"),
    ],
)
def test_value_out_of_bounds_is_named_with_key_and_bound(
    load: Callable[..., Params], key: str, value: Any, bound: str
) -> None:
    with pytest.raises(ParamsError) as refusal:
        load(key, value)

    first_line = str(refusal.value).splitlines()[0]
    assert first_line.startswith(f"{key} is {value!r}, must be ")
    assert bound in first_line


@pytest.mark.parametrize(("workers", "expected"), [(2, (2, 2)), ([1, 4], (1, 4))])
def test_workers_are_a_number_or_a_range(load: Callable[..., Params], workers: Any, expected: tuple[int, int]) -> None:
    assert load("resources.train.workers", workers).resources.train.workers == expected


def test_every_mistake_is_told_at_once(load: Callable[..., Params], params_values: dict[str, Any]) -> None:
    params_values["recipe"]["lr"] = -1

    with pytest.raises(ParamsError, match=r"(?s)recipe\.lr is -1.*train\.num_seeds is 0"):
        load("train.num_seeds", 0)


def test_epochs_of_a_trial_must_fit_into_the_budget(load: Callable[..., Params]) -> None:
    with pytest.raises(ParamsError, match=r"max_epochs \(50\) <= budget_epochs \(4\)"):
        load("search.max_epochs", 50)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", "0.1e-2", "1.e-3"])
def test_exponent_without_a_point_is_a_number(params_values: dict[str, Any], text: str) -> None:
    params_values["recipe"]["lr"] = "HERE"
    Path("params.yaml").write_text(yaml.safe_dump(params_values).replace("HERE", text), encoding="utf-8")

    assert load_params().recipe.lr == 1e-3


def test_values_cannot_be_changed_afterwards(params: Params) -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.recipe.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "domain", "reason"),
    [
        ("speed", {"uniform": [0.1, 0.2]}, "no such value"),
        ("dropout", {"uniform": [0.4, 0.1]}, "below the second"),
        ("dropout", {"uniform": [0.1, 0.1]}, "below the second"),
        ("hidden", {"integer": [64, 32]}, "below the second"),
        ("dropout", {"uniform": [0.0, 1.5]}, "less than 1"),
        ("lr", {"loguniform": [1e-3, 100]}, "less than or equal to 10"),
        ("lr", {"loguniform": [0, 1e-3]}, "greater than 0"),
        ("pooling", {"choice": ["max", "median"]}, "'strided'"),
        ("widths", {"choice": [[8], [8, 0]]}, "greater than or equal to 1"),
        ("pooling", {"choice": []}, "at least 1 item"),
        ("lr", {"normal": [0, 1]}, "{uniform: [low, high]}"),
        ("lr", {"loguniform": [1e-3, 1e-2], "step": 1}, "{uniform: [low, high]}"),
        ("lr", {"uniform": [1e-3]}, "missing"),
    ],
)
def test_search_space_that_no_trial_could_use_is_refused_by_its_full_key(
    load: Callable[..., Params], name: str, domain: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ParamsError) as refusal:
        load(f"search.space.cnn.{name}", domain)

    assert f"search.space.cnn.{name}" in str(refusal.value)
    assert reason in str(refusal.value).lower()


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("batch_size", {"uniform": [32, 256]}),  # 32.7 images are no batch
        ("hidden", {"loguniform": [8, 64]}),
        ("kernel_size", {"integer": [3, 7]}),  # 4 is even
        ("batch_norm", {"uniform": [0, 1]}),
    ],
)
def test_range_of_which_only_the_bounds_are_valid_is_refused(
    load: Callable[..., Params], name: str, domain: dict[str, Any]
) -> None:
    with pytest.raises(ParamsError, match=rf"search\.space\.cnn\.{name}"):
        load(f"search.space.cnn.{name}", domain)


def test_search_space_of_an_unknown_model_is_refused(load: Callable[..., Params]) -> None:
    with pytest.raises(ParamsError, match=r"search\.space\.transformer: known models are cnn, feedforward"):
        load("search.space.transformer", {"lr": {"uniform": [0.1, 0.2]}})


def test_search_space_without_a_model_is_refused(load: Callable[..., Params]) -> None:
    with pytest.raises(ParamsError, match=r"search\.space\.feedforward"):
        load("search.space.feedforward", remove=True)


def test_with_values_lays_them_over_recipe_and_network(params: Params) -> None:
    recipe, network = params.with_values("cnn", {"lr": 0.5, "widths": [2], "pooling": "max"})

    assert recipe == params.recipe.model_copy(update={"lr": 0.5})
    assert network == params.models.cnn.model_copy(update={"widths": (2,), "pooling": "max"})


@pytest.mark.parametrize("values", [{"lr": 20}, {"dropout": 1.5}, {"pooling": "median"}, {"speed": 1}])
def test_with_values_refuses_what_params_yaml_would_not_take(params: Params, values: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=f"cnn.*{next(iter(values))}"):
        params.with_values("cnn", values)


def test_a_network_of_torchvisions_takes_the_place_of_the_cnn(
    make_params: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]]
) -> None:
    params = make_params(of_torchvision(weights="default"))
    recipe, network = params.with_values("cnn", {"lr": 0.5, "frozen": 0.75, "model": "torchvision:resnet18"})

    assert recipe.lr == 0.5
    assert isinstance(network, TransferParams)
    assert (network.model, network.weights, network.frozen) == ("torchvision:resnet18", "default", 0.75)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "resnet18"}, "models.cnn.model is 'resnet18', must be torchvision:NAME"),
        ({"model": None}, "models.cnn.model is None, must be a valid string"),
        ({"weights": ""}, "models.cnn.weights is '', must be"),
        ({"frozen": 1.1}, "models.cnn.frozen is 1.1, must be less than or equal to 1"),
        ({"dropout": 1}, "models.cnn.dropout is 1, must be less than 1"),
        ({"widths": [8]}, "models.cnn.widths: unknown key"),
    ],
)
def test_a_mistake_in_such_a_section_is_told_as_any_other(
    load: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError) as refusal:
        load("models.cnn", of_torchvision()["models.cnn"] | values)

    assert str(refusal.value).splitlines()[0].startswith(message)


def test_a_key_that_such_a_section_lacks_is_named_in_full(
    load: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]]
) -> None:
    section = of_torchvision()["models.cnn"]
    del section["frozen"]

    with pytest.raises(ParamsError, match=r"^models\.cnn\.frozen: missing"):
        load("models.cnn", section)


def test_its_search_may_not_name_values_of_the_own_cnn(
    make_params: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]]
) -> None:
    changes = of_torchvision()
    changes["search.space.cnn"] = {"pooling": {"choice": ["max"]}}

    with pytest.raises(ValueError, match=r"search\.space\.cnn\.pooling: no such value.*frozen"):
        make_params(changes)


def test_the_example_of_the_docs_is_valid(repository: Path) -> None:
    page = (repository / "docs" / "transfer-learning.md").read_text(encoding="utf-8")
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    values = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    values["models"]["cnn"] = example["models"]["cnn"]
    values["search"]["space"]["cnn"] = example["search"]["space"]["cnn"]

    params = Params.model_validate(values)

    assert params.networks_tried("cnn") == [params.models.cnn]


@pytest.mark.parametrize(
    ("weights", "frozen", "epochs", "expected"),
    [
        ("default", 0.25, 4, 1),
        ("default", 0.25, 1, 0),
        ("default", 1.0, 3, 3),
        ("a.pth", 0.0, 3, 0),
        ("none", 1.0, 3, 0),
    ],
)
def test_frozen_is_a_share_of_the_epochs(
    of_torchvision: Callable[..., dict[str, Any]], weights: str, frozen: float, epochs: int, expected: int
) -> None:
    section = of_torchvision(weights=weights, frozen=frozen)["models.cnn"]

    assert TransferParams.model_validate(section).frozen_epochs(epochs) == expected


@pytest.mark.parametrize("name", ["a'b", 'a"b', "..", ".", "a/b", "a:b", " a", "a\nb", "\x1b[31m", "", "a" * 201])
def test_a_name_that_cannot_be_registered_is_refused_where_it_is_read(make_params, name) -> None:
    with pytest.raises(ValueError, match="a name of 1 to 200 bytes"):
        make_params({"register.name": name})


@pytest.mark.parametrize("name", ["auto", "parts", "müll sorter (v2)", "a@b", "a.b-c_d"])
def test_names_that_mlflow_takes_are_taken(make_params, name) -> None:
    assert make_params({"register.name": name}).register_.name == name
