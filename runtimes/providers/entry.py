"""What there is to know of a provider before it is looked for, and whether options given to it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

WHOLE, TEXT = "whole", "text"
_SEE = "Its documentation lists them."


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """What there is to know of a provider before it is looked for; `profiles/providers.toml` explains the fields.

    name: the short one. values: by option, what it may be; None where nobody wrote down which options there are.
    """

    name: str
    provider: str
    title: str
    devices: tuple[str, ...]
    get: str
    source: str
    emulator: bool = False
    module: str = ""
    distribution: str = ""
    extra: str = ""
    version: str = ""
    onnxruntime: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    replaces: Mapping[str, str] = field(default_factory=dict)
    on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] | None = None

    @property
    def in_package(self) -> bool:
        """Whether a package of Python brings it as a plug-in."""
        return bool(self.module)

    def check(self, options: Mapping[str, str]) -> None:
        """Raise InvalidInput for an option that it has not, or a value that the option cannot have.

        Providers take what is misspelt without a word.
        """
        if self.values is None:
            return
        for option, value in options.items():
            allowed = self.values.get(option)
            if allowed is None:
                raise InvalidInput(
                    f"{self.provider} has no option {option!r}.", hint=near_miss(option, self.values, _SEE)
                )
            if allowed == (WHOLE,):
                if not (value.isascii() and value.isdecimal()):
                    raise InvalidInput(
                        f"The option {option} of {self.provider} is a whole number, not {value!r}."
                    )
            elif allowed != (TEXT,) and value not in allowed:
                raise InvalidInput(
                    f"The option {option} of {self.provider} cannot be {value!r}.",
                    hint=near_miss(value, allowed, f"It is one of: {', '.join(allowed)}."),
                )
