"""Time and memory of `edgetts export`, run as a child process.

    python benchmarks/conversion.py smollm2.gguf qwen05.gguf --quantize keep int4

Memory is the child's largest resident size as the operating system counted it; pages of the mapped
source and of the output that ONNX Runtime maps for the final check are in it. On a busy machine look
at the processor time, of all threads together, beside the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interleave import command, device, spread

# What the installed script does, by the Python that runs this.
_COMMAND = ["-c", "from edgetts.cli import main; main()"]


def convert(source: Path, quantize: str, directory: Path) -> tuple[float, float, int, int]:
    """Return seconds, seconds of processor time, peak bytes of memory and bytes of the bundle."""
    output = directory / "model.edge"
    arguments = [sys.executable, *_COMMAND, "export", str(source), "-o", str(output), "--force"]
    began = time.perf_counter()
    process = subprocess.Popen([*arguments, "--quantize", quantize], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"The export failed with status {process.returncode}.")
    # Kilobytes on Linux, bytes on macOS.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return took, usage.ru_utime + usage.ru_stime, peak, sum(file.stat().st_size for file in output.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path, nargs="+", help="GGUF files or Hugging Face directories")
    parser.add_argument("--quantize", nargs="+", default=["keep"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    results = {}
    print(f"{'':32}{'seconds':>9}  {'quartiles':>15}  {'CPU s':>6}  {'peak MB':>8}  {'bundle MB':>9}")
    with tempfile.TemporaryDirectory() as directory:
        for source in arguments.sources:
            for quantize in arguments.quantize:
                runs = [convert(source, quantize, Path(directory)) for _ in range(arguments.rounds)]
                s, cpu = spread([r[0] for r in runs]), spread([r[1] for r in runs])["median"]
                peak, size = max(r[2] for r in runs), runs[0][3]
                print(
                    f"{source.name + ' ' + quantize:32}{s['median']:>9.1f}  "
                    f"{s['low']:>6.1f} .. {s['high']:<5.1f}  {cpu:>6.1f}  {peak / 1e6:>8.0f}  {size / 1e6:>9.1f}"
                )
                seconds = {name: round(value, 3) for name, value in s.items()}
                results[f"{source.name} {quantize}"] = {
                    "seconds": seconds,
                    "cpu_seconds": round(cpu, 3),
                    "peak_bytes": peak,
                    "bundle_bytes": size,
                }
    body = {"benchmark": "conversion", "command": command(), "device": device()}
    print(json.dumps(body | {"results": results}))


if __name__ == "__main__":
    main()
