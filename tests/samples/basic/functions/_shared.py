from pathlib import Path


def note(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text + "\n")
