"""The pretrained weights that trainings begin with, tried by the driver of a stage before hours of work."""

from collections.abc import Callable, Iterable

from reconv.artifacts import Manifest
from reconv.params import NetworkParams, TransferParams


def weights_digests(
    networks: Iterable[NetworkParams], manifest: Manifest, say: Callable[[str], None]
) -> list[str | None]:
    """SHA-256 of the weights of each network of torchvision's, None for one without; nothing for other networks.

    Each network is built and its weights are loaded, once; what is not on this machine is downloaded. `say` is told of
    each before.

    Raises:
        ParamsError: no such network, or no such file.
        DataError: weights are altered, of another network, or cannot be downloaded.
    """
    of_torchvision = [network for network in dict.fromkeys(networks) if isinstance(network, TransferParams)]
    if not of_torchvision:
        return []
    from reconv.models.pretrained import load_pretrained  # torch: other networks' drivers need not import it
    from reconv.models.transfer import build_transfer, input_shape_of

    digests = []
    for network in of_torchvision:
        say(f"{network.model}, weights: {network.weights}")
        seen = input_shape_of(network, manifest.image_shape)
        digests.append(load_pretrained(build_transfer(network, seen, manifest.num_classes), network))
    return digests
