"""From the name of a set of images, as users type it, to the images."""

from rlgen.data.images import Images, ImageSet
from rlgen.data.synthetic import PREFIX, SyntheticImages


def open_images(source: str, short_side: int | None = None) -> Images:
    """Opens a set of images for training.

    Args:
        source: A folder, an image, a tar archive, a folder in one (``paintings.tar/vangogh``), or
            ``synthetic:KIND`` for drawn images.
        short_side: Images are resized to this shorter side; None: as they are, drawn ones 256.

    Raises:
        UserError: If there is none.
    """
    if source.startswith(PREFIX):
        return SyntheticImages(source.removeprefix(PREFIX), short_side or 256)
    return ImageSet(source, short_side=short_side)
