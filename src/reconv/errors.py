"""What a user can cause. A stage ends with one such message; a traceback means that the mistake is ours."""

from reconv.masking import masked


class ReconvError(Exception):
    """An error that names the value, the bound and the remedy, and shows no password of a URI."""

    def __str__(self) -> str:
        return masked(super().__str__())


class ParamsError(ReconvError):
    """params.yaml holds a value that cannot be used."""


class DataError(ReconvError):
    """Images or labels are missing, altered or not usable."""


class ImageError(DataError):
    """One file is no image that can be used. The text goes on from the file's name: "has 0 bytes, must have 1 to …"."""


class UnavailableError(ReconvError):
    """Something outside this process (tracking server, Ray cluster, mirror) cannot be reached."""


class BusyError(UnavailableError):
    """Another process does the same here."""


class ChangedError(ReconvError):
    """Parameters, code or data changed while a stage used them, so that DVC would record what was not used."""


class ComparisonError(ReconvError):
    """The two models were not measured alike, so that a comparison would mean nothing."""


class TrainingError(ReconvError):
    """A training failed for reasons in its values: it diverged, or did not fit into memory even alone."""


class MemoryShortError(ReconvError):
    """A training did not fit into what its machine's memory had left."""

    remedy = "lower recipe.batch_size or the network's widths in params.yaml, or use a machine with more."


class DeviceMemoryShortError(MemoryShortError):
    """It did not fit into what its GPU's had left."""


class RegistryError(ReconvError):
    """The registered model has no such version or champion, or it cannot be fetched."""


class RetrainingError(ReconvError):
    """A retraining could not go on; the next one does."""


class GitError(ReconvError):
    """git is missing, or refuses to work in this folder."""


class SubmissionError(ReconvError):
    """A job could not be sent to a cluster, or its outputs could not be brought home."""
