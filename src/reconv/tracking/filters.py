"""Text in MLflow's search filters."""


def quoted(text: str) -> str:
    """`text` between quotes that it does not contain: MLflow's filters know no escape.

    Raises:
        ValueError: it contains both kinds of quotes, and no filter can ask for it.
    """
    quote = "'" if "'" not in text else '"'
    if quote in text:
        raise ValueError(f"{text!r} has both kinds of quotes, must have at most one: no filter of MLflow can hold it")
    return f"{quote}{text}{quote}"
