"""Say where one step of an answer ends and the next begins; knows text, not what a step is worth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

LONGEST_STEP = 512
"""Tokens after which a step ends wherever it is, unless the splitter says otherwise."""

StepRule = Literal["paragraph", "line", "sentence", "step", "tokens"]

# Where a step could end. Each is decided by the text up to its own end, so that it does not matter how a
# text is cut into tokens; what a token brings beyond it belongs to the step.
_BOUNDARIES: dict[str, str] = {
    "paragraph": r"\n[ \t\r]*\n",
    "line": r"\n",
    # No sentence ends with an abbreviation, with one letter ("e.g.", an initial) or with a list's number.
    "sentence": r"[.!?](?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bvs\.)(?<!\betc\.)(?<!\bapprox\.)"
    r"(?<!\bFig\.)(?<!\bEq\.)(?<!\bNo\.)(?<![\s.(][A-Za-z]\.)(?<!^\d\.)(?<!^\d\d\.)(?<!\n\d\.)(?<!\n\d\d\.)"
    r"[\"')\]*]*\s|\n",
    # The next step's heading: "Step 2", "**Step 2", "## Step 2", "2." or "2)" at the start of a line.
    "step": r"\n[ \t]*(?:[*#]+[ \t]*)?(?:[Ss]tep[ \t]+\d|\d{1,2}[.)][ \t])",
}

_FENCE = r"(?:^|(?<=\n))[ \t]*(?:```|~~~)"
_REGIONS = (
    r"(?P<fence>"
    + _FENCE
    + r")|(?P<escape>\\\\)|(?P<open>\\\[)|(?P<shut>\\\])|(?P<dollars>\$\$)"
    + (r"|\\begin\{(?P<begin>[A-Za-z]+\*?)\}|\\end\{(?P<end>[A-Za-z]+\*?)\}")
)

_HALF_A_MARKER = re.compile(
    r"(?:(?<!\\)(?:\\\\)*\\(?:[A-Za-z]*|(?:begin|end)\{[A-Za-z*]*)|(?<!\$)\$|(?:^|(?<=\n))[ \t]*(?:`{1,2}|~{1,2}))\Z"
)


@lru_cache
def _pattern(rule: str) -> re.Pattern[str]:
    # A boundary must not hide a fence that begins where it ends: it is looked for without being consumed.
    boundary = f"|(?=(?P<boundary>{_BOUNDARIES[rule]}))[\\s\\S]" if rule in _BOUNDARIES else ""
    return re.compile(_REGIONS + boundary)


@dataclass(frozen=True, slots=True)
class StepSplitter:
    """Where steps end. Checked when made; `parse` reads it from a string.

    rule: paragraph, a blank line; line, a line's end; sentence; step, before "Step 2", "2." or "2)" at a line's
    start (the heading that gives it away is the last of the step before); tokens, every `size` tokens.
    A step never ends in a code fence or a LaTeX display, nor before it has `shortest` letters and digits. At
    `longest` tokens it ends in any case, so that a display which is never closed is not the whole answer.
    """

    rule: StepRule = "paragraph"
    size: int = 32
    shortest: int = 8
    longest: int = LONGEST_STEP

    def __post_init__(self) -> None:
        if self.rule not in get_args(StepRule):
            raise InvalidInput(
                f"There is no rule {self.rule!r} for where a step ends.",
                hint=near_miss(self.rule, get_args(StepRule)),
            )
        for name, least in (("size", 1), ("shortest", 0), ("longest", 1)):
            if getattr(self, name) < least:
                raise InvalidInput(
                    f"A step's {name} is {getattr(self, name)}, but it must be {least} or greater."
                )
        if self.rule == "tokens" and self.size > self.longest:
            raise InvalidInput(f"Steps of {self.size} tokens are longer than the longest, {self.longest}.")

    @classmethod
    def parse(cls, text: str) -> StepSplitter:
        """Read "paragraph", "line", "sentence", "step" or "tokens:32"."""
        name, colon, size = (part.strip() for part in text.partition(":"))
        if not colon:
            return cls(name)  # type: ignore[arg-type]  # checked when made
        splitter = cls(name)  # type: ignore[arg-type]
        if splitter.rule != "tokens":
            raise InvalidInput(f"The rule {name!r} takes no number.", hint="Only tokens does: tokens:32.")
        if not size.isascii() or not size.isdigit():
            raise InvalidInput(f"{size!r} is no number of tokens.", hint="Write for example tokens:32.")
        return cls("tokens", int(size), longest=max(LONGEST_STEP, int(size)))

    def __str__(self) -> str:
        return f"tokens:{self.size}" if self.rule == "tokens" else self.rule

    def ends(self, step_text: str, tokens: int, opened: str = "") -> bool:
        """Whether a step has ended that has this text, of so many tokens, so far.

        Called at each token. opened: the fence or display that the text before the step left open, as `opened`
        tells; "" for none, which holds unless a step ended at `longest`.
        """
        if tokens >= self.longest:
            return True
        if self.rule == "tokens":
            # Half a marker belongs to the step that has the other half, or neither would know it.
            return (
                tokens >= self.size
                and self.opened(step_text, opened) == ""
                and _HALF_A_MARKER.search(step_text) is None
            )
        return self._scan(step_text, opened) is None

    def opened(self, text: str, opened: str = "") -> str:
        """Return the fence or display that is open after a text that began in `opened`; "" for none."""
        region = StepSplitter._walk(_pattern("tokens"), text, opened, len(text) + 1)
        return region or ""

    def _scan(self, text: str, opened: str) -> str | None:
        return self._walk(_pattern(self.rule), text, opened, self.shortest)

    @staticmethod
    def _walk(pattern: re.Pattern[str], text: str, opened: str, shortest: int) -> str | None:
        """Follow what opens and shuts; None at the first boundary outside, after enough letters and digits."""
        region, seen, counted = opened, 0, 0
        for match in pattern.finditer(text):
            kind = match.lastgroup
            if kind == "boundary":
                if region:
                    continue
                seen += sum(map(str.isalnum, text[counted : match.start()]))
                counted = match.start()
                if seen >= shortest:
                    return None
            elif region:
                if (
                    (region == "fence" and kind == "fence")
                    or (region == "open" and kind == "shut")
                    or (region == "dollars" and kind == "dollars")
                    or (kind == "end" and match["end"] == region.removeprefix("begin:"))
                ):
                    region = ""
            elif kind in ("fence", "open", "dollars"):
                region = kind
            elif kind == "begin":
                region = f"begin:{match['begin']}"
        return region
