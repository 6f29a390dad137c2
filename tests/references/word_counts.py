"""Words as WikiText counts them, for tests of what counts them on the way."""


def count_words(text: str) -> int:
    """Words as WikiText counts them: what white space separates, and an end of line for each line."""
    unfinished_line = bool(text) and not text.endswith("\n")
    return len(text.split()) + text.count("\n") + unfinished_line
