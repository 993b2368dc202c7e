"""The NumPy reference against Hugging Face transformers, whose logits are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden import GOLDEN, POSITIONS, TINY_MODELS, TOKENS, model_architecture, weights_sum
from numpy.typing import NDArray
from tiny import tiny_weights

from edgetts.decoding.session import Cancelled
from edgetts.errors import PromptTooLong
from edgetts.runtimes.reference import Decoder, ReferenceSession, hidden_states
from edgetts.testing import CancelledBySomebodyElse


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def reference(name: str, **changes: Any) -> ReferenceSession:
    arch = model_architecture(name, **changes)
    return ReferenceSession(arch, tiny_weights(arch).__getitem__, context=64)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_golden_weights_are_drawn_again(golden: dict[str, NDArray[Any]], name: str) -> None:
    drawn = weights_sum(tiny_weights(model_architecture(name)))
    assert np.array_equal(drawn, golden[f"{name}.weights"]), "this NumPy draws other weights: make them anew"


@pytest.mark.parametrize("name", TINY_MODELS)
def test_logits_are_those_of_transformers(golden: dict[str, NDArray[Any]], name: str) -> None:
    session = reference(name)
    branch, first = session.prefill(TOKENS[:1])
    logits = np.concatenate([first[None], session.extend(branch, TOKENS[1:])])
    np.testing.assert_allclose(logits[POSITIONS], golden[name], atol=1e-4)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_the_cache_changes_nothing(golden: dict[str, NDArray[Any]], name: str) -> None:
    session = reference(name)
    branch, _ = session.prefill(TOKENS[: POSITIONS[4]])
    seen = {}
    for at in range(POSITIONS[4], len(TOKENS)):
        seen[at] = session.step([branch], [TOKENS[at]])[0]
    for position, row in zip(POSITIONS[4:], golden[name][4:], strict=True):
        np.testing.assert_allclose(seen[position], row, atol=1e-4)


def test_golden_models_differ_where_their_settings_do(golden: dict[str, NDArray[Any]]) -> None:
    """Else a setting that nobody reads would pass. The first token sees neither positions nor windows."""
    for name in ("llama3", "llama-linear", "mistral"):
        np.testing.assert_allclose(golden[name][0], golden["llama"][0], atol=1e-5)
        assert np.abs(golden[name] - golden["llama"]).max() > 0.05


def test_one_layer_is_in_memory_at_a_time() -> None:
    arch = model_architecture("llama")
    weights = tiny_weights(arch)
    loads: list[str] = []

    def load(name: str) -> NDArray[np.float32]:
        loads.append(name)
        return weights[name]

    shares: list[float] = []
    hidden = hidden_states(Decoder(arch, load, positions=8), arch.layers, [1, 2, 3], shares.append)
    assert hidden.shape == (3, arch.hidden)
    assert loads == [*dict.fromkeys(loads)], "no tensor is loaded twice"
    assert set(loads) == set(weights) - {"output.weight"}
    layers = [int(name.split(".")[1]) for name in loads if name.startswith("blk.")]
    assert layers == sorted(layers)
    assert shares == [0.25, 0.5, 0.75, 1.0]
    logits = hidden @ weights["output.weight"].T
    np.testing.assert_allclose(logits[-1], reference("llama").prefill([1, 2, 3])[1], atol=1e-5)


def test_observers_see_the_input_of_every_matrix() -> None:
    arch = model_architecture("gemma3")
    weights = tiny_weights(arch)
    decoder = Decoder(arch, weights.__getitem__, positions=8)
    seen: dict[str, NDArray[np.float32]] = {}
    x = decoder.embed([1, 2, 3])
    out = decoder.layer(0, decoder.layer_weights(0), x, decoder.empty_cache(), seen.__setitem__)
    widths = {name: array.shape for name, array in seen.items()}
    assert widths == {
        "attn_qkv": (3, arch.hidden),
        "attn_output": (3, arch.heads * arch.head_dim),
        "ffn_gate_up": (3, arch.hidden),
        "ffn_down": (3, arch.intermediate),
    }
    # What is seen explains what comes out.
    delta = seen["ffn_down"] @ weights["blk.0.ffn_down.weight"].T
    delta /= np.sqrt(np.mean(delta**2, axis=-1, keepdims=True) + arch.norm_eps)
    attended = seen["attn_output"] @ weights["blk.0.attn_output.weight"].T
    attended /= np.sqrt(np.mean(attended**2, axis=-1, keepdims=True) + arch.norm_eps)
    expected = (
        x
        + attended * weights["blk.0.post_attention_norm.weight"]
        + delta * weights["blk.0.post_ffw_norm.weight"]
    )
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_a_prefill_is_cancelled_between_layers() -> None:
    session = reference("llama")
    for look in range(1, session.arch.layers + 1):
        with pytest.raises(Cancelled):
            session.prefill(TOKENS, CancelledBySomebodyElse(look))
    session.prefill(TOKENS, CancelledBySomebodyElse(session.arch.layers + 1))


def test_the_context_is_the_one_asked_for() -> None:
    session = reference("llama")
    assert session.info.context == 64
    with pytest.raises(PromptTooLong, match=r"65 tokens.*64"):
        session.prefill([1] * 65)


def test_huge_activations_make_no_warnings() -> None:
    """exp overflows inside the activation function, where that is right."""
    arch = model_architecture("llama")
    weights = {name: tensor * np.float32(30) for name, tensor in tiny_weights(arch).items()}
    session = ReferenceSession(arch, weights.__getitem__, context=8)
    assert np.isfinite(session.prefill([1, 2, 3])[1]).all()
