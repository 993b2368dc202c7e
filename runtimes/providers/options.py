"""Put together the options that a provider is given: the catalogue's, the chip's, and over them the user's."""

from __future__ import annotations

from collections.abc import Mapping

from edgetts.errors import InvalidInput
from edgetts.runtimes.providers.catalogue import Soc, find_entry

_NOTHING: Mapping[str, str] = {}


def provider_options(
    provider: str, *, kind: str | None = None, soc: Soc | None = None, given: Mapping[str, str] = _NOTHING
) -> dict[str, str]:
    """Return the options of a provider, by ONNX Runtime's name.

    kind: of the device, npu, gpu or cpu, where it is known. soc: the chip to compile for. given: the user's, which
    win. Raises InvalidInput for a chip of another provider, an option that there is not, or a value it cannot have.
    """
    if soc is not None and soc.provider != provider:
        raise InvalidInput(f"The chip {soc.name} is for {soc.provider}, not for {provider}.")
    for option, value in given.items():
        if not isinstance(option, str) or not isinstance(value, str):
            raise InvalidInput(f"Options of providers are text, but {option!r} is {value!r}.")
    own = {**(soc.options if soc is not None else _NOTHING), **given}
    entry = find_entry(provider)
    if entry is None:
        return own
    entry.check(own)
    replaced = {entry.replaces[option] for option in own if option in entry.replaces}
    defaults = {**entry.defaults, **entry.on.get(kind or "", _NOTHING)}
    return {**{option: value for option, value in defaults.items() if option not in replaced}, **own}
