"""Run one contestant of a benchmark in a process of its own: edgetts, llama-cpp-python or onnxruntime-genai.

The benchmarks import this for `Contestant`. Each contestant's own Python runs it as a script, where
it speaks JSON lines and imports nothing but that contestant's library: they need not fit into one
environment. Every class below does the same four things the way a user of its library would.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

Figures = dict[str, float]

clock = time.perf_counter


class Contestant:
    """A process that holds one model and measures itself when asked. It sleeps in between."""

    def __init__(self, label: str, kind: str, model: str, python: str, threads: int) -> None:
        self.label = label
        command = [python, __file__, kind, model, "--threads", str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.versions: dict[str, str] = self._receive()

    def call(self, name: str, arguments: dict[str, Any]) -> Figures:
        """Have it measure something. Raises RuntimeError with what went wrong over there."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        figures: Figures = self._receive()
        return figures

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.label} ended with status {self._process.wait()}; see its output above")
        return json.loads(line)


class Edgetts:
    """Ours, by name or path of a model."""

    packages: tuple[str, ...] = ("edgetts", "onnxruntime", "numpy")
    mode = "plain"
    runtime = "onnx"

    def __init__(self, model: str, threads: int) -> None:
        from edgetts.engine import load

        self._engine = load(model, runtime=self.runtime, offline=True, threads=threads)
        self._session: Any = self._engine.session

    def decode(self, prompt: str, tokens: int) -> Figures:
        from edgetts.types import Finished, SamplingParams, TextDelta

        began, first = clock(), 0.0
        sampling = SamplingParams(temperature=0.0, max_tokens=tokens)
        for event in self._engine.stream(prompt, sampling=sampling, decode=self.mode):
            if isinstance(event, TextDelta) and not first:
                first = clock()
            if isinstance(event, Finished):
                drawn = event.answer.usage.generated_tokens
        return _decoded(began, first, clock(), drawn)

    def batch(self, prompt: str, tokens: int, samples: int, temperature: float) -> Figures:
        from edgetts.budget import Budget
        from edgetts.types import SamplingParams

        read = self._session.prefill
        counted = []

        def prefill(*arguments: Any) -> Any:
            counted.append(clock())
            return read(*arguments)

        self._session.prefill = prefill
        began = clock()
        try:
            answer = self._engine.answer(
                prompt,
                budget=Budget(samples=samples),
                sampling=SamplingParams(temperature=temperature, max_tokens=tokens),
                answer_format="none",
            )
        finally:
            self._session.prefill = read
        ended, usage = clock(), answer.usage
        assert len(answer.samples) == samples
        assert len(counted) == 1, f"the prompt was read {len(counted)} times"
        assert usage.time_to_first_token is not None
        return _batched(began, began + usage.time_to_first_token, ended, usage.generated_tokens, samples)

    def prefill(self, ids: Sequence[int]) -> Figures:
        began = clock()
        branch, _ = self._session.prefill(ids)
        seconds = clock() - began
        self._session.free(branch)
        return _prefilled(seconds, len(ids))

    def step(self, ids: Sequence[int], width: int, steps: int) -> Figures:
        root, _ = self._session.prefill(ids)
        branches = self._session.fork(root, width)
        times = [_timed(partial(self._session.step, branches, [ids[at]] * width)) for at in range(steps)]
        for branch in (root, *branches):
            self._session.free(branch)
        return {"ms_per_pass": 1e3 * _median(times)}


class Drafting(Edgetts):
    """Ours, with speculation where it is expected to pay."""

    mode = "auto"


class OnLlamaCpp(Edgetts):
    """Ours on llama.cpp, by name or path of a GGUF file."""

    packages = ("edgetts", "llama-cpp-python", "numpy")
    runtime = "llamacpp"


class DraftingOnLlamaCpp(OnLlamaCpp):
    """The same, with guesses verified where that pays."""

    mode = "auto"


