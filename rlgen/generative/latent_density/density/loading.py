"""Loading a saved density of any kind; nothing in the folder is executed."""

import json
from pathlib import Path

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density.base import DENSITIES, LatentDensity
from rlgen.generative.loading import load_network, short


def load_density(folder: str | Path) -> LatentDensity:
    """Loads what ``save_pretrained`` of a density wrote, in eval mode.

    Args:
        folder: A local folder; no network is used.

    Raises:
        UserError: If it is not there, of another kind, or damaged.
    """
    path = Path(folder)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        name = str(config["_class_name"])
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no latent density (config.json); name a folder that save_pretrained "
            "wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path / 'config.json'}: {short(error)}") from None
    kinds = {DENSITIES[key].__name__: DENSITIES[key] for key in DENSITIES}
    if name not in kinds:
        raise UserError(f"{folder} holds a {name}, not one of {', '.join(sorted(kinds))}")
    density: LatentDensity = load_network(kinds[name], path)
    return density
