"""OpenVINO without its telemetry."""

from __future__ import annotations

import sys
from typing import Any, cast


def openvino() -> Any:
    """The library. By itself it tells its maker of every import and every conversion, over the network, until somebody
    declines that on each machine; where it does not find the package for it, it tells nobody."""
    modules = cast("dict[str, object]", sys.modules)
    modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino
