"""Words for numbers, in sentences for people."""


def number(count: int, what: str) -> str:
    """ "1 photo" or "1,930 photos"."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"
