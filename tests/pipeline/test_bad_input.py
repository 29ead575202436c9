"""What a user can get wrong: one clear message, an exit code that is not 0, nothing half-written."""

import os
import subprocess
import time

import pytest
from project_folder import change_params

UNUSED_PORT = 9  # discard: nothing listens there


def assert_stopped(done, *words):
    assert done.returncode == 1
    assert "stopped:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.max_epochs": 0}, ["train.max_epochs is 0", "greater than or equal to 1"]),
        ({"train.max_epoch": 5}, ["train.max_epoch", "unknown key"]),
        ({"data.validation": 1.2}, ["data.validation is 1.2", "less than 1"]),
        ({"data.source": "fashion-mnits"}, ["fashion-mnits", "fashion-mnist", "folder:PATH"]),
        ({"search.budget_epochs": 1}, ["max_epochs (2)", "budget_epochs (1)"]),
    ],
)
def test_a_bad_value_is_refused_before_any_work(project, run_stage, changes, words):
    change_params(project, changes)
    assert_stopped(run_stage("fetch"), *words, "params.yaml")
    assert not (project / "data").exists()


def test_a_missing_key_is_named(project, run_stage):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  num_seeds: 2\n", ""))
    assert_stopped(run_stage("fetch"), "train.num_seeds: missing")


def test_a_folder_that_is_not_there_is_named(project, run_stage):
    change_params(project, {"data.source": "folder:no-such-folder"})
    assert_stopped(run_stage("fetch"), "no-such-folder", "params.yaml")


def test_an_altered_raw_file_is_named_with_the_remedy(project, run_stage):
    assert run_stage("fetch").returncode == 0
    (project / "data" / "raw" / "images.parquet").write_bytes(b"altered")
    assert_stopped(run_stage("prepare"), "images.parquet", "SHA-256", "Delete data/raw")
    assert not (project / "data" / "prepared" / "manifest.json").exists()


def test_a_class_too_small_for_the_split_is_named(project, run_stage):
    for image in sorted((project / "images" / "left").iterdir())[2:]:
        image.unlink()
    assert run_stage("fetch").returncode == 0
    assert_stopped(run_stage("prepare"), '"left"', "at least 2")


@pytest.mark.parametrize("stage", [("fetch",), ("search", "cnn")])
def test_a_tracking_server_that_does_not_answer_is_named_within_seconds(run_stage, stage):
    began = time.monotonic()
    done = run_stage(*stage, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{UNUSED_PORT}")
    assert_stopped(done, f"http://127.0.0.1:{UNUSED_PORT}", "MLFLOW_TRACKING_URI")
    assert time.monotonic() - began < 30


def test_a_password_in_the_tracking_uri_is_not_printed(run_stage):
    done = run_stage("fetch", MLFLOW_TRACKING_URI=f"http://someone:secret@127.0.0.1:{UNUSED_PORT}")
    assert_stopped(done)
    assert "secret" not in done.stdout


def test_a_cluster_that_does_not_answer_is_named_within_seconds(run_stage):
    began = time.monotonic()
    done = run_stage("search", "cnn", RAY_ADDRESS=f"127.0.0.1:{UNUSED_PORT}")
    assert_stopped(done, f"127.0.0.1:{UNUSED_PORT}", "RAY_ADDRESS")
    assert time.monotonic() - began < 30


def test_a_stage_without_its_input_says_which_command_makes_it(run_stage):
    assert_stopped(run_stage("prepare"), "data/raw/source.json is missing", "dvc repro")


def test_a_full_disk_is_named_and_nothing_half_written_stays(project, run_stage):
    assert run_stage("fetch").returncode == 0
    full = project / "data" / "prepared"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        done = run_stage("prepare")
        assert_stopped(done, "No space left on device", "Free space")
        assert not list(full.glob(".*"))  # temporary names
        assert not (full / "manifest.json").exists()
    finally:
        subprocess.run(["umount", str(full)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(project, run_stage):
    (project / "images" / "left").chmod(0)
    assert_stopped(run_stage("fetch"), "left", "permissions")
