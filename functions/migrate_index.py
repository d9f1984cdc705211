"""An index from one embedding model to another, a step at a time, so that new documents are not held up."""

from __future__ import annotations

import time

from runtime.context import Context, Migration

STEP_SECONDS = 15.0
"""A call works so long, then it puts the rest at the end of the queue."""

STEP_SHARE = 0.25
"""And never for more than this part of its time limit: what comes after the last batch takes longer."""


def migrate_index(index: str = "default", model: str = "", run: str = "", *, context: Context) -> Migration:
    """Embed every document of an index again with `model`, in the background, and switch over when all are there.

    The old version answers and takes new documents until then. `model` is a name of functions.yaml; without one, what
    came in other models' vectors is brought to the model that the index has. `run` is the call that began it.
    Raises BadInput.
    """
    began = time.monotonic()
    left = context.time_left()
    seconds = STEP_SECONDS if left is None else min(STEP_SECONDS, left * STEP_SHARE)

    def stop() -> bool:
        return time.monotonic() - began > seconds or context.should_stop()

    current = context.index.current(index)  # not what was known a moment ago: a rollback may have changed the model
    name = model or (current.model if current else "") or context.index.model(index).name
    models = context.models.get(name) if name else context.models
    run = run or context.id
    step = context.index.migrate(index, models, run=run, task=context.id, stop=stop, report=context.progress)
    for damage in step.damaged:
        context.log.warning("index %s: %s", index, damage)
    context.log.info("index %s in %s: %s, %d of %d batches", index, step.model, step.state, step.done, step.total)
    if step.state == "running" and not context.stop_asked():
        context.submit(context.function, index=index, model=model, run=run)
    return step
