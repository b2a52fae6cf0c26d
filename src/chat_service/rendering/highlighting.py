"""Code in colour: classes in the HTML, and the style sheet that gives them their colours."""

from __future__ import annotations

from functools import cache
from html import escape

from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import STANDARD_TYPES  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

__all__ = ["COLOURS", "highlighted", "stylesheet"]

_LONGEST = 20_000  # characters of code that is coloured
_LONGEST_LINE = 1_000

_LANGUAGES = frozenset(
    "bash c c++ cpp cs csharp css diff docker dockerfile go graphql html http ini java javascript js json json5 "
    "jsx kotlin kt lua make makefile markdown md nginx perl php postgres postgresql powershell ps1 py python python3 "
    "pycon r rb rs ruby rust scala scss sh shell sql swift toml ts tsx typescript xml yaml yml zsh".split()
)
"""What is coloured. A lexer is a set of regular expressions, and not every one is safe with what a model may write."""

_READ_AS = {"java": "csharp"}
"""The lexer for Java takes time by the square of what it reads."""

COLOURS: dict[str, tuple[str, str]] = {
    # Pygments' short names of kinds, each with all that begin with it: colours by day and by night.
    "c": ("#57606a", "#9aa4af"),  # comments
    "k": ("#a81d2a", "#ff8a80"),  # keywords
    "o": ("#a81d2a", "#ff8a80"),  # operators
    "n": ("#1f2328", "#e6edf3"),  # names
    "nb": ("#0550ae", "#79c0ff"),
    "nc": ("#6f3b00", "#ffb86b"),
    "nd": ("#6e3bbd", "#d2a8ff"),
    "nf": ("#6e3bbd", "#d2a8ff"),
    "nt": ("#116329", "#7ee787"),
    "na": ("#0550ae", "#79c0ff"),
    "m": ("#0550ae", "#79c0ff"),  # numbers
    "s": ("#0a3069", "#a5d6ff"),  # text
    "gd": ("#82071e", "#ffb3ad"),  # what a difference takes away
    "gi": ("#116329", "#7ee787"),  # and what it adds
}


def highlighted(code: str, language: str) -> tuple[str, str | None]:
    """Code as HTML.

    Args:
        code: The code.
        language: What its author calls it; any text.

    Returns:
        The HTML, and the name of the language if it is one that is coloured.
    """
    lexer = _lexer(language.lower())
    name = language.lower() if lexer else None
    if lexer is None or len(code) > _LONGEST or any(len(line) > _LONGEST_LINE for line in code.split("\n")):
        return escape(code, quote=False), name
    return highlight(code, lexer, _FORMATTER), name


_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)


@cache
def _lexer(language: str) -> Lexer | None:
    if language not in _LANGUAGES:
        return None
    try:
        return get_lexer_by_name(_READ_AS.get(language, language), stripnl=False, ensurenl=False)
    except ClassNotFound:  # of another release of Pygments
        return None


@cache
def stylesheet() -> str:
    """The style sheet. Colours follow ``color-scheme``, whoever sets it: the system, or the page."""
    rules = [
        *(f"{_selector(kind)} {{ color: light-dark({day}, {night}); }}" for kind, (day, night) in COLOURS.items()),
        ".code .gs, .code .gh { font-weight: bold; }",
        ".code .ge { font-style: italic; }",
    ]
    return "\n".join(rules) + "\n"


def _selector(kind: str) -> str:
    """All classes that begin so, and have no rule of their own."""
    names = sorted({name for name in STANDARD_TYPES.values() if name.startswith(kind)})
    own = [name for name in names if name == kind or not any(name.startswith(o) for o in COLOURS if len(o) > len(kind))]
    return ", ".join(f".code .{name}" for name in own)
