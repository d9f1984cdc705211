"""A function for the tests of bucket triggers; they play its worker themselves."""


def note(objects: list[dict[str, object]], index: str = "default") -> None:
    """Takes objects."""
