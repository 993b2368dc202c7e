"""Hostile programs in the sandbox: each is contained, and leaves no process and no file behind."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from edgetts.errors import InvalidInput, RuntimeFailure, Unsupported
from edgetts.sandbox import Confinement, Limits, confinement, run_python
from edgetts.sandbox.scratch import remove

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no program is ever run on Windows")

FOUND = confinement() if os.name == "posix" else Confinement(frozenset(), ())
confined = pytest.mark.skipif(
    not FOUND.complete, reason=f"this machine cannot confine programs: {FOUND.failed}"
)
REACHED = "REACHED"
SHORT = Limits(seconds=1)


def sandboxed() -> set[int]:
    """Return the processes that a sandbox started, whoever their parent is by now."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and "edgetts.sandbox.child" in " ".join(
                process.cmdline()
            ):
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing that a sandbox started or wrote outlives the call: no process, no file, no descriptor."""
    root = tmp_path_factory.mktemp("root")
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    before = sandboxed()
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    descriptors = psutil.Process().num_fds()
    yield root
    assert list(root.iterdir()) == []
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children
    # Other tests may run beside this one: what is new must be gone soon by itself.
    deadline = time.monotonic() + 5
    while (left := sandboxed() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()
    assert psutil.Process().num_fds() <= descriptors


def attempts(*bodies: str, limits: Limits = Limits()) -> dict[str, str]:  # noqa: B008 - frozen
    """Run a program that tries each of these, and return what came of it: REACHED, or an error."""
    ran = run_python(
        f"""
import os, sys
said = {{}}
for body in {bodies!r}:
    try:
        exec(body, {{"os": os, "sys": sys}})
        said[body] = "{REACHED}"
    except BaseException as error:
        said[body] = f"{{type(error).__name__}}: {{error}}"
""",
        result="said",
        limits=limits,
    )
    assert ran.finished, ran
    assert list(ran.value) == list(dict.fromkeys(bodies))
    assert ran.stdout == ""
    return dict(ran.value)


def refused(*bodies: str, limits: Limits = Limits()) -> bool:  # noqa: B008 - frozen
    said = attempts(*bodies, limits=limits)
    assert [body for body, what in said.items() if what == REACHED] == []
    assert [
        what for what in said.values() if what.startswith(("SyntaxError", "NameError", "AttributeError"))
    ] == []
    return True


@confined
class TestHonestPrograms:
    def test_what_a_program_prints_returns_and_reads_comes_back(self) -> None:
        ran = run_python(
            "import sys\ntext = input()\nprint('out', text)\nprint('err', file=sys.stderr)\nx = {text: (1, 2.5)}",
            result="x",
            stdin="grüße\n",
        )
        assert (ran.outcome, ran.value) == ("finished", {"grüße": (1, 2.5)})
        assert (ran.stdout, ran.stderr, ran.exit_code, ran.error) == ("out grüße\n", "err\n", 0, "")
        assert ran.finished
        assert 0 < ran.seconds < 10

    def test_everything_promised_is_enforced_and_said(self) -> None:
        promised = {
            "time",
            "output",
            "environment",
            "cpu",
            "memory",
            "file size",
            "processes",
            "network",
            "files",
        }
        assert run_python("").enforced == promised == confinement().enforced

    def test_the_standard_library_can_be_imported(self) -> None:
        modules = [
            "asyncio", "bz2", "csv", "ctypes", "dataclasses", "decimal", "hashlib", "json", "lzma", "sqlite3", "ssl",
            "statistics", "threading", "typing", "unittest", "xml.etree.ElementTree", "zoneinfo",
        ]  # fmt: skip
        here = [name for name in modules if importlib.util.find_spec(name)]
        said = attempts(*[f"import {name}" for name in here])
        assert set(said.values()) == {REACHED}, said

    def test_what_is_installed_beside_python_cannot_be_imported(self) -> None:
        assert run_python("import pytest").error == "ModuleNotFoundError: No module named 'pytest'"
        assert run_python("import edgetts").error == "ModuleNotFoundError: No module named 'edgetts'"
        assert run_python(f"import sys; sys.path += {sys.path!r}; import pytest").outcome == "raised"

    def test_the_library_works_inside(self) -> None:
        ran = run_python(
            """
