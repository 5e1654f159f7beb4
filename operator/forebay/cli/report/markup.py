"""Elements of HTML and SVG. They are a tree until the end, so nothing can be forgotten to be escaped."""

from xml.etree.ElementTree import Element


def element(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """As in `element("p", "some ", element("b", "text"), class_="lead")`.

    `_` in a name stands for `-`, at its end for nothing; an empty attribute is left out.
    Numbers are written with at most two decimals.
    """
    said = {name.rstrip("_").replace("_", "-"): text(value) for name, value in attributes.items() if value != ""}
    made = Element(tag, said)
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def text(value: str | float) -> str:
    """A number as short as it can be said."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
