"""How a function is told of the objects of its bucket trigger: by the names of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.buckets.s3_records import records
from runtime.config.settings import BucketTrigger
from runtime.deployment.deployment import Deployed


def arguments_for(
    deployed: Deployed, trigger: BucketTrigger, objects: Sequence[dict[str, Any]], *, region: str, at: float
) -> dict[str, Any]:
    """The arguments of one call: `with`, the objects in the shape the function asks for, and `index`.

    `objects` are `{bucket, key, event, etag, size, seq}`; `at` is now, in seconds since the epoch. A function that
    could not be described may be mended by the time it runs: it gets everything.
    """
    arguments = dict(trigger.arguments)
    wanted = "objects" if deployed.error is not None else deployed.objects_parameter(arguments)
    if wanted == "objects":
        arguments["objects"] = list(objects)
    elif wanted is not None:
        listed = records(objects, region, at, deployed.spec.name)
        arguments[wanted] = listed if wanted == "Records" else {"Records": listed}
    if trigger.index is not None and (deployed.error is not None or deployed.takes("index")):
        arguments["index"] = trigger.index
    return arguments
