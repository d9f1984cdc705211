"""What the store's client raises, as errors that a person can act on. No message holds a credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import BadInput, ObjectMissing, PreconditionFailed, StoreDenied, StoreDown, TundishError
from runtime.store.library import load

_MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload"}
_CONDITION = {"PreconditionFailed", "ConditionalRequestConflict"}
_DENIED = {
    "AccessDenied",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidTokenId",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}


@contextmanager
def translated(endpoint: str, bucket: str = "", key: str = "") -> Iterator[None]:
    """Turn errors of minio and urllib3 into ours, naming the endpoint, the bucket and the key."""
    try:
        yield
    except TundishError:
        raise
    except Exception as error:
        told = _translation(error, endpoint, bucket, key)
        if told is None:
            raise
        raise told from error


def _translation(error: Exception, endpoint: str, bucket: str, key: str) -> TundishError | None:
    """What to raise instead; None for an error of somebody else. The libraries are imported only here: the first call
    of a process that needs neither of them answers 0.1 s sooner so."""
    load()
    import urllib3.exceptions
    from minio.error import MinioException, S3Error

    if isinstance(error, S3Error):
        return _from_code(endpoint, bucket, key, str(error.code), str(error.message), error.response.status)
    if isinstance(error, MinioException):  # an answer that is not S3: a proxy, another kind of server
        return StoreDown(
            f"The store at {endpoint} gave an answer that S3 does not give: {error}. "
            "Check that MINIO_ENDPOINT names an S3 server, and MINIO_SECURE."
        )
    if isinstance(error, (urllib3.exceptions.HTTPError, OSError)):
        return StoreDown(
            f"The store at {endpoint} did not answer ({_reason(error)}). "
            "Check MINIO_ENDPOINT and that the S3 server is running."
        )
    if isinstance(error, ValueError):  # minio's own check of bucket names and endpoints
        return BadInput(f"The store cannot be asked for {_place(bucket, key)}: {error}.")
    return None


def missing(endpoint: str, bucket: str, key: str) -> ObjectMissing:
    """The error of a key that no object has."""
    return ObjectMissing(f"There is no {_place(bucket, key)} in the store at {endpoint}.")


def _from_code(endpoint: str, bucket: str, key: str, code: str, message: str, status: int) -> TundishError:
    place = _place(bucket, key)
    if code == "NoSuchBucket":
        return ObjectMissing(f"There is no bucket {bucket!r} in the store at {endpoint}.")
    if code in _MISSING or (status == 404 and code != "MethodNotAllowed"):
        return missing(endpoint, bucket, key)
    if code in _CONDITION or status == 412:
        return PreconditionFailed(f"Another writer was first: {place} exists already, or is not the one that was read.")
    if code in _DENIED or status in (401, 403):
        return StoreDenied(
            f"The store at {endpoint} refused the credentials for {place} ({code}). "
            "Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY, and the clocks of both machines."
        )
    if status >= 500:
        return StoreDown(
            f"The store at {endpoint} could not serve {place}: {code}: {message.rstrip('. ')}. Look at its log."
        )
    return BadInput(f"The store at {endpoint} refused {place}: {code}: {message}")


def _place(bucket: str, key: str) -> str:
    if not bucket:
        return "the list of buckets"
    return f"object {_short(key)} in bucket {bucket!r}" if key else f"bucket {bucket!r}"


def _short(key: str) -> str:
    return repr(key if len(key) <= 200 else key[:197] + "…")


def _reason(error: Exception) -> str:
    """The innermost cause: the client wraps 'connection refused' several times over."""
    cause = getattr(error, "reason", None) or error
    text = str(cause).rsplit(": ", 1)[-1]
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
