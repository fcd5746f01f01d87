"""HTML as nested calls. Text is escaped, so that no name of a tile, tag or file becomes markup."""

import html
import json
from collections.abc import Iterable
from typing import Any

_VOID = {"img", "input", "meta", "link", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return `<name attributes>children</name>`.

    Args:
        children: texts, numbers, markup, or iterables of these.
        attributes: an underscore at the end of a name is dropped, others become hyphens; True is
            an attribute without a value, None and False are left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items()
                      if value is not None and value is not False)
    end = "" if name in _VOID else f"{joined(children)}</{name}>"
    return Markup(f"<{name}{written}>{end}")


def joined(children: Iterable[Any]) -> Markup:
    """Return the markup of all children, one after the other; None adds nothing."""
    return Markup("".join(_escaped(child) for child in children))


def prose(text: str) -> Markup:
    """Return a line of Markdown with its `code`."""
    return joined(element("code", part) if number % 2 else part
                  for number, part in enumerate(text.split("`")))


def script_json(value: Any, **attributes: Any) -> Markup:
    """Return data for a page's scripts in a script element, which no data can end early."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"),
                      allow_nan=False).replace("<", "\\u003c")
    return element("script", Markup(text), type="application/json", **attributes)


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def _escaped(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return html.escape(str(child))
    return joined(child)
