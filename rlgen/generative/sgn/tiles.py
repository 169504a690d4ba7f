"""Images that do not fit into memory: tiles that join without a seam.

Inside the network only two things look at the whole image: instance normalisations and the means
that the CCAMs pool. Both are taken from a small copy of the image, once; what is left is
convolutions, which look no further than :func:`halo` pixels. Tiles that overlap by that much are
exactly what the whole image would give under the same statistics. (Statistics of a small copy for
the tiles of a large image: thumbnail instance normalisation, Chen et al., 2022.)
"""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rlgen.data import to_tensor, to_uint8
from rlgen.generative.sgn.generator import MULTIPLE, SGNGenerator

UInt8Array = npt.NDArray[np.uint8]
MARGIN = 32  # pixels; what padding inside the network does to a border reaches about as far


def halo(generator: SGNGenerator) -> int:
    """Returns how many pixels around a tile its inside depends on, a multiple of 4."""
    # In pixels of the image: stem 3, down 1 + 2, two convolutions of radius 1 at a quarter of the
    # resolution per block, up 4 + 2, out 3; rounded up.
    return 8 * int(generator.config["n_blocks"]) + 16


@torch.no_grad()
def translate(
    generator: SGNGenerator, image: UInt8Array, sym: torch.Tensor, tile: int = 1024
) -> UInt8Array:
    """Translates one image of any size.

    The image is mirrored beyond its borders first, and cut back after: the zeros with which the
    network's strided convolutions pad would show as stripes along the borders.

    Args:
        generator: The network.
        image: (height, width, 3), 8 pixels or more each way.
        sym: Sym-parameter (d,).
        tile: Images larger than this, in pixels each way, are cut into tiles of this size.

    Returns:
        Of the image's shape.
    """
    sym = sym.to(generator.device)
    height, width = image.shape[:2]
    padded = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
    if max(height, width) <= tile:
        result = to_uint8(generator(_to(generator, padded), sym))[0]
    else:
        result = _in_tiles(generator, padded, sym, tile)
    return result[MARGIN : MARGIN + height, MARGIN : MARGIN + width]


def _in_tiles(
    generator: SGNGenerator, image: UInt8Array, sym: torch.Tensor, tile: int
) -> UInt8Array:
    tile = max(tile // MULTIPLE, 1) * MULTIPLE
    small = Image.fromarray(image)
    small.thumbnail((tile, tile), Image.Resampling.BICUBIC)
    thumbnail = _to(generator, _at_least(np.asarray(small), MULTIPLE * 2))
    margin = halo(generator)
    result = np.empty_like(image)
    with generator.using_statistics(generator.statistics(thumbnail, sym)):
        for top in _starts(image.shape[0], tile):
            for left in _starts(image.shape[1], tile):
                y, x = max(top - margin, 0), max(left - margin, 0)
                bottom, right = top + tile, left + tile
                patch = image[y : bottom + margin, x : right + margin]
                out = to_uint8(generator(_to(generator, patch), sym))[0]
                inside = out[top - y : bottom - y, left - x : right - x]
                result[top:bottom, left:right] = inside
    return result


def _starts(length: int, tile: int) -> range:
    return range(0, length, tile)


def _to(generator: SGNGenerator, image: UInt8Array) -> torch.Tensor:
    batch = to_tensor([image])
    return batch.to(generator.device, generator.dtype, memory_format=torch.channels_last)


def _at_least(image: UInt8Array, side: int) -> UInt8Array:
    """Enlarges what would be a strip too thin for the network."""
    height, width = image.shape[:2]
    if min(height, width) >= side:
        return image
    size = (max(width, side), max(height, side))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
