"""Read `--provider`'s options as a person writes them. Knows no providers."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.errors import InvalidInput


def read_provider_options(given: Sequence[str]) -> dict[str, str]:
    """Return KEY=VALUE texts as options. Errors: InvalidInput."""
    options: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        key, value = key.strip(), value.strip()
        if not sign or not key:
            raise InvalidInput(
                f"-o {text!r} is no option of a provider: it is written KEY=VALUE.",
                hint="For example: -o htp_performance_mode=burst",
            )
        if key in options and options[key] != value:
            raise InvalidInput(f"-o {key} is given twice, as {options[key]} and as {value}.")
        options[key] = value
    return options
