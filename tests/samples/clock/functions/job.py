def job(kind: str = "") -> str:
    return kind
