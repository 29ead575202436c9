from reconv.resuming import resumable_dir


def test_resumable_dir_keeps_its_content_while_the_fingerprint_is_the_same() -> None:
    (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").write_text("epoch 3")

    assert (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").read_text() == "epoch 3"


def test_resumable_dir_is_emptied_for_another_fingerprint() -> None:
    (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").write_text("epoch 3")

    assert not (resumable_dir("search-cnn", {"lr": 0.2}) / "checkpoint").exists()


def test_resumable_dirs_of_two_stages_do_not_meet() -> None:
    (resumable_dir("search-cnn", 1) / "checkpoint").write_text("epoch 3")
    resumable_dir("search-feedforward", 2)

    assert (resumable_dir("search-cnn", 1) / "checkpoint").exists()
