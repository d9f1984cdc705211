"""The store: does it answer, are the buckets there, and does it do what publishing a version stands on?"""

from __future__ import annotations

import uuid

from runtime.doctor.finding import CannotTell, Verdicts, fail, ok, told, warn
from runtime.doctor.patient import Patient
from runtime.errors import BadInput, PreconditionFailed, StoreDenied, TundishError
from runtime.store.port import MinioStore

_FOLDER = "doctor/"
_CANNOT = (
    "Use a server that can: MinIO, Silo, RustFS, SeaweedFS and S3 do. Otherwise two builds at once can publish "
    "different indexes under one version."
)


def answers(patient: Patient) -> Verdicts:
    """It answers, takes our keys, and has the buckets."""
    if patient.store_trouble:
        yield fail(*told(patient.store_trouble))
        return
    store = MinioStore(patient.store)
    wanted = dict.fromkeys((store.bucket, *patient.settings.project.buckets()))
    missing = [name for name in wanted if not store.bucket_exists(name)]
    for name in missing:
        yield warn(
            f"There is no bucket {name}.",
            f"`tundish up` makes it where the keys allow that; else: mc mb ALIAS/{name}",
        )
    if not missing:
        yield ok(f"{store.server_name(store.bucket) or 'it'} answers; buckets {', '.join(wanted)}")


def conditional(patient: Patient) -> Verdicts:
    """A probe object that is created twice, and replaced by somebody who does not know it: both must be refused."""
    if patient.store_trouble:
        raise CannotTell("the store does not answer")
    store, key = MinioStore(patient.store), f"{_FOLDER}{uuid.uuid4().hex}"
    if not store.bucket_exists(store.bucket):
        raise CannotTell(f"there is no bucket {store.bucket}")
    try:
        etag = store.put(store.bucket, key, b"probe", create_only=True)
    except (StoreDenied, BadInput) as error:
        found, _ = told(str(error))
        yield fail(f"Nothing can be written: {found}", "Give MINIO_ACCESS_KEY the right to write and to delete.")
        return
    try:
        ignored = [
            header
            for header, refused in (
                ("If-None-Match", _refused(store, key, create_only=True)),
                ("If-Match", _refused(store, key, if_match="0" * len(etag or "0"))),
            )
            if not refused
        ]
    finally:
        yield from _removed(store, key)
    for header in ignored:
        yield fail(f"The store ignores {header}: it overwrote the probe {store.bucket}/{key}.", _CANNOT)
    if not ignored:
        yield ok("If-None-Match and If-Match are honoured")


def _refused(store: MinioStore, key: str, *, create_only: bool = False, if_match: str | None = None) -> bool:
    try:
        store.put(store.bucket, key, b"probe again", create_only=create_only, if_match=if_match)
    except PreconditionFailed:
        return True
    return False


def _removed(store: MinioStore, key: str) -> Verdicts:
    try:
        store.delete(store.bucket, key)
    except TundishError as error:
        yield warn(
            f"The probe {store.bucket}/{key} could not be removed ({error!s:.120}).",
            "Remove it by hand, and give MINIO_ACCESS_KEY the right to delete: cleanup needs it, too.",
        )