class GenAI:
    """onnxruntime-genai, by the directory its model builder wrote; threads are its own default."""

    packages = ("onnxruntime-genai", "onnxruntime")

    def __init__(self, model: str, threads: int) -> None:
        import onnxruntime_genai as og

        del threads  # its users leave them to its default
        self._og = og
        self._model = og.Model(model)
        self._tokenizer = og.Tokenizer(self._model)

    def _generator(self, length: int, **search: Any) -> Any:
        parameters = self._og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=length, **search)
        return self._og.Generator(self._model, parameters)

    def decode(self, prompt: str, tokens: int) -> Figures:
        ids = self._tokenizer.encode(prompt)
        # Its own quantisation may make it end at once, where the others go on.
        length = len(ids) + tokens
        generator = self._generator(length, do_sample=False, min_length=length)
        stream, times = self._tokenizer.create_stream(), []
        began = clock()
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
            stream.decode(int(generator.get_next_tokens()[0]))
            times.append(clock())
        return _decoded(began, times[0], times[-1], len(times))

    def batch(self, prompt: str, tokens: int, samples: int, temperature: float) -> Figures:
        import numpy as np

        ids = np.asarray(self._tokenizer.encode(prompt), np.int32)
        generator = self._generator(
            len(ids) + tokens, do_sample=True, temperature=temperature, top_k=0, top_p=1.0, batch_size=samples
        )
        streams = [self._tokenizer.create_stream() for _ in range(samples)]
        times = []
        began = clock()
        generator.append_tokens(np.tile(ids, (samples, 1)))
        while not generator.is_done():
            generator.generate_next_token()
            for stream, token in zip(streams, generator.get_next_tokens(), strict=True):
                stream.decode(int(token))
            times.append(clock())
        # Rows that have ended are padded until the last one ends: those count in its favour.
        return _batched(began, times[0], times[-1], samples * len(times), samples)

    def prefill(self, ids: Sequence[int]) -> Figures:
        import numpy as np

        generator = self._generator(len(ids) + 1)
        began = clock()
        generator.append_tokens(np.asarray(ids, np.int32))
        return _prefilled(clock() - began, len(ids))

    def step(self, ids: Sequence[int], width: int, steps: int) -> Figures:
        import numpy as np

        generator = self._generator(len(ids) + steps + 1, batch_size=width, min_length=len(ids) + steps + 1)
        generator.append_tokens(np.tile(np.asarray(ids, np.int32), (width, 1)))
        generator.generate_next_token()
        return {"ms_per_pass": 1e3 * _median([_timed(generator.generate_next_token) for _ in range(steps)])}


class Llama:
    """llama-cpp-python, by the path of a GGUF file."""

    packages = ("llama-cpp-python", "numpy")

    def __init__(self, model: str, threads: int) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._threads = threads
        self._llama = llama_cpp.Llama(
            model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False
        )
        self._vocab = llama_cpp.llama_model_get_vocab(self._llama.model)

    def decode(self, prompt: str, tokens: int) -> Figures:
        llama, times = self._llama, []
        llama.reset()
        began = clock()
        for _ in llama.create_completion(prompt, max_tokens=tokens, temperature=0.0, stream=True):
            times.append(clock())
        # The last piece carries the reason to stop, not a token; others may carry several tokens.
        drawn = llama.n_tokens - len(llama.tokenize(prompt.encode(), add_bos=True)) + 1
        return _decoded(began, times[0], times[-1], min(drawn, tokens))

    def batch(self, prompt: str, tokens: int, samples: int, temperature: float) -> Figures:
        library = self._library
        ids = self._llama.tokenize(prompt.encode(), add_bos=True)
        sequences = _Sequences(
            library, self._llama.model, samples, len(ids) + samples * tokens, self._threads
        )
        samplers = []
        for seed in range(samples):
            chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
            library.llama_sampler_chain_add(chain, library.llama_sampler_init_temp(temperature))
            library.llama_sampler_chain_add(chain, library.llama_sampler_init_dist(seed))
            samplers.append(chain)
        running, drawn, first = list(range(samples)), 0, 0.0
        began = clock()
        sequences.read(ids)
        sources = dict.fromkeys(running, -1)
        for count in range(tokens):
            ending, following = [], []
            for sample in running:
                token = library.llama_sampler_sample(samplers[sample], sequences.context, sources[sample])
                self._llama.detokenize([token])
                ended = library.llama_vocab_is_eog(self._vocab, token)
                ending += [sample] if ended else []
                following += [] if ended else [token]
            drawn += len(running)
            first = first or clock()
            running = [sample for sample in running if sample not in ending]
            if not running or count == tokens - 1:
                break
            sequences.step(running, following, len(ids) + count)
            sources = {sample: place for place, sample in enumerate(running)}
        ended_at = clock()
        for chain in samplers:
            library.llama_sampler_free(chain)
        sequences.close()
        return _batched(began, first, ended_at, drawn, samples)

    def prefill(self, ids: Sequence[int]) -> Figures:
        self._llama.reset()
        began = clock()
        self._llama.eval(ids)
        return _prefilled(clock() - began, len(ids))

    def step(self, ids: Sequence[int], width: int, steps: int) -> Figures:
        sequences = _Sequences(
            self._library, self._llama.model, width, len(ids) + width * steps, self._threads
        )
        sequences.read(ids)
        rows = list(range(width))
        times = [
            _timed(partial(sequences.step, rows, [ids[at]] * width, len(ids) + at)) for at in range(steps)
        ]
        sequences.close()
        return {"ms_per_pass": 1e3 * _median(times)}


