"""Record a chat with the default model in a terminal, as text, into docs/chat-session.txt.

python tools/record_chat.py

The keys below are pressed in a pseudo-terminal that runs `edgetts chat` with a fixed seed, each when the prompt is there. What
the terminal showed is written as it stood, but for what differs from run to run: times, rates and joules become "...".
POSIX only. Needs the model in the cache, or a network.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

RECORDING = Path(__file__).resolve().parent.parent / "docs" / "chat-session.txt"
COMMAND = ("edgetts", "chat", "--seed", "7", "--max-tokens", "120", "--no-history")
PROMPT, MORE = ">>> ", "... "
CTRL_C, CTRL_D = "\x03", "\x04"
KEYS = (
    (PROMPT, "/system You are a patient teacher. Answer in one or two sentences.\r"),
    (PROMPT, "Why is the sky blue?\r"),
    (PROMPT, '"""\r'),
    (MORE, "And at sunset?\r"),
    (MORE, 'Is it the same reason?"""\r'),
    (PROMPT, "/samples 5\r"),
    (PROMPT, "What is 17 + 25?\r"),
    (PROMPT, "/samples off\r"),
    (PROMPT, "/budget 12t\r"),
    (PROMPT, "Tell me about trains.\r"),
    (PROMPT, "/stat\r"),
    (PROMPT, "/stats\r"),
    (PROMPT, "/save lesson.json\r"),
    (PROMPT, CTRL_C),
    (PROMPT, CTRL_D),
)
"""What is waited for, and the keys that are pressed then."""
_DIFFERS = (
    (re.compile(r"[0-9.]+ s\b"), "... s"),
    (re.compile(r"[0-9.]+ tokens/s"), "... tokens/s"),
    (re.compile(r"[0-9.]+ J \([^;\n]*"), "... J (...)"),
    (re.compile(r"joules unknown"), "... J (...)"),
)


def record(directory: Path) -> str:
    """Run the chat in a directory, and return what the terminal showed. Raises SystemExit where it fails."""
    environment = {**os.environ, "TERM": "dumb", "PYTHONUTF8": "1"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvpe(  # noqa: S606 - a fixed command
            sys.executable,
            [sys.executable, "-c", "from edgetts.cli import main; main(prog_name='edgetts')", *COMMAND[1:]],
            environment,
        )
    shown, read = "", 0
    for wanted, keys in KEYS:
        ends = time.monotonic() + 300
        # A prompt stands at the beginning of a line, and nothing behind it.
        while not shown[read:].endswith(wanted):
            if time.monotonic() > ends:
                os.kill(child, signal.SIGKILL)
                raise SystemExit(f"{wanted!r} never came:\n{shown}")
            if select.select([terminal], [], [], 1)[0]:
                try:
                    shown += os.read(terminal, 65536).decode(errors="replace")
                except OSError:
                    raise SystemExit(f"The chat ended early:\n{shown}") from None
        read = len(shown)
        # Python must be back at the prompt to notice Ctrl-C there.
        time.sleep(0.3)
        os.write(terminal, keys.encode())
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way of telling that the other side is closed
            break
        if not part:
            break
        shown += part.decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"The chat ended with {status}:\n{shown}")
    return shown


def cleaned(shown: str) -> str:
    """Return what stood in the terminal in the end, without what differs from run to run."""
    lines = []
    for line in shown.replace("\r\n", "\n").split("\n"):
        # A carriage return begins the line anew: a count of samples is overwritten by what follows.
        last = [part for part in line.split("\r") if part.strip()]
        lines.append(last[-1] if last else "")
    text = "\n".join(lines).rstrip() + "\n"
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        recorded = cleaned(record(Path(directory)))
    RECORDING.write_text(f"$ {' '.join(COMMAND)}\n{recorded}", encoding="utf-8")