import asyncio, collections, dataclasses, datetime, decimal, fractions, itertools, random, re, tempfile, threading
async def twice(x):
    await asyncio.sleep(0.01)
    return 2 * x
@dataclasses.dataclass
class Point:
    x: int
done = []
threads = [threading.Thread(target=done.append, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("kept"); file.seek(0)
    text = file.read()
with open("mine.txt", "w") as file: file.write("abc")
with open("mine.txt", "a") as file: file.write("def")
import os
os.rename("mine.txt", "yours.txt")
answer = [asyncio.run(twice(21)), Point(1) == Point(1), sorted(done), text, open("yours.txt").read(), os.listdir(),
          str(datetime.date(2020, 1, 1)), decimal.Decimal("0.1"), fractions.Fraction(1, 3), collections.Counter("aab")]
""",
            result="answer",
        )
        assert ran.finished, ran.stderr
        assert [*ran.value[:6]] == [42, True, [0, 1, 2, 3], "kept", "abcdef", ["yours.txt"]]
        assert str(ran.value[6:]) == (
            "['2020-01-01', Decimal('0.1'), Fraction(1, 3), Counter({'a': 2, 'b': 1})]"
        )

    def test_a_program_does_the_same_each_time_whatever_order_its_sets_have(self) -> None:
        program = "print(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}), hash('x'))"
        assert len({run_python(program).stdout for _ in range(3)}) == 1

    def test_an_error_is_told_as_python_tells_it_without_our_frames(self) -> None:
        ran = run_python("def f():\n    return 1 / 0\nf()")
        assert (ran.outcome, ran.error, ran.exit_code) == ("raised", "ZeroDivisionError: division by zero", 1)
        assert ran.stderr.startswith('Traceback (most recent call last):\n  File "<program>", line 3')
        assert "launcher" not in ran.stderr

    def test_handlers_at_exit_and_threads_are_waited_for(self) -> None:
        ran = run_python(
            "import atexit, threading, time\natexit.register(print, 'last')\n"
            "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\nprint('main')"
        )
        assert (ran.outcome, ran.stdout) == ("finished", "main\nthread\nlast\n")

    @pytest.mark.parametrize(
        ("program", "error"),
        [
            ("1 +", "SyntaxError"),
            ("x = '\0'", ""),
            ("(" * 5000, ""),
            ("-" * 100_000 + "1", ""),
            ("raise Exception('é\\ud800')", "Exception"),
            ("def f(): yield\nf().throw(KeyboardInterrupt)", "KeyboardInterrupt"),
        ],
    )
    def test_bad_programs_raise_inside_and_never_here(self, program: str, error: str) -> None:
        ran = run_python(program)
        assert ran.outcome in ("raised", "memory", "killed")
        assert ran.error.startswith(error)

    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            ("object()", "NotPlainError"),
            ("nothing", "NameError"),
            ("'x' * 100_000", "NotPlainError"),
            ("1 +", "SyntaxError"),
            ("deep", "NotPlainError"),
        ],
    )
    def test_a_result_that_is_no_plain_data_is_an_error_of_the_program(
        self, result: str, reason: str
    ) -> None:
        ran = run_python("deep = []\nfor _ in range(1000): deep = [deep]", result=result)
        assert (ran.outcome, ran.value) == ("raised", None)
        assert ran.error.startswith(reason)

    def test_several_threads_run_programs_at_once(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            ran = list(pool.map(lambda i: run_python(f"print({i} * 'x')", result=f"{i} ** 2"), range(8)))
        assert [each.value for each in ran] == [i**2 for i in range(8)]
        assert [each.stdout for each in ran] == [i * "x" + "\n" for i in range(8)]


@confined
class TestProcesses:
    def test_no_process_can_be_started_or_detached(self) -> None:
        assert refused(
            "os.fork()",
            "os.forkpty()",
            "os.posix_spawn(sys.executable, [sys.executable], {})",
            "os.execv(sys.executable, [sys.executable])",
            "import subprocess\nsubprocess.run(['true'])",
            "assert os.system('true') == 0",
            "import multiprocessing\np = multiprocessing.Process(target=print)\np.start()",
            "import pty\npty.spawn('sh')",
            "import ctypes\nassert ctypes.CDLL(None).fork() >= 0",
            "import ctypes\nassert ctypes.CDLL(None).vfork() >= 0",
            # clone3 with a struct of zeros and SIGCHLD, past every library.
            "import ctypes\na = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)\nassert ctypes.CDLL(None).syscall(435, a, 64) >= 0",
            "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
            "os.setsid()",
            "os.setpgid(0, 0)",
        )

    def test_a_fork_bomb_stays_one_process(self) -> None:
        ran = run_python(
            "import os\nwhile True:\n    try:\n        os.fork()\n        print('forked', flush=True)\n"
            "    except OSError:\n        pass",
            limits=SHORT,
        )
        assert (ran.outcome, ran.stdout) == ("timeout", "")

    def test_a_bomb_of_threads_is_ended(self) -> None:
        ran = run_python(
            "import threading, time\nthreading.stack_size(32768)\nwhile True:\n"
            "    try:\n        threading.Thread(target=time.sleep, args=(99,)).start()\n    except RuntimeError:\n        pass"
        )
        assert ran.outcome in ("threads", "memory", "killed"), ran
        assert ran.seconds < 8

    def test_a_thread_that_never_ends_is_ended(self) -> None:
        ran = run_python(
            "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()", limits=SHORT
        )
        assert ran.outcome == "timeout"


@confined
class TestTimeAndSignals:
    def test_whatever_does_not_end_is_ended_on_time(self) -> None:
        programs = [
            "while True: pass",
            "import time; time.sleep(999)",
            "import signal\nfor s in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
            "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
            "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            "import os\nos.close(0); os.close(1); os.close(2)\nwhile True: pass",
            "import os\nos.closerange(0, 64)\nwhile True: pass",
            "import atexit\n@atexit.register\ndef f():\n    while True: pass",
            "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
            "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
            "10 ** 10 ** 9",
        ]
        with ThreadPoolExecutor(len(programs)) as pool:
            ends = list(pool.map(lambda program: run_python(program, limits=Limits(seconds=2)), programs))
        for program, ran in zip(programs, ends, strict=True):
            assert (ran.outcome, ran.exit_code) == ("timeout", -signal.SIGKILL), (program, ran)
            assert ran.seconds >= 2

    def test_cpu_time_is_limited_over_all_threads(self) -> None:
        ran = run_python("while True: pass", limits=Limits(cpu_seconds=1, seconds=30))
        assert (ran.outcome, ran.error) == ("timeout", "its CPU time ran out")

    def test_ignoring_the_signal_of_the_cpu_limit_gains_a_second(self) -> None:
        ran = run_python(
            "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            limits=Limits(cpu_seconds=1, seconds=30),
        )
        assert (ran.outcome, ran.exit_code) == ("killed", -signal.SIGKILL)

    def test_no_other_process_is_touched_and_no_limit_raised(self) -> None:
        assert refused(
            "os.kill(os.getppid(), 0)",
            f"os.kill({os.getpid()}, 0)",
            "os.kill(-1, 0)",
            "os.kill(0, 0)",
            "os.kill(1, 0)",
            f"os.killpg(os.getpgid({os.getpid()}), 0)",
            f"import signal\nsignal.pidfd_send_signal(os.pidfd_open({os.getpid()}), 0)",
            f"import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, {os.getpid()})",
            f"import ctypes\nassert ctypes.CDLL(None).ptrace(16, {os.getpid()}, 0, 0) == 0",
            "import ctypes\nassert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0",
            f"import resource\nresource.prlimit({os.getpid()}, resource.RLIMIT_CPU)",
            "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
            "import resource\nresource.prlimit(0, resource.RLIMIT_AS, (1 << 40, 1 << 40))",
            "os.setuid(65534)",
            "os.setpriority(os.PRIO_PROCESS, 0, -20)",
            "os.sched_setaffinity(0, {0})",
            "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')",
        )

    @pytest.mark.parametrize(
        ("program", "number"),
        [
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL),
            ("import os; os.abort()", signal.SIGABRT),
            ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
            ("import os, signal; signal.raise_signal(signal.SIGTERM)", signal.SIGTERM),
        ],
    )
    def test_a_program_that_kills_itself_is_told_by_its_signal(self, program: str, number: int) -> None:
        ran = run_python(program)
        assert (ran.outcome, ran.exit_code) == ("killed", -number)
        assert ran.error == f"{signal.Signals(number).name} ended it"

    def test_recursion_ends_as_an_error_or_a_crash_of_the_child(self) -> None:
        assert run_python("def f(): f()\nf()").error.startswith("RecursionError")
        ran = run_python(
            "import sys\nsys.setrecursionlimit(10 ** 9)\nclass C:\n    def __repr__(self): return repr(self)\nrepr(C())"
        )
        assert ran.outcome in ("killed", "raised", "memory"), ran

    def test_an_interrupt_here_ends_what_runs_and_removes_its_directory(self, nothing_left: Path) -> None:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run_python("import time; time.sleep(999)", limits=Limits(seconds=20))
        timer.join()

    def test_a_program_ends_with_the_process_that_runs_it(self) -> None:
        code = "from edgetts.sandbox import *; confinement(); print('on', flush=True); run_python('while True: pass', limits=Limits(seconds=60, cpu_seconds=60))"
        before = sandboxed()
        environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
        ) as caller:
            assert caller.stdout is not None
            caller.stdout.readline()
            deadline = time.monotonic() + 20
            while not sandboxed() - before:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.5)
            assert sandboxed() - before
            caller.kill()
        for directory in Path(tempfile.gettempdir()).iterdir():
            # A process killed outright cannot tidy up; in the temporary directory of the test it lies alone.
            remove(directory)
        while sandboxed() - before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@confined
class TestMemoryAndOutput:
    @pytest.mark.parametrize(
        "program",
        [
            "x = bytearray(4 << 30)",
            "x = [0]\nwhile True: x += x",
            "x = 'a'\nwhile True: x += x",
            "def f(n): return [f(n + 1) for _ in range(1)] if n < 0 else [0] * 10 ** 10\nf(0)",
            "kept = []\nwhile True: kept.append(bytes(1 << 20))",
        ],
    )
    def test_memory_is_limited(self, program: str) -> None:
        ran = run_python(program, limits=Limits(memory_bytes=128 << 20))
        assert ran.outcome == "memory", ran
        assert ran.error.startswith("MemoryError")

    def test_a_program_that_catches_memory_errors_goes_on_within_its_limit(self) -> None:
        ran = run_python("try:\n    x = bytearray(4 << 30)\nexcept MemoryError:\n    print('none')")
        assert (ran.outcome, ran.stdout) == ("finished", "none\n")

    def test_memory_cannot_be_had_by_other_ways(self) -> None:
        assert refused(
            "import mmap\nmmap.mmap(-1, 4 << 30)",
            "os.memfd_create('x')",
            "import multiprocessing.shared_memory as m\nm.SharedMemory(create=True, size=1)",
            "import ctypes\nassert ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0",
        )

    @pytest.mark.parametrize(
        "program",
        [
            "while True: print('x' * 1000)",
            "import os\nwhile True: os.write(1, b'y' * 65536)",
            "import os\nwhile True: os.write(2, b'y' * 65536)",
            "import sys\nwhile True: sys.stderr.write('no end of a line')",
            "print('x' * 10_000_000)",
        ],
    )
    def test_output_is_bounded_while_it_is_read(self, program: str) -> None:
        ran = run_python(program, limits=Limits(output_bytes=100_000))
        assert ran.outcome == "output", ran
        assert len(ran.stdout) <= 100_000
        assert len(ran.stderr) <= 8192
        assert ran.seconds < 9

    def test_the_beginning_of_stdout_and_the_end_of_stderr_are_kept(self) -> None:
        ran = run_python(
            "import sys\nprint('first')\nsys.stderr.write('x' * 20_000 + 'last')\nwhile True: print('y' * 100)",
            limits=Limits(output_bytes=50_000),
        )
        assert ran.stdout.startswith("first\ny")
        assert ran.stderr.endswith("last") or ran.stderr == ""
        assert len(ran.stdout) <= 50_000

    def test_output_that_is_no_text_is_no_error(self) -> None:
        assert run_python("import os; os.write(1, b'\\xff\\xfe')").stdout == "\ufffd\ufffd"


@confined
class TestFiles:
    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        path = tmp_path / "victim.txt"
        path.write_text("secret")
        path.chmod(0o640)
        return path

    def test_a_file_outside_is_neither_read_nor_changed(self, victim: Path) -> None:
        before = victim.stat()
        path = str(victim)
        assert refused(
            f"open({path!r}).read()",
            f"open({path!r}, 'w')",
            f"open({path!r}, 'a')",
            f"os.open({path!r}, os.O_RDONLY)",
            f"os.unlink({path!r})",
            f"os.rename({path!r}, 'mine')",
            f"os.link({path!r}, 'mine')",
            f"os.symlink({path!r}, 'mine')\nopen('mine').read()",
            f"os.truncate({path!r}, 0)",
            f"os.chmod({path!r}, 0o777)",
            f"os.chmod({path!r}, 0o640)",
            f"os.chown({path!r}, 0, 0)",
            f"os.utime({path!r}, (0, 0))",
            f"os.setxattr({path!r}, 'user.x', b'1')",
            f"import shutil\nshutil.copy({path!r}, 'mine')",
            f"open({path!r} + '.new', 'w')",
            f"os.mkdir({path!r} + '.dir')",
            f"os.mkfifo({path!r} + '.fifo')",
            f"os.listdir(os.path.dirname({path!r}))",
            f"os.chdir(os.path.dirname({path!r}))\nopen('victim.txt').read()",
            f"d = os.open(os.path.dirname({path!r}), os.O_PATH)\nos.open('victim.txt', os.O_RDONLY, dir_fd=d)",
            f"import ctypes\nassert ctypes.CDLL(None).open({path!r}.encode(), 0) >= 0",
        )
        after = victim.stat()
        assert [entry.name for entry in victim.parent.iterdir()] == ["victim.txt"]
        assert victim.read_text() == "secret"
        assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (
            before.st_mode,
            before.st_mtime_ns,
            before.st_uid,
        )

    def test_nothing_of_the_machine_can_be_read(self) -> None:
        paths = [
            "/", "/etc/passwd", "/etc/hostname", "/root", "/tmp", "/sys", "/dev", "/dev/mem", "/dev/tty", "/dev/shm",  # noqa: S108
            "/var/log", "/home", "/proc/self/environ", "/proc/1/cmdline", "/proc/self/mem", "/proc/self/fd",
            f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem",
            str(Path.home()), __file__, pytest.__file__,
        ]  # fmt: skip
        assert refused(*[f"os.close(os.open({path!r}, os.O_RDONLY))" for path in paths])

    def test_what_may_be_read_is_not_changed(self) -> None:
        path = Path(os.__file__)
        before = path.stat()
        opened = f"fd = os.open({str(path)!r}, os.O_RDONLY)\n"
        assert refused(
            opened + "os.fchmod(fd, 0o777)",
            opened + "os.fchown(fd, 0, 0)",
            opened + "os.utime(fd)",
            opened + "os.ftruncate(fd, 0)",
            opened + "import fcntl\nfcntl.ioctl(fd, 0x40086602, bytes([16, 0, 0, 0, 0, 0, 0, 0]))",
            opened + "os.setxattr(fd, 'user.x', b'1')",
            f"open({str(path)!r}, 'r+')",
            f"os.rename({str(path)!r}, 'os.py')",
        )
        after = path.stat()
        assert (after.st_mode, after.st_size, after.st_mtime_ns) == (
            before.st_mode,
            before.st_size,
            before.st_mtime_ns,
        )

    def test_the_directory_is_empty_and_its_own_and_gone_afterwards(self, nothing_left: Path) -> None:
        ran = run_python("import os\nprint(os.listdir())\nopen('x', 'w').write('y')", result="os.getcwd()")
        assert ran.stdout == "[]\n"
        assert Path(ran.value).parent == nothing_left
        assert not Path(ran.value).exists()

    def test_no_directory_link_or_pipe_is_made_even_there(self) -> None:
        assert refused(
            "os.mkdir('d')",
            "os.symlink('/', 'l')",
            "os.mkfifo('p')",
            "open('a', 'w').close()\nos.link('a', 'b')",
            "os.mknod('m', 0o60000)",
        )

    def test_a_file_grows_to_its_limit_and_no_further(self) -> None:
        said = attempts(
            "with open('big', 'wb') as file: file.write(bytes(2_000_000))",
            "open('sparse', 'wb').truncate(1 << 40)",
            limits=Limits(file_bytes=1 << 20),
        )
        assert all("File too large" in what for what in said.values())

    def test_writing_can_be_forbidden_altogether(self) -> None:
        assert (
            "Permission denied" in attempts("open('x', 'w')", limits=Limits(file_bytes=0))["open('x', 'w')"]
        )

    def test_many_files_are_too_many(self) -> None:
        ran = run_python("import itertools\nfor i in itertools.count(): open(f'f{i}', 'w')")
        assert ran.outcome == "files", ran
        ran = run_python(
            "import time\nfor i in range(5): open(f'f{i}', 'wb').write(bytes(900_000))\ntime.sleep(9)",
            limits=Limits(file_bytes=1 << 20),
        )
        assert ran.outcome == "files", ran

    def test_a_tree_too_deep_for_a_path_or_closed_to_its_owner_is_removed(self, nothing_left: Path) -> None:
        top = nothing_left / "tree"
        top.mkdir()
        here = os.open(top, os.O_RDONLY)
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        (top / "closed").mkdir(mode=0)
        (top / "link").symlink_to("/")
        remove(top)
        assert not top.exists()


@confined
class TestNetworkAndEnvironment:
    def test_no_network_is_reached(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(0)
            port = listener.getsockname()[1]
            assert refused(
                f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
                "import socket\nsocket.socket()",
                f"import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
                "import socket\nsocket.socket(socket.AF_UNIX)",
                "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
                "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
                "import socket\na, b = socket.socketpair()\na.bind('x')",
                "import socket\na, b = socket.socketpair()\na.connect('/run/systemd/notify')",
                "import socket\na, b = socket.socketpair()\na.sendto(b'x', '/dev/log')",
                "import socket\nsocket.getaddrinfo('example.org', 80)",
                f"import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)",
                "import ctypes\nassert ctypes.CDLL(None).socket(2, 1, 0) >= 0",
                "import ctypes\nassert ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0",
            )
            with pytest.raises(BlockingIOError):
                listener.accept()

    def test_our_environment_and_arguments_stay_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGETTS_TEST_SECRET", "hunter2")
        ran = run_python(
            """
import ctypes, os, sys
print(sorted(os.environ), sys.argv, sys.orig_argv)
environment = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
i = 0
while environment[i]:
    print(environment[i]); i += 1
for pid in (os.getppid(), "self", 1):
    try: print(open(f"/proc/{pid}/environ").read())
    except OSError as error: print(error.errno)
"""
        )
        assert ran.finished, ran
        assert "hunter2" not in ran.stdout + ran.stderr
        assert ran.stdout.startswith("['HOME', 'LANG', 'TMPDIR', 'TZ'] ['<program>']")

    def test_no_descriptor_of_ours_is_inherited(self, tmp_path: Path) -> None:
        with (tmp_path / "ours.txt").open("w+") as file:
            os.set_inheritable(file.fileno(), True)
            ran = run_python(
                "import os\nfor fd in range(3, 64):\n    try: print(fd, os.fstat(fd).st_mode >> 12)\n    except OSError: pass"
            )
        # Only the pipe that the end is reported by.
        assert [line.split()[1] for line in ran.stdout.splitlines()] == ["1"]


@confined
class TestReporting:
    @pytest.mark.parametrize(
        ("program", "code"),
        [
            ("import sys; sys.exit()", 0),
            ("import sys; sys.exit(3)", 3),
            ("import sys; sys.exit('words')", 1),
            ("raise SystemExit(2 ** 40)", 0),
            ("raise SystemExit([])", 1),
            ("import os; os._exit(0)", 0),
            ("import os; os._exit(7)", 7),
            ("exit = quit = None; import atexit, os; atexit.register(os._exit, 5)", 5),
            ("import ctypes; ctypes.CDLL(None).exit(4)", 4),
        ],
    )
    def test_ending_itself_is_not_finishing(self, program: str, code: int) -> None:
        ran = run_python(program, result="1")
        assert (ran.outcome, ran.exit_code, ran.value) == ("exited", code, None)

    @pytest.mark.parametrize(
        "program",
        [
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff{]' * 100 + b'\\n')\n    except OSError: pass",
            "import os\nos.closerange(3, 64)",
            "import os\nfor fd in range(3, 64):\n    try: os.dup2(1, fd)\n    except OSError: pass",
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'[' * 500_000 + b'\\n')\n    except OSError: pass",
            'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'{"enforced": [], "outcome": 7, "value": 7, "error": []}\\n\')\n    except OSError: pass',
            "import sys\nsys.modules.clear()",
            "import builtins\nfor name in list(vars(builtins)): delattr(builtins, name)",
            "import sys\nsys.stdout = sys.stderr = sys.excepthook = None",
            "import os\nos._exit = os.write = None",
            "import gc\nfor x in gc.get_objects():\n    if isinstance(x, dict) and 'write_json' in x: x.clear()",
            "import sys\nsys.settrace(lambda *a: 1 / 0); sys.setprofile(lambda *a: 1 / 0)",
            "import sys\nsys.excepthook = lambda *a: 1 / 0\nraise ValueError",
            "import threading\nthreading._shutdown = lambda: 1 / 0",
            "class E(BaseException):\n    def __str__(self): raise self\nraise E",
            "import sys\nsys.setrecursionlimit(30)",
        ],
    )
    def test_whatever_a_program_does_to_its_report_is_its_own_loss(self, program: str) -> None:
        ran = run_python(program, limits=Limits(seconds=5))
        assert ran.outcome in ("finished", "raised", "exited", "output", "killed"), ran
        assert isinstance(ran.error, str)
        assert ran.enforced == FOUND.enforced

    def test_a_flood_of_reports_is_ended(self) -> None:
        ran = run_python(
            "import os\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, b'x' * 65536)\n        except OSError: pass"
        )
        assert ran.outcome == "output"

    def test_what_is_enforced_is_told_before_the_program_runs(self) -> None:
        # A forged report can say what it likes of the program itself, and nothing of the machine.
        ran = run_python(
            'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'{"refused": "x", "enforced": ["nonsense"]}\\n\')\n'
            "    except OSError: pass\nos._exit(0)"
        )
        assert (ran.outcome, ran.enforced) == ("exited", FOUND.enforced)


class TestRefusal:
    @pytest.fixture
    def poor(self, monkeypatch: pytest.MonkeyPatch) -> Confinement:
        """A machine with neither Landlock nor seccomp."""
        module = sys.modules["edgetts.sandbox.confinement"]
        enforced = frozenset({"time", "output", "environment", "cpu", "memory", "file size"})
        found = Confinement(enforced, ("resources",), {"landlock": "OSError: nothing", "seccomp": "none"})
        monkeypatch.setattr(module, "_probed", lambda: found)
        return found

    @pytest.mark.usefixtures("poor")
    def test_a_machine_that_cannot_confine_refuses_and_names_what_lacks(self) -> None:
        with pytest.raises(Unsupported) as caught:
            run_python("open('was-run', 'w')")
        assert "from files outside its directory and from the network" in str(caught.value)
        assert "landlock: OSError: nothing" in str(caught.value)
        assert "unconfined=True" in caught.value.hint
        assert "--allow-unconfined" in caught.value.hint

    @pytest.mark.usefixtures("poor")
    def test_a_user_may_allow_it_and_is_told_what_was_kept(self) -> None:
        ran = run_python("print(1)", result="2", unconfined=True)
        assert (ran.outcome, ran.stdout, ran.value) == ("finished", "1\n", 2)
        kept = {"cpu", "file size"} | ({"memory"} if sys.platform == "linux" else set())
        assert ran.enforced == {"time", "output", "environment"} | kept
        assert not {"files", "network", "processes"} & ran.enforced

    @pytest.mark.usefixtures("poor")
    def test_without_a_filter_of_calls_every_process_is_found_and_ended(self) -> None:
        detached = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(999)
    os._exit(0)
{after}
"""
        before = sandboxed()
        ran = run_python(detached.format(after="time.sleep(999)"), unconfined=True)
        assert ran.outcome == "processes"
        assert sandboxed() <= before
        ran = run_python(detached.format(after="os.wait()"), unconfined=True)
        assert ran.outcome in ("finished", "processes")
        assert sandboxed() <= before

    @pytest.mark.usefixtures("poor")
    def test_a_mechanism_that_fails_after_all_means_nothing_is_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = sys.modules["edgetts.sandbox.confinement"]
        monkeypatch.setattr(
            module, "_probed", lambda: Confinement(frozenset({"files", "network"}), ("magic",))
        )
        with pytest.raises(RuntimeFailure, match="was not run, as its process could not be confined"):
            run_python("print('run')")

    def test_what_fails_when_it_is_tried_is_not_promised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = sys.modules["edgetts.sandbox.confinement"]
        monkeypatch.setattr(module, "_MECHANISMS", ("resources", "magic"))
        monkeypatch.setattr(sys, "platform", "linux")
        found = module._probed.__wrapped__()
        assert (found.complete, found.mechanisms) == (False, ("resources",))
        assert found.failed == {"magic": "KeyError: 'magic'"}
        assert found.enforced >= {"time", "output", "environment", "cpu"}

    def test_nothing_runs_without_an_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "")
        with pytest.raises(Unsupported, match="need a Python interpreter"):
            run_python("")

    def test_nothing_runs_on_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["edgetts.sandbox.confinement"].os, "name", "nt")
        with pytest.raises(Unsupported, match="cannot be run on this system"):
            confinement()
        monkeypatch.undo()

    @pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
    @pytest.mark.usefixtures("poor")
    def test_an_interpreter_that_does_not_start_is_a_failure_of_ours(
        self, python: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", python)
        with pytest.raises(RuntimeFailure, match="could not"):
            run_python("", unconfined=True)

    @pytest.mark.parametrize("program", [b"print()", None, "x = '\ud800'"])
    def test_a_program_that_is_no_text_is_refused(self, program: str) -> None:
        with pytest.raises(InvalidInput):
            run_python(program)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seconds": 0}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"cpu_seconds": -1},
            {"memory_bytes": 1 << 20}, {"output_bytes": 0}, {"file_bytes": -1}, {"threads": 0},
            {"value_bytes": 1.5}, {"files": True}, {"seconds": "1"},
        ],
    )  # fmt: skip
    def test_limits_that_cannot_be_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]