class _Sequences:
    """A llama.cpp context of its own, in which several sequences share one prefix and one cache."""

    def __init__(self, library: Any, model: Any, count: int, length: int, threads: int) -> None:
        parameters = library.llama_context_default_params()
        parameters.n_ctx = length + 64
        parameters.n_batch = 512
        parameters.n_seq_max = count
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True
        self._library, self._count = library, count
        self.context = library.llama_init_from_model(model, parameters)
        self._batch = library.llama_batch_init(512, 0, count)

    def read(self, ids: Sequence[int]) -> None:
        """Prefill sequence 0 and let the others continue from its cells."""
        for at in range(0, len(ids), 512):
            part = ids[at : at + 512]
            self._run([(token, at + i, 0, at + i == len(ids) - 1) for i, token in enumerate(part)])
        memory = self._library.llama_get_memory(self.context)
        for sequence in range(1, self._count):
            self._library.llama_memory_seq_cp(memory, 0, sequence, -1, -1)

    def step(self, sequences: Sequence[int], tokens: Sequence[int], position: int) -> None:
        rows = zip(sequences, tokens, strict=True)
        self._run([(token, position, sequence, True) for sequence, token in rows])

    def close(self) -> None:
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self.context)

    def _run(self, rows: Sequence[tuple[int, int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        status = self._library.llama_decode(self.context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        # Work is finished only when its logits are asked for.
        self._library.llama_get_logits(self.context)


KINDS: dict[str, Callable[[str, int], Any]] = {
    "edgetts": Edgetts,
    "drafting": Drafting,
    "llamacpp": OnLlamaCpp,
    "llamacpp-drafting": DraftingOnLlamaCpp,
    "llama": Llama,
    "genai": GenAI,
}


def _timed(work: Callable[[], object]) -> float:
    began = clock()
    work()
    return clock() - began


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _decoded(began: float, first: float, ended: float, tokens: int) -> Figures:
    return {
        "ms_per_token": 1e3 * (ended - first) / max(1, tokens - 1),
        "first_token_ms": 1e3 * (first - began),
        "tokens": tokens,
    }


def _batched(began: float, first: float, ended: float, tokens: int, samples: int) -> Figures:
    return {
        "tokens_per_second": (tokens - samples) / (ended - first),
        "tokens_per_second_with_prompt": tokens / (ended - began),
        "first_token_ms": 1e3 * (first - began),
        "tokens": tokens,
    }


def _prefilled(seconds: float, tokens: int) -> Figures:
    return {"tokens_per_second": tokens / seconds, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speak JSON lines: one measurement for each line read.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    # Libraries print where they please; the pipe is ours alone.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        kind: Any = KINDS[arguments.kind]
        model = str(Path(arguments.model).expanduser()) if os.sep in arguments.model else arguments.model
        contestant = kind(model, arguments.threads)
        print(json.dumps({name: version(name) for name in kind.packages}), file=replies, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            figures = getattr(contestant, request["call"])(**request["arguments"])
            print(json.dumps(figures), file=replies, flush=True)


if __name__ == "__main__":
    main()
