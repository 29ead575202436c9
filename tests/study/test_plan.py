import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from reconv.artifacts import Manifest
from reconv.models.size import count_parameters_of
from reconv.params import CnnParams, FeedforwardParams, Params
from reconv.study.plan import match_parameters, num_trainings, parse, plan
from reconv.training.job import TrainingJob

NOTHING_FOUND: dict[str, dict[str, Any]] = {"cnn": {}, "feedforward": {}}


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    tiny = {"max_epochs": 2, "num_seeds": 2, "train_images": 1000, "perturbed_images": 10}
    return make_params({"study.profiles": {"tiny": tiny}, "study.shares": [0.25]})


@pytest.fixture
def jobs(params: Params, manifest: Manifest) -> dict[str, TrainingJob]:
    return plan(params, NOTHING_FOUND, manifest)


def test_every_seed_has_each_variant(jobs: dict[str, TrainingJob], params: Params) -> None:
    variants = {(variant, model) for variant, model, _ in map(parse, jobs)}

    both = {(variant, model) for variant in ("base", "permuted", "share-0.25") for model in ("cnn", "feedforward")}
    assert variants == both | {("untied", "cnn"), ("pooled", "cnn"), ("matched", "feedforward")}
    assert len(jobs) == 2 * len(variants) == num_trainings(params.study)
    assert all(job.seed == parse(name)[2] for name, job in jobs.items())


def test_a_variant_differs_in_one_thing(jobs: dict[str, TrainingJob]) -> None:
    base, permuted, untied = (jobs[f"{variant}-cnn-0"] for variant in ("base", "permuted", "untied"))

    assert (base.pixel_order, permuted.pixel_order) == (None, 0)
    assert (base.network, base.recipe) == (permuted.network, permuted.recipe)
    assert isinstance(base.network, CnnParams)
    assert dataclasses.replace(untied, network=base.network) == base  # few images: all of them
    assert untied.network == base.network.model_copy(update={"shared_weights": False})


@pytest.mark.parametrize(("weights", "own"), [("default", {("scratch", "cnn")}), ("none", set())])
def test_a_network_of_torchvisions_has_the_variants_that_any_network_has(
    make_params: Callable[..., Params],
    of_torchvision: Callable[..., dict[str, Any]],
    manifest: Manifest,
    weights: str,
    own: set[tuple[str, str]],
) -> None:
    params = make_params(of_torchvision(weights=weights))

    jobs = plan(params, NOTHING_FOUND, manifest)

    both = {(variant, model) for variant in ("base", "permuted", "share-0.5") for model in ("cnn", "feedforward")}
    assert {parse(name)[:2] for name in jobs} == both | {("matched", "feedforward")} | own
    assert num_trainings(params.study) - 2 <= len(jobs) <= num_trainings(params.study)
    if own:
        base, scratch = jobs["base-cnn-0"], jobs["scratch-cnn-0"]
        assert base.network.model_copy(update={"weights": "none"}) == scratch.network


def test_an_untied_network_sees_the_smallest_share_that_is_enough(params: Params, manifest: Manifest) -> None:
    many = {"tiny": params.study.size.model_copy(update={"train_images": 1_000_000})}
    study = params.study.model_copy(update={"profiles": many, "shares": (0.01, 0.1, 0.3)})
    counts = {**manifest.counts, "train": 54_000}

    jobs = plan(
        params.model_copy(update={"study": study}), NOTHING_FOUND, manifest.model_copy(update={"counts": counts})
    )

    untied, shared = jobs["untied-cnn-0"], jobs["share-0.1-cnn-0"]
    assert dataclasses.replace(untied, network=shared.network) == shared


def test_the_best_values_are_the_base(params: Params, manifest: Manifest) -> None:
    jobs = plan(params, {"cnn": {"lr": 0.02, "pooling": "max"}, "feedforward": {"lr": 0.03}}, manifest)

    assert (jobs["base-cnn-0"].recipe.lr, jobs["base-feedforward-0"].recipe.lr) == (0.02, 0.03)
    assert "unpooled-cnn-0" in jobs
    assert jobs["matched-feedforward-0"].recipe.lr == 0.02  # the CNN's recipe


def test_fewer_images_are_seen_more_often(jobs: dict[str, TrainingJob]) -> None:
    part = jobs["share-0.25-cnn-0"]

    assert (part.train_share, part.epochs) == (0.25, 4)


def test_a_large_set_is_cut_to_the_profiles_images(params: Params, manifest: Manifest) -> None:
    counts = {**manifest.counts, "train": 4000}
    jobs = plan(params, NOTHING_FOUND, manifest.model_copy(update={"counts": counts}))

    assert jobs["base-cnn-0"].train_share == 0.25
    assert jobs["share-0.25-cnn-0"].train_share == 0.0625


@pytest.mark.parametrize("widths", [(16,), (512, 256), (64, 64, 64)])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_parameters_are_matched_within_ten_percent(
    params: Params, manifest: Manifest, widths: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    cnn = params.models.cnn.model_copy(update={"widths": (32, 64, 128), "hidden": 128})
    of_shape = manifest.model_copy(update={"image_shape": shape})
    feedforward = params.models.feedforward.model_copy(update={"widths": widths})

    matched = match_parameters(cnn, feedforward, of_shape)

    assert isinstance(matched, FeedforwardParams)
    assert len(matched.widths) == len(widths)
    goal = count_parameters_of(cnn, shape, manifest.num_classes)
    assert count_parameters_of(matched, shape, manifest.num_classes) == pytest.approx(goal, rel=0.1)


def test_an_untied_network_that_is_too_large_is_left_out(params: Params, manifest: Manifest) -> None:
    large = params.models.cnn.model_copy(update={"widths": (64, 512)})
    models = params.models.model_copy(update={"cnn": large})

    jobs = plan(
        params.model_copy(update={"models": models}),
        NOTHING_FOUND,
        manifest.model_copy(update={"image_shape": (224, 224, 3)}),
    )

    assert "untied-cnn-0" not in jobs
    assert "base-cnn-0" in jobs
