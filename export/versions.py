"""What made an exported file, for its card."""

import platform
from importlib.metadata import version

import onnxruntime
import torch


def versions() -> dict[str, str]:
    """Versions of this package and of what it exports with, by name."""
    return {
        "specktrack": version("specktrack"),
        "torch": torch.__version__,
        "onnx": version("onnx"),
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }
