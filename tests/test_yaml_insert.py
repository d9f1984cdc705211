"""One more function in a functions.yaml that somebody wrote by hand: everything else stays, byte by byte."""

from __future__ import annotations

import pytest

from runtime.config.yaml_insert import NotInserted, insert_function

ENTRY = "new:\n  handler: functions/new.py:new\n  triggers: [{http: {}}]\n"
PLAIN = "  new:\n    handler: functions/new.py:new\n    triggers: [{http: {}}]\n"
OLD = "version: 1\nfunctions:\n  old:\n    handler: a.py:b\n"

CASES = {
    "at the end": (OLD, OLD + "\n" + PLAIN),
    "no newline at the end": (OLD.rstrip(), OLD + "\n" + PLAIN),
    "blank lines at the end": (OLD + "\n\n", OLD + "\n" + PLAIN + "\n\n"),
    "a key below": (
        OLD + "\n# limits\nlimits: {body: 1MiB}\n",
        OLD + "\n" + PLAIN + "\n# limits\nlimits: {body: 1MiB}\n",
    ),
    "comments that belong to the last function": (
        OLD + "    # retries: {max: 3}\n\n  # spare:\n  #   handler: c.py:d\n\n# end\n",
        OLD + "    # retries: {max: 3}\n\n  # spare:\n  #   handler: c.py:d\n\n" + PLAIN + "\n# end\n",
    ),
    "other indentation, and a comment behind a value": (
        "functions: # all\n    old: {handler: a.py:b} # one\nversion: 1\n",
        "functions: # all\n    old: {handler: a.py:b} # one\n\n"
        "    new:\n      handler: functions/new.py:new\n      triggers: [{http: {}}]\nversion: 1\n",
    ),
    "a list at the end, not indented": (
        "functions:\n  old:\n    handler: a.py:b\n    triggers:\n    - http: {}\n    - {cron: '@daily'}\nversion: 1\n",
        "functions:\n  old:\n    handler: a.py:b\n    triggers:\n    - http: {}\n    - {cron: '@daily'}\n\n"
        + PLAIN
        + "version: 1\n",
    ),
    "a text of several lines at the end": (
        "functions:\n  old:\n    handler: a.py:b\n    env:\n      TEXT: |\n        one\n        two\n\nversion: 1\n",
        "functions:\n  old:\n    handler: a.py:b\n    env:\n      TEXT: |\n        one\n        two\n\n"
        + PLAIN
        + "\nversion: 1\n",
    ),
    "no functions yet": ("version: 1\n", "version: 1\n\nfunctions:\n" + PLAIN),
    "empty functions": ("functions:  # none\nversion: 1\n", "functions:  # none\n" + PLAIN + "version: 1\n"),
    "functions in braces, empty": ("functions: {}\nversion: 1\n", "functions: \n" + PLAIN + "version: 1\n"),
    "null": ("version: 1\nfunctions: null # x\n", "version: 1\nfunctions:  # x\n" + PLAIN),
    "lines end as on Windows": (
        OLD.replace("\n", "\r\n"),
        (OLD + "\n" + PLAIN).replace("\n", "\r\n"),
    ),
    "variables and a name that YAML takes for a truth value": (
        "functions:\n  on: {handler: '${FILE:-a}.py:b'}\n",
        "functions:\n  on: {handler: '${FILE:-a}.py:b'}\n\n" + PLAIN,
    ),
    "the end of the document": (OLD + "...\n", OLD + "\n" + PLAIN + "...\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_there_stays(case: str) -> None:
    before, after = CASES[case]
    assert insert_function(before, "new", ENTRY) == after


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("functions: {old: {handler: a.py:b}}\n", "nothing can be added safely"),
        ("one: &x {old: {handler: a.py:b}}\nfunctions: *x\n", "nothing can be added safely"),
        ("functions: [a]\n", "is no mapping"),
        ("", "no mapping at its top"),
        ("- a\n", "no mapping at its top"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_the_lines_to_add(text: str, reason: str) -> None:
    with pytest.raises(NotInserted, match=reason) as caught:
        insert_function(text, "new", ENTRY)
    assert PLAIN in str(caught.value)


def test_a_file_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(NotInserted, match="not valid YAML"):
        insert_function("functions: {\n", "new", ENTRY)


@pytest.mark.parametrize("name", ["old", "on"])
def test_a_function_that_is_there_is_named_with_its_line(name: str) -> None:
    text = f"version: 1\nfunctions:\n  {name}: {{handler: a.py:b}}\n"
    with pytest.raises(NotInserted, match=f"functions.yaml:3: there is a function {name} already"):
        insert_function(text, name, f"{name}:\n  handler: a.py:b\n")
