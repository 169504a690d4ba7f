"""Reading saved pipelines of diffusers; nothing in a folder is executed, no network is used."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rlgen.core.errors import UserError

INDEX = "model_index.json"
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    AttributeError,
    ImportError,  # of what a config asks for, such as a quantization
    SafetensorError,
)


def find_pipeline(folder: str | Path) -> Path:
    """Returns the pipeline's folder: the one named, or ``pipeline/`` in a run's."""
    path = Path(folder)
    if not (path / INDEX).is_file() and (path / "pipeline" / INDEX).is_file():
        return path / "pipeline"
    return path


def read_index(folder: str | Path, train: str) -> dict[str, Any]:
    """Returns the index of a saved pipeline.

    Args:
        folder: What ``save_pretrained`` wrote, or a run folder of training.
        train: How such a model is trained, for the message.

    Raises:
        UserError: If there is none or it is damaged.
    """
    path = find_pipeline(folder) / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        str(index["_class_name"])
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no trained pipeline ({INDEX}); name a finished run of "
            f"python -m rlgen.train {train}, or a folder that save_pretrained wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {short(error)}") from None
    return index


def load_network(kind: Any, folder: Path) -> Any:
    """Loads one network of a pipeline, in eval mode.

    Args:
        kind: Its class, a diffusers ``ModelMixin``.
        folder: Its folder.

    Raises:
        UserError: If it is damaged or does not fit.
    """
    try:
        network, loaded = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        absent = [*loaded["missing_keys"], *loaded["unexpected_keys"]]
        if absent:
            raise ValueError(f"its weights do not fit its config: {absent[0]}")
        if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
            raise ValueError("it has weights that are not finite")
    except _DAMAGED as error:
        raise UserError(f"cannot read {folder}: {short(error)}") from None
    return network.eval()


def short(error: BaseException) -> str:
    """Returns an error's text in one line of at most 160 characters."""
    return " ".join(str(error).split())[:160] or type(error).__name__
