"""What the answers of a chat cost, as `/stats` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgetts.types import Usage


@dataclass(slots=True)
class Totals:
    """Sums over the answers of one run."""

    answers: int = 0
    seconds: float = 0.0
    generated: int = 0
    prompt: int = 0
    cached: int = 0
    joules: float = 0.0
    sources: tuple[str, ...] = ()
    last: Usage | None = None

    def add(self, usage: Usage) -> None:
        self.answers += 1
        self.seconds += usage.seconds
        self.generated += usage.generated_tokens
        self.prompt += usage.prompt_tokens
        self.cached += usage.cached_tokens
        self.last = usage
        source = "unknown" if usage.joules is None else usage.joules_source or "modelled"
        self.joules += usage.joules or 0.0
        if source not in self.sources:
            self.sources = (*self.sources, source)

    def lines(self) -> list[str]:
        """Return what they say, a line each."""
        if self.last is None:
            return ["no answer yet"]
        last = self.last
        parts = [f"{last.generated_tokens} tokens in {last.seconds:.2f} s"]
        if last.tokens_per_second is not None:
            parts.append(f"{last.tokens_per_second:.1f} tokens/s")
        if last.time_to_first_token is not None:
            parts.append(f"first token after {last.time_to_first_token:.2f} s")
        parts.append(f"prompt of {last.prompt_tokens} tokens, {last.cached_tokens} of them cached")
        if last.samples != 1:
            parts.append(f"{last.samples} samples")
        known = last.joules is not None
        parts.append(f"{last.joules:.1f} J ({last.joules_source})" if known else "joules unknown")
        answers = "1 answer" if self.answers == 1 else f"{self.answers} answers"
        joules = f"{self.joules:.1f} J ({', '.join(self.sources)})"
        return [
            f"last answer: {'; '.join(parts)}",
            f"since the start: {answers}; {self.generated} tokens in {self.seconds:.2f} s; "
            f"prompts of {self.prompt} tokens, {self.cached} of them cached; "
            f"{'joules unknown' if self.sources == ('unknown',) else joules}",
        ]
