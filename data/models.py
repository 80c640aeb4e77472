"""SQL models by name: `data/sql/<layer>/<name>.sql`, rendered with the portable macros."""

from importlib.resources import files

from data.macros import render


def model(name: str, **params: object) -> str:
    """Read and render one model.

    Args:
        name: `layer/name`, without the ending.
        params: values for the template.

    Returns:
        One SQL query without a final semicolon.
    """
    return render((files("data") / "sql" / f"{name}.sql").read_text(encoding="utf-8"), **params)
