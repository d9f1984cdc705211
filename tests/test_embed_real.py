"""Documents in, answers out, on the real store, the real broker, the real model and the real index."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
import redis

from functions.embed_all import embed_all
from functions.embed_batch import embed_batch
from runtime.config.settings import StoreSettings
from runtime.context import Context, ObjectEvent
from runtime.embedding.backend import SentenceTransformerModels
from runtime.errors import BadInput
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from runtime.testing import fake_context
from tests import documents

FILES = {
    "über uns + mehr.txt": "Die Bäckerei öffnet um sieben Uhr und verkauft Brot und Brötchen.".encode(),
    "sub folder/volcano.pdf": documents.pdf("Volcanoes erupt when magma rises", "through cracks in the crust."),
    "tax.docx": documents.word("The income tax return is due at the end of July.", heading="Taxes"),
    "page.html": b"<title>Tides</title><body><p>The moon causes the tides of the sea.</p></body></html>",
    "broken.pdf": b"%PDF-1.4 nothing more",
}


@pytest.fixture
def context(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Context:
    store = MinioStore(store_settings.model_copy(update={"bucket": f"tundish-{uuid4().hex[:12]}"}))
    store.ensure_bucket(store.bucket)
    index = FaissIndex(store, redis_client, tmp_path / "cache")
    return fake_context("embed_batch", store=store, index=index, models=SentenceTransformerModels())


def test_files_become_answers(context: Context, store_settings: StoreSettings, tmp_path: Path) -> None:
    bucket = f"docs-{uuid4().hex[:12]}"
    store = MinioStore(store_settings.model_copy(update={"bucket": context.store.bucket}))
    store.ensure_bucket(bucket)
    for key, data in FILES.items():
        store.put(bucket, key, data)
    events = [ObjectEvent(bucket, key, seq=context.index.next_seq("default")) for key in FILES]
    result = embed_batch(None, events, context=context)
    assert (result.documents, [failure.key for failure in result.failed]) == (4, ["broken.pdf"])
    assert store.head(store.bucket, f"{result.path}rows.msgpack").size > 0
    assert embed_batch(None, events, context=context).reused
    context.index.build("default")
    reader = IndexReader(store, tmp_path / "reader")
    reader.refresh("default")
    for question, key in (
        ("lava and eruptions", "sub folder/volcano.pdf"),
        ("when must I file my taxes?", "tax.docx"),
        ("why is there ebb and flow?", "page.html"),
        ("Wann öffnet die Bäckerei?", "über uns + mehr.txt"),
    ):
        [hit] = reader.search("default", context.models.embed([question])[0], 1).hits
        assert (hit.bucket, hit.key) == (bucket, key)
    store.delete(bucket, "tax.docx")
    gone = ObjectEvent(bucket, "tax.docx", "removed", seq=context.index.next_seq("default"))
    embed_batch(None, [gone], context=context)
    context.index.build("default")
    reader.refresh("default")
    hits = reader.search("default", context.models.embed(["taxes"])[0], 10).hits
    assert "tax.docx" not in {hit.key for hit in hits}


def test_a_bucket_that_is_not_there(context: Context) -> None:
    with pytest.raises(BadInput, match="There is no bucket nowhere"):
        embed_all("nowhere", context=context)
    [failure] = embed_batch(None, [ObjectEvent("nowhere", "a.txt")], context=context).failed
    assert "There is no object a.txt in the bucket nowhere" in failure.reason
