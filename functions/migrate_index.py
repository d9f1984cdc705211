"""An index to another embedding model or engine, a step at a time, so that new documents are not held up."""

from __future__ import annotations

import time
from typing import Any

from runtime.context import Context, Migration
from runtime.errors import BadInput

STEP_SECONDS = 15.0
"""A call works so long, then it puts the rest at the end of the queue."""

STEP_SHARE = 0.25
"""And never for more than this part of its time limit: what comes after the last batch takes longer."""


LEAST_RECALL = 0.99


def migrate_index(
    index: str = "default",
    model: str = "",
    run: str = "",
    engine: str = "",
    recall: float = LEAST_RECALL,
    *,
    context: Context,
) -> Migration:
    """Embed every document of an index again with `model`, in the background, and switch over when all are there.

    The old version answers and takes new documents until then. `model` is a name of functions.yaml; without one, what
    came in other models' vectors is brought to the model that the index has. With `engine` (faiss or qdrant) nothing is
    embedded: the index is built there from its batches, and must find as many of the ten nearest as `recall` says.
    `run` is the call that began it. Raises BadInput.
    """
    if not 0 <= recall <= 1:
        raise BadInput(f"recall is a share, from 0 to 1; it is {recall:g}.")
    if model and engine:
        raise BadInput("An index goes to another model or to another engine; name one of them, then the other.")
    began = time.monotonic()
    left = context.time_left()
    seconds = STEP_SECONDS if left is None else min(STEP_SECONDS, left * STEP_SHARE)

    def stop() -> bool:
        return time.monotonic() - began > seconds or context.should_stop()

    run = run or context.id
    if engine:
        step = context.index.move(
            index, engine, recall=recall, run=run, task=context.id, stop=stop, report=context.progress
        )
        return _ended(step, context, run=run, engine=engine, recall=recall)
    current = context.index.current(index)  # not what was known a moment ago: a rollback may have changed the model
    name = model or (current.model if current else "") or context.index.model(index).name
    models = context.models.get(name) if name else context.models
    step = context.index.migrate(index, models, run=run, task=context.id, stop=stop, report=context.progress)
    return _ended(step, context, model=model, run=run)


def _ended(step: Migration, context: Context, **arguments: Any) -> Migration:
    """Say how far it is, and have the rest done by another call."""
    index = step.index
    for damage in step.damaged:
        context.log.warning("index %s: %s", index, damage)
    context.log.info("index %s in %s: %s, %d of %d batches", index, step.model, step.state, step.done, step.total)
    if step.state == "running" and not context.stop_asked():
        context.submit(context.function, index=index, **arguments)
    return step
