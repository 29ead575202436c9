"""Text in MLflow's search filters."""


def quoted(text: str) -> str:
    """Return `text` in quotes that it does not contain: MLflow's filters have no escape.

    Raises:
        ValueError: it contains both kinds of quotes.
    """
    quote = "'" if "'" not in text else '"'
    if quote in text:
        raise ValueError(f"{text!r} has both kinds of quotes, must have at most one: no filter of MLflow can hold it")
    return f"{quote}{text}{quote}"
