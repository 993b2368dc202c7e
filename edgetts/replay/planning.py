"""Plan and control the answers of a replay by what the engine plans by, for a device that does nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.answering.choosing import Choosing
from edgetts.answering.planning import Knowledge, Place, Posed, Wishes, length_key, request_for
from edgetts.budget import Budget
from edgetts.control.controller import Controller
from edgetts.control.cost.drift import Drift
from edgetts.control.cost.lengths import LengthBook
from edgetts.replay.simulation import Device, SimulatedWorld
from edgetts.types import SPREAD_TEMPERATURE, DecodeParams, SamplingParams

# A context and a memory that no recorded sample meets: what they limited is in the record already.
_CONTEXT = 1 << 20
_MEMORY = 1 << 50


@dataclass(slots=True)
class Learning:
    """What an engine learns from answer to answer: how long samples get, and how fast the device is just now.

    drift: None begins every answer by the curve alone, as where no limit makes a controller predict anything.
    """

    lengths: LengthBook
    drift: Drift | None = None


def make_controller(
    budget: Budget,
    device: Device,
    world: SimulatedWorld,
    choosing: Choosing,
    learning: Learning,
    max_tokens: int | None = None,
) -> Controller:
    """Make a controller that has a plan. Errors: InvalidInput for a budget that cannot be kept."""
    knowledge, wishes = Knowledge(lengths=learning.lengths), _wishes(budget, choosing, max_tokens)
    drift = learning.drift
    place = Place(device.name, device.times, _CONTEXT, 1, power=device.power, drift=drift)
    terms = knowledge.terms(wishes, abstains=choosing.abstention is not None)
    asked = knowledge.asked("reason", world.prompt, wishes, None)
    controller = Controller(
        budget,
        place.cost,
        world.clock,
        0.0,
        lengths=asked.lengths,
        joules=None if device.power is None else world.joules,
    )
    posed = Posed((), wishes, choosing, terms, None, (asked,), {})
    controller.make_plan(request_for(posed, place, _MEMORY))
    return controller


def learn(learning: Learning, choosing: Choosing, lengths: Sequence[tuple[int, bool]]) -> None:
    """Take in how long the samples of an answer were, and whether the model ended them."""
    key = length_key(_wishes(Budget(), choosing, None), "reason")
    for tokens, ended in lengths:
        learning.lengths.observe(key, tokens, ended)


def _wishes(budget: Budget, choosing: Choosing, max_tokens: int | None) -> Wishes:
    # The record has samples of one temperature: there is none to choose.
    sampling = SamplingParams(temperature=SPREAD_TEMPERATURE, max_tokens=max_tokens)
    return Wishes(budget, sampling, DecodeParams("plain"), answer_format=str(choosing.answer_format))
