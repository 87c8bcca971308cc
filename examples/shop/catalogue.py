"""Makes the data the shop ships: a product catalogue and static pages, the same on every machine.

Releases differ in a few entries, as they do in practice: that is what makes deltas worth their while.
"""

import hashlib
import json

PRODUCTS = 1000
CATEGORIES = ("books", "camping", "garden", "hobby", "kitchen", "music", "office", "pets", "sports", "toys")
_ADJECTIVES = (
    "light",
    "sturdy",
    "quiet",
    "foldable",
    "washable",
    "classic",
    "small",
    "wide",
    "warm",
    "bright",
)
_NOUNS = ("lamp", "chair", "notebook", "kettle", "racket", "puzzle", "rope", "basket", "flute", "shelf")
_PARTS = ("oak", "steel", "cotton", "cork", "glass", "wool", "bamboo", "leather", "linen", "copper")


def _pick(words: tuple[str, ...], *what: object) -> str:
    return words[hashlib.sha256(repr(what).encode()).digest()[0] % len(words)]


def catalogue(version: str) -> bytes:
    """JSON, product number to name, category and description; one product per line."""
    lines = []
    for number in range(1, PRODUCTS + 1):
        edition = version if number % 97 == 0 else "v1"  # what each release edits
        noun = _pick(_NOUNS, number, "noun")
        name = f"{_pick(_ADJECTIVES, number, edition)} {noun} {number}"
        parts = [_pick(_PARTS, number, place, edition) for place in range(3)]
        code = hashlib.sha256(f"{number} {edition}".encode()).hexdigest()
        entry = {
            "name": name,
            "category": CATEGORIES[number % len(CATEGORIES)],
            "description": f"A {name} made of {parts[0]} and {parts[1]}, finished in {parts[2]}.",
            "code": code,
        }
        lines.append(f'"{number}": {json.dumps(entry)}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def static(version: str) -> dict[str, bytes]:
    """The pages and style sheets of the gateway, by file name."""
    rules = []
    for number in range(1500):
        edition = version if number % 211 == 0 else "v1"
        tone = hashlib.sha256(f"tone {number} {edition}".encode()).hexdigest()[:6]
        rules.append(f".item-{number} {{ color: #{tone}; margin: {number % 17}px; }}")
    links = "\n".join(
        f'<li><a href="/products/{number}">Product {number}</a></li>' for number in range(1, 201)
    )
    page = (
        f'<!doctype html>\n<title>Shop {version}</title>\n<link rel="stylesheet" href="/static/shop.css">\n'
    )
    return {
        "index.html": f"{page}<ul>\n{links}\n</ul>\n".encode(),
        "shop.css": ("\n".join(rules) + "\n").encode(),
    }
