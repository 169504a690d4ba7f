"""Sets of images on disk or drawn, and the batches that training draws from them."""

from rlgen.data.images import Batches, Images, ImageSet, crop, read_image, to_tensor, to_uint8
from rlgen.data.sources import open_images
from rlgen.data.synthetic import SyntheticImages

__all__ = [
    "Batches",
    "ImageSet",
    "Images",
    "SyntheticImages",
    "crop",
    "open_images",
    "read_image",
    "to_tensor",
    "to_uint8",
]
