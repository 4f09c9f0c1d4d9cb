"""Provenance: everything needed to make the same run again, and to tell whether two runs are comparable."""

import platform
import time
from importlib.metadata import version
from typing import Any

from steersman.model.loaded import Model
from steersman.studies.configuring import StudyConfig
from steersman.version import VERSION

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


def provenance(
    model: Model,
    config: StudyConfig,
    command: str,
    started: str,
    seconds: dict[str, float],
    data: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return versions, model, seeds, data hashes and times as plain data.

    Args:
        model: the model.
        config: what was asked.
        command: how it was called.
        started: when, ISO 8601.
        seconds: by stage; of the last call only, where a run was continued.
        data: by set, its source, sha256 and n.
    """
    return {
        "command": command,
        **environment(model),
        "seeds": {"study, learning and bootstrap": config.seed, "drawn controls, from": config.seed + 1},
        "data": data,
        "seconds": seconds,
        "started": started,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def environment(model: Model) -> dict[str, Any]:
    """Return the versions and the model as plain data."""
    return {
        "versions": {
            "steersman": VERSION,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "model": {
            "id": model.name,
            "revision": model.revision,
            "chat_template_hash": model.template,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "layers": model.depth,
            "width": model.width,
        },
    }
