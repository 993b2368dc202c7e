"""One spelling for a piece of code, and where it stands in a text; knows nothing of what it computes.

Python is compared by its syntax tree, so that space, comments, docstrings, quotes and superfluous
parentheses part no votes. Code of other languages is compared line by line.
"""

from __future__ import annotations

import ast
import re
import warnings
from threading import Lock

from edgetts.errors import InvalidInput
from edgetts.selection.answers.fences import Block, fenced
from edgetts.selection.answers.found import Extracted, Page

MAX_CODE_CHARS = 16_384
_MAX_BRACKETS = 80
_MAX_OPERATORS = 400
"""Of one statement: each may deepen the syntax tree by one, and the parser's stack is the machine's."""

_SAME = {
    "py": "python", "python3": "python", "py3": "python", "js": "javascript", "node": "javascript",
    "ts": "typescript", "sh": "bash", "shell": "bash", "zsh": "bash", "c++": "cpp", "cxx": "cpp",
    "c#": "csharp", "cs": "csharp", "golang": "go", "rs": "rust", "rb": "ruby", "kt": "kotlin",
    "yml": "yaml",
}  # fmt: skip
_DEEPENING = re.compile(r"[-+*/%@&|^~.=<>!]+|\b(?:not|and|or|if|else|lambda|await|for|in|is)\b")
_WARNINGS = Lock()
"""Filters of warnings belong to the whole process: one at a time may set them aside."""


def check_language(name: str) -> None:
    """Raise InvalidInput for what cannot be the tag of a fenced block."""
    if not re.fullmatch(r"[A-Za-z][\w+#.-]{0,29}", name, re.ASCII):
        raise InvalidInput(f"{name!r} is no name of a language.", hint="For example: 'code:python'.")


def language_named(tag: str) -> str:
    """Return the usual name of a language: "python" for "py"."""
    return _SAME.get(tag.lower(), tag.lower())


def canonical_code(raw: str, language: str = "") -> str | None:
    """Write code in one form; None where nothing is left of it.

    Python (or what has no language and parses as such) as its syntax tree spells it, without comments
    and texts that are never used; any other as its lines, without blank ones and spaces at their ends.
    A fence around it is taken off.
    """
    blocks = [block for block in fenced(Page(raw.strip())) if block.around[0] == 0]
    if blocks:
        raw = raw.strip()[slice(*blocks[0].span)]
        language = language or blocks[0].language
    if language_named(language) in ("", "python") and (form := _python_form(raw)):
        return form
    lines = [line.rstrip() for line in raw.expandtabs(4).splitlines() if line.strip()]
    return "\n".join(lines) or None


def find_code(page: Page, language: str) -> Extracted | None:
    """The last fenced block of the language, tagged so or not at all, else a text that is Python as a whole."""
    wanted = language_named(language)
    blocks = [block for block in fenced(page) if block.closed or page.complete]
    for accepted in ({wanted}, {""}) if wanted else (None,):
        for block in reversed(blocks):
            fits = accepted is None or language_named(block.language) in accepted
            if fits and (found := _of_block(page, block, language)):
                return found
    if page.complete and not blocks and wanted in ("", "python") and _is_program(page.text):
        form = canonical_code(page.text, "python")
        return Extracted(form, page.text, "code", (0, len(page.text)), False) if form else None
    return None


def main_block(page: Page) -> Extracted | None:
    """The last fenced block, where it makes up half of the text or more."""
    blocks = [block for block in fenced(page) if block.closed or page.complete]
    if not blocks or 2 * (blocks[-1].span[1] - blocks[-1].span[0]) < len(page.text.strip()):
        return None
    return _of_block(page, blocks[-1], "")


def _of_block(page: Page, block: Block, language: str) -> Extracted | None:
    raw = page.text[slice(*block.span)]
    form = canonical_code(raw, language or block.language)
    return Extracted(form, raw, "code", block.span) if form else None


def _python_form(source: str) -> str | None:
    tree = _parsed(source)
    if tree is None:
        return None
    try:
        form = ast.unparse(_Bare().visit(tree))
    except (ValueError, RecursionError):
        return None
    return form if form == source or _parsed(form) else None


def _is_program(source: str) -> bool:
    """Whether it is Python and does something: a sentence of one word parses, too."""
    tree = _parsed(source)
    return tree is not None and any(not isinstance(node, ast.Expr) for node in tree.body)


def _parsed(source: str) -> ast.Module | None:
    """Parse Python that is neither long nor deep; None where it is, or is no Python."""
    if len(source) > MAX_CODE_CHARS or _too_deep(source):
        return None
    lines = source.expandtabs(4).strip("\n").rstrip()
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as "\d" in the model's strings
            return ast.parse(lines)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _too_deep(source: str) -> bool:
    level = operators = 0
    for line in source.splitlines():
        operators = operators * (level > 0) + len(_DEEPENING.findall(line))
        for sign in line:
            level += (sign in "([{") - (sign in ")]}")
            if level > _MAX_BRACKETS:
                return True
        level = max(level, 0)
        if operators > _MAX_OPERATORS and not line.lstrip().startswith("#"):
            return True
    return False


class _Bare(ast.NodeTransformer):
    """Take statements that are a text and nothing else out: docstrings, and comments written as texts."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                kept = [statement for statement in body if not _is_text(statement)]
                if name == "body" and body and not kept and not isinstance(node, ast.Module):
                    kept = [ast.Pass()]
                setattr(node, name, kept)
        return node


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
