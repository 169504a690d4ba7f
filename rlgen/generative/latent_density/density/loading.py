"""Loading a saved density of any kind; nothing in the folder is executed."""

import json
from pathlib import Path

from safetensors import SafetensorError

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density.base import DENSITIES, LatentDensity


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
        raise UserError(f"cannot read {path / 'config.json'}: {_short(error)}") from None
    kinds = {DENSITIES[key].__name__: DENSITIES[key] for key in DENSITIES}
    if name not in kinds:
        raise UserError(f"{folder} holds a {name}, not one of {', '.join(sorted(kinds))}")
    try:
        density, loaded = kinds[name].from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        absent = [*loaded["missing_keys"], *loaded["unexpected_keys"]]
        if absent:
            raise ValueError(f"its weights do not fit its config: {absent[0]}")
        if not all(bool(tensor.isfinite().all()) for tensor in density.state_dict().values()):
            raise ValueError("it has numbers that are not finite")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AttributeError,
        ImportError,  # of what a config asks for, such as a quantization
        SafetensorError,
    ) as error:
        raise UserError(f"cannot read {folder}: {_short(error)}") from None
    return density.eval()


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
