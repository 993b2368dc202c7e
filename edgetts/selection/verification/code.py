"""Find the Python program that a text gives, alone or as the continuation of a prompt; never runs or compiles it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence

from edgetts.selection.answers.fences import Block, fenced
from edgetts.selection.answers.found import Page

MAX_PROGRAM_CHARS = 65_536

_PYTHON = frozenset(("", "python", "py", "python3", "py3"))
_TOP_DEFINITION = re.compile(r"(?m)^(?:async[ \t]+)?def[ \t]+(\w{1,100})[ \t]*\(")
_CALLED = re.compile(r"\b([^\W\d]\w{0,100})[ \t]*\(")
_OPENS = re.compile(
    r"(?:(?:async )?def|class|import|from|if|for|while|try|with|assert|@)\b|@|#|\w+ ?=(?!=)|print\("
)
_SENTENCE = re.compile(r"(?:\d+[.)]|[-*>]+|\#{2,})\s|[A-Z][\w']*\s+[\w'`]+|[a-z]+\s+[a-z]+\s+[a-z]+")
_KEYWORD = re.compile(
    r"(?:return|raise|yield|elif|else|except|finally|global|nonlocal|del|pass|lambda|not|await)\b"
)
_BODY = re.compile(r"\n*(?:[ \t]+\S|(?:return|for|while|if|with|try|def)\b)")
_HEAD = re.compile(
    r"(?m)^(?:from[ \t]+[\w.]+[ \t]+import\b|import[ \t]+\w|(?:async[ \t]+)?def[ \t]|class[ \t]|@\w)"
)


def program_in(
    text: str, *, prompt: str = "", wanted: Collection[str] = (), complete: bool = True
) -> str | None:
    """Return the program that a text gives, None where there is none.

    It is the last fenced block of Python that defines one of `wanted`; else, with a `prompt` (code that
    ends in an open function, as HumanEval has it), the prompt continued by the block, or by the text itself;
    else the last block, or a text that is code as it stands. Where a block defines the prompt's own function
    again, only what the prompt has before that function, such as imports, stands before it. A text that
    is not complete gives a program only in a block that was closed.
    """
    text = text[-MAX_PROGRAM_CHARS:]
    if prompt and complete:
        text = _before_lone_fence(text)
    everything = [block for block in fenced(Page(text, complete)) if block.closed or complete]
    blocks = [_content(text, block) for block in everything if block.language in _PYTHON]
    blocks = [block for block in blocks if block.strip() and not block.lstrip().startswith(">>>")]
    if not blocks and (everything or not complete):
        return None
    names = [*defined_in(prompt)[-1:], *wanted]
    for block in reversed(blocks or [_unfenced(text)]):
        if not set(names).isdisjoint(defined_in(block)):
            return _before_function(prompt) + block
    if prompt:
        body = blocks[-1] if blocks else text
        return _continued(prompt, body)
    return blocks[-1] if blocks else (_unfenced(text) or None)


def without_blocks(text: str) -> str:
    """Return what a text says outside of its fenced blocks."""
    kept: list[str] = []
    at = 0
    for block in fenced(Page(text)):
        kept.append(text[at : block.around[0]])
        at = block.around[1]
    return "\n".join((*kept, text[at:]))


def prompt_in(question: str) -> str:
    """Return the code in a question that a text may continue; "" where it has no open function.

    It is the fenced block with a function, or all from the first line that is code on.
    """
    blocks = [_content(question, block) for block in fenced(Page(question)) if block.language in _PYTHON]
    for block in reversed(blocks):
        if _TOP_DEFINITION.search(block):
            return block
    head = _HEAD.search(question)
    code = question[head.start() :] if head and not blocks else ""
    return code if _TOP_DEFINITION.search(code) else ""


def defined_in(code: str) -> list[str]:
    """Name the functions that code defines at its top, in order."""
    return _TOP_DEFINITION.findall(code)


def called_in(checks: Sequence[str]) -> set[str]:
    """Name what checks call, as far as that can be seen without parsing them."""
    return {name for check in checks for name in _CALLED.findall(check)}


def _content(text: str, block: Block) -> str:
    return textwrap.dedent(text[slice(*block.span)]).strip("\n") + "\n"


def _before_lone_fence(text: str) -> str:
    """A body that a fence ends but none began: the prompt had the other one."""
    first = next(fenced(Page(text)), None)
    lone = first is not None and not first.closed and not first.language and _BODY.match(text)
    return text[: first.around[0]] if first is not None and lone else text


def _before_function(prompt: str) -> str:
    """What a prompt has before its last function: imports, and functions that help."""
    starts = [match.start() for match in _TOP_DEFINITION.finditer(prompt)]
    return prompt[: starts[-1]] if starts else ""


def _continued(prompt: str, body: str) -> str | None:
    """The prompt's function with its body, up to where the text leaves the function for something else than code."""
    lines = body.strip("\n").splitlines()
    if lines and lines[0].strip() and not lines[0][0].isspace():
        lines = list(_taken(lines))
        if _lacks_first_indent(lines):
            lines[0] = "    " + lines[0]
        else:
            lines = ["    " + line if line.strip() else line for line in lines]
    lines = list(_taken(lines))
    if not any(line.strip() for line in lines):
        return None
    return prompt.rstrip() + "\n" + "\n".join(lines) + "\n"


def _lacks_first_indent(lines: list[str]) -> bool:
    """Whether the first line's indent was left to the prompt, as the next line's shows."""
    following = next((line for line in lines[1:] if line.strip()), "")
    indent = len(following) - len(following.lstrip())
    return indent >= (8 if lines and lines[0].rstrip().endswith(":") else 1)


def _taken(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("```"):
            return
        if line.strip() and not line[0].isspace() and _is_prose(line):
            return
        yield line


def _is_prose(line: str) -> bool:
    """Whether a line at the margin reads like a sentence: words, without what code opens with."""
    if _OPENS.match(line) or line[0] in ")]}\"'":
        return False
    return bool(_SENTENCE.match(line)) and not _KEYWORD.match(line)


def _unfenced(text: str) -> str:
    """The code of a text without fences: from the first line of code to the first line of prose behind it."""
    head = _HEAD.search(text)
    return "\n".join(_taken(text[head.start() :].splitlines())).rstrip() + "\n" if head else ""
