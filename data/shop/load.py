"""Reading a shop.yaml: every fault is one sentence that names the file, the line, the field and the remedy."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from data.shop.config import Shop
from data.shop.errors import ShopError

_REMEDIES = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not a known key; check the spelling or remove it",
}


def load_shop(path: Path | str) -> Shop:
    """Read and check one shop.yaml; no data file is opened.

    Args:
        path: The YAML file.

    Returns:
        The declaration; relative paths in it start at the file's folder.

    Raises:
        ShopError: The file is missing, no YAML, or says something that it may not say.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ShopError(
            f"{path}: there is no such file; name a shop.yaml, or draft one with `portrait init`."
        ) from None
    except IsADirectoryError:
        raise ShopError(f"{path}: is a folder; name the shop.yaml in it.") from None
    except UnicodeDecodeError:
        raise ShopError(f"{path}: is not UTF-8 text; save it as UTF-8.") from None
    return parse_shop(text, path)


def parse_shop(text: str, path: Path) -> Shop:
    """Check the text of a shop.yaml.

    Args:
        text: YAML.
        path: Where it stands or will stand; its folder is where relative paths start.

    Returns:
        The declaration.

    Raises:
        ShopError: As `load_shop`.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = _lines(root, path)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ShopError(f"{path}, line {line}: is no YAML ({error.problem}); correct the line.") from None
    except yaml.YAMLError as error:
        raise ShopError(f"{path}: is no YAML ({str(error).splitlines()[0]}); correct it.") from None
    if not isinstance(document, dict):
        raise ShopError(f"{path}: holds no mapping at its top; begin with `name: my_shop`.")
    try:
        shop = Shop.model_validate(document)
    except ValidationError as error:
        raise ShopError(*dict.fromkeys(_sentence(fault, lines, path) for fault in error.errors())) from None
    shop._location = path
    return shop


def _lines(node: yaml.Node | None, path: Path, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Map the place of every key and list item to its line, refusing keys that stand twice."""
    lines: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                raise ShopError(
                    f"{path}, line {line}: {'.'.join(here)} stands twice (first in line {lines[here]}); remove one."
                )
            lines[here] = line
            lines |= _lines(value, path, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, str(index))
            lines |= {here: value.start_mark.line + 1} | _lines(value, path, here)
    return lines


def _sentence(fault: ErrorDetails, lines: dict[tuple[str, ...], int], path: Path) -> str:
    """Word one fault; a rule between fields may name its own field as `field.field: ...`."""
    place = tuple(str(part) for part in fault["loc"] if not _is_internal(part))
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        head, colon, rest = message.partition(": ")
        if colon and " " not in head:
            place, message = (*place, *head.split(".")), rest
        says = message if message.startswith(("'", "missing")) else message[0].lower() + message[1:]
    elif fault["type"] in _REMEDIES:
        says = _REMEDIES[fault["type"]]
    else:
        says = f"is {_shown(fault['input'])}, but {message[0].lower() + message[1:]}; correct it"
    at = next((f", line {lines[place[:n]]}" for n in range(len(place), 0, -1) if place[:n] in lines), "")
    return f"{path}{at}: {'.'.join(place) or 'the file'}: {says}."


def _is_internal(part: int | str) -> bool:
    """Tell pydantic's own steps (validators, `[key]`) from keys that stand in the YAML."""
    return isinstance(part, str) and part.startswith(("function-", "["))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
