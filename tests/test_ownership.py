"""Whose an object is: by the longest place that its key begins with, and by nothing that anybody says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.callers.ownership import Owners
from runtime.config.load import load_settings
from runtime.config.settings import BucketTrigger, Function, Project
from runtime.errors import ConfigError

PLACES = ("", "acme/", "acme/deep/", "in/", "in/globex/", "b")
TENANTS = ("acme", "globex", "default", "{prefix}")
PARTS = ("acme", "globex", "in", "deep", "b", "bb", "..x", "-")


def project(*triggers: BucketTrigger, **tenants: list[str]) -> Project:
    function = Function(name="note", handler="f.py:note", buckets=triggers)
    return Project(
        queues={},
        functions={"note": function},
        tenants={name: {"objects": places} for name, places in tenants.items()},
    )


def trigger(prefix: str = "", tenant: str | None = None, bucket: str = "docs") -> BucketTrigger:
    return BucketTrigger(bucket=bucket, prefix=prefix, tenant=tenant)


def test_without_tenants_everything_is_of_the_default_one() -> None:
    owners = Owners(project(trigger(), trigger("a/")))
    assert not owners.divided
    assert owners.of("docs", "a/b") == owners.of("elsewhere", "x") == "default"
    assert owners.whole("default", "docs", "")


def test_the_first_folder_behind_the_prefix_names_a_tenant() -> None:
    owners = Owners(project(trigger("in/", "{prefix}")))
    assert owners.divided
    assert owners.of("docs", "in/acme/a.txt") == "acme"
    assert owners.of("docs", "in/acme/deep/a.txt") == "acme"
    for key in ("in/a.txt", "acme/a.txt", "in/-x/a.txt", "in//a.txt", "in/a b/c"):
        assert owners.of("docs", key) == "default", key
    assert owners.places("acme") == ["docs/in/acme/"]


def test_the_longest_place_decides() -> None:
    owners = Owners(project(trigger(tenant="{prefix}"), trigger("acme/", "shared"), globex=["docs/acme/deep"]))
    assert owners.of("docs", "acme/a") == "shared"
    assert owners.of("docs", "acme/deep/a") == "globex"
    assert owners.of("docs", "acme/deeper") == "shared"  # a place is a folder
    assert owners.of("docs", "other/a") == "other"
    assert owners.places("globex") == ["docs/acme/deep/", "docs/globex/"]


@given(
    triggers=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(TENANTS)), max_size=4, unique_by=lambda p: p[0]
    ),
    named=st.dictionaries(
        st.sampled_from(("acme", "globex")), st.sampled_from(("docs", "docs/acme/", "docs/in")), max_size=2
    ),
    prefix=st.lists(st.sampled_from(PARTS), max_size=2),
    rest=st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    slash=st.booleans(),
    tenant=st.sampled_from(("acme", "globex", "default", "in")),
)
def test_a_prefix_that_is_wholly_a_tenants_has_nothing_of_others(
    triggers: list[tuple[str, str]],
    named: dict[str, str],
    prefix: list[str],
    rest: list[str],
    slash: bool,
    tenant: str,
) -> None:
    owners = Owners(project(*(trigger(*one) for one in triggers), **{name: [place] for name, place in named.items()}))
    begin = "/".join(prefix) + ("/" if prefix and slash else "")
    if owners.whole(tenant, "docs", begin):
        assert owners.of("docs", begin + "/".join(rest)) == tenant


@pytest.mark.parametrize(
    ("written", "path", "message"),
    [
        ("tenants: {a: {objects: [shop]}, b: {objects: [shop]}}", "tenants.b.objects", "is the tenant a's already"),
        ("tenants: {a: {objects: [tundish/x]}}", "tenants.a.objects", "where Tundish keeps its own objects"),
        ('tenants: {"*": {objects: [shop]}}', "tenants.*.objects", "objects are of one tenant"),
        ("tenants: {a: {objects: [shop/../x]}}", "tenants.a.objects", "is no place"),
        ("tenants: {a b: {}}", "tenants.a b", ""),
        ("tenants: {a: {rates: 5/s}}", "tenants.a.rates", "did you mean rate?"),
        ("tenants: {a: {quota: {call: 5}}}", "tenants.a.quota.call", "did you mean calls?"),
        ("tenants: {a: {quota: {per: week}}}", "tenants.a.quota.per", "day"),
    ],
)
def test_what_is_wrong_with_tenants_is_told(tmp_path: Path, written: str, path: str, message: str) -> None:
    found = problems(tmp_path, "{bucket: shop}", written)
    assert path in found, found
    assert message in found[path]


def test_triggers_on_one_place_agree_whose_it_is(tmp_path: Path) -> None:
    found = problems(tmp_path, "{bucket: shop, tenant: a}, {bucket: shop, suffix: .txt, tenant: b}")
    assert found == {"functions.take.triggers[1].tenant": "another trigger on shop/ has tenant: a; they must agree"}
    assert problems(tmp_path, "{bucket: shop, tenant: a}, {bucket: shop, suffix: .txt}") == {}
    assert "tenant" in str(problems(tmp_path, "{bucket: shop, tenant: a b}"))
    assert "tenant" in str(problems(tmp_path, '{cron: "@daily", tenant: "{prefix}"}'))


def problems(folder: Path, triggers: str, more: str = "") -> dict[str, str]:
    (folder / "shop.py").write_text("def take(objects: list): ...\n")
    file = folder / "functions.yaml"
    file.write_text(f"version: 1\nfunctions:\n  take:\n    handler: shop.py:take\n    triggers: [{triggers}]\n{more}\n")
    try:
        load_settings({}, file=file)
    except ConfigError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}
