"""Checks of generated functions: right ones pass, and no program gets one passed that it did not earn."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, Unsupported
from edgetts.sandbox import Checked, Confinement, Limits, confinement, run_checks
from edgetts.sandbox.child import plain, seccomp
from edgetts.sandbox.child.syscalls import ALLOWED, NUMBERS, REFUSED

FOUND = confinement() if os.name == "posix" else Confinement(frozenset(), ())
confined = pytest.mark.skipif(
    not FOUND.complete, reason=f"this machine cannot confine programs: {FOUND.failed}"
)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = tmp_path_factory.mktemp("root")
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert list(root.iterdir()) == []
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children


def passes(program: str, *checks: str, **options: Any) -> list[bool]:
    checked = run_checks(program, checks, **options)
    assert len(checked.results) == len(checks)
    assert all(result.passed == (not result.reason) for result in checked.results)
    return [result.passed for result in checked.results]


@confined
class TestHonestPrograms:
    def test_each_check_is_told_and_why_it_failed(self) -> None:
        checked = run_checks(
            "def double(x):\n    return 2 * x",
            [
                "assert double(2) == 4",
                "double(2) == 5",
                "y = double(3)\nassert y == 7, 'no'",
                "y == 6",
                "undefined",
                "1 +",
                "double(1, 2)",
            ],
        )
        assert [result.passed for result in checked.results] == [
            True,
            False,
            False,
            True,
            False,
            False,
            False,
        ]
        assert [result.reason for result in checked.results][1:3] == [
            "it is false",
            "AssertionError: no in: assert y == 7, 'no'",
        ]
        assert checked.results[4].reason.startswith("NameError")
        assert checked.results[5].reason.startswith("SyntaxError")
        assert checked.results[6].reason.startswith("TypeError: double() takes 1 positional argument")
        assert not checked.passed
        assert checked.share == pytest.approx(2 / 7)
        assert (checked.execution.outcome, checked.execution.enforced) == ("finished", FOUND.enforced)

    def test_a_test_in_the_form_of_humaneval_passes(self) -> None:
        program = '''
import math
from typing import List

def poly(xs: list, x: float):
    """Evaluate a polynomial."""
    return sum([coeff * math.pow(x, i) for i, coeff in enumerate(xs)])

def find_zero(xs: List[float]):
    begin, end = -1.0, 1.0
    while poly(xs, begin) * poly(xs, end) > 0:
        begin *= 2.0
        end *= 2.0
    while end - begin > 1e-10:
        center = (begin + end) / 2.0
        if poly(xs, center) * poly(xs, begin) > 0:
            begin = center
        else:
            end = center
    return begin
'''
        test = """
METADATA = {}
def check(candidate):
    import copy, random
    rng = random.Random(42)
    for _ in range(20):
        coeffs = [rng.randint(-10, 10) or 1 for _ in range(2 * rng.randint(1, 4))]
        solution = candidate(copy.deepcopy(coeffs))
        assert math.fabs(poly(coeffs, solution)) < 1e-4
"""
        assert run_checks(program, [test + "\ncheck(find_zero)"]).passed

    def test_the_program_prints_to_its_own_output(self) -> None:
        checked = run_checks(
            "print('here')\ndef f(): print('there')", ["f() is None", "print('check') is None"]
        )
        assert checked.passed
        assert checked.execution.stdout == "here\nthere\n"

    @pytest.mark.parametrize(
        ("program", "checks"),
        [
            (
                "def sort(x):\n    x.sort()\ndef put(d, k, v):\n    d[k] = v\ndef deep(m):\n    m[0][1] = 9",
                ["x = [3, 1, 2]\nsort(x)\nassert x == [1, 2, 3]", "d = {1: 2}\nput(d, 3, 4)\nassert d == {1: 2, 3: 4}",
                 "inner = [1, 2]\nm = [inner]\ndeep(m)\nassert m == [[1, 9]] and inner == [1, 9]",
                 "s = [2, 1]\nsort(x=s)\nassert s == [1, 2]"],
            ),
            (
                "def apply(f, *xs):\n    return [f(x) for x in xs]\ndef make(n):\n    return lambda x: x + n\n"
                "def again(f, n, x):\n    return f(x) if n == 0 else again(lambda y: f(f(y)), n - 1, x)",
                ["apply(lambda x: x * 2, 1, 2) == [2, 4]", "apply(str, 1) == ['1']", "apply(len, 'ab') == [2]",
                 "make(3)(4) == 7", "import math\nassert apply(math.sqrt, 4) == [2.0]", "apply(make(1), 1) == [2]",
                 "again(lambda x: x + 1, 2, 0) == 4",
                 "seen = []\napply(seen.append, 5)\nassert seen == [5]",
                 "try:\n    apply(lambda x: 1 / x, 0)\nexcept ZeroDivisionError:\n    caught = True", "caught"],
            ),
            (
                "class Odd(ValueError):\n    pass\ndef f(x):\n    if x < 0: raise ValueError('negative')\n"
                "    if x % 2: raise Odd(x)\n    return {}[x]\ndef stop():\n    raise SystemExit(2)",
                ["try:\n    f(-1)\nexcept ValueError as e:\n    assert str(e) == 'negative'\nelse:\n    assert False",
                 "try:\n    f(1)\nexcept Odd as e:\n    assert e.args == (1,) and isinstance(e, ValueError)\nelse:\n    assert 0",
                 "try:\n    f(2)\nexcept KeyError as e:\n    assert e.args == (2,)\nelse:\n    assert False",
                 "try:\n    stop()\nexcept SystemExit as e:\n    assert e.code == 2\nelse:\n    assert False"],
            ),
            (
                "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x: int\n    y: int = 0\n"
                "    def __add__(self, other): return P(self.x + other.x, self.y + other.y)\n    def __len__(self): return 2\n"
                "    def __iter__(self): return iter((self.x, self.y))\n    def __enter__(self): return self.x\n"
                "    def __exit__(self, *e): self.x = 0\ndef norm(p): return abs(p.x) + abs(p.y)\n"
                "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
                "    def __getitem__(self, i): return self.items[i]\n    def __bool__(self): return bool(self.items)",
                ["P(1, 2) == P(1, 2) and P(1) != P(2) and P(1) < P(2)", "(P(1, 2) + P(3, 4)).x == 4", "norm(P(-1, 2)) == 3",
                 "p = P(5)\np.y = 7\nassert norm(p) == 12 and list(p) == [5, 7] and len(p) == 2 and 7 in p",
                 "str(P(1)) == 'P(x=1, y=0)' and repr(P(1)) == 'P(x=1, y=0)'", "isinstance(P(1), P) and not isinstance(1, P)",
                 "with P(9) as nine:\n    assert nine == 9", "sorted([P(2), P(1)])[0].x == 1", "hasattr(p, 'x') and not hasattr(p, 'z')",
                 "s = Stack()\nassert not s\ns.push(1)\ns.push([2])\nassert s and s[0] == 1 and s[1:] == [[2]] and s.items == [1, [2]]",
                 "type(p) is not int and callable(P)", "del p.y\nassert p.y == 0"],
            ),
            (
                "def count(n):\n    yield from range(n)\nTABLE = {'a': (1, 2)}\nLIMIT = 10 ** 40\ncalls = 0\n"
                "def f():\n    global calls\n    calls += 1\n    return calls",
                ["list(count(3)) == [0, 1, 2]", "sum(count(5)) == 10", "next(count(1)) == 0", "TABLE['a'] == (1, 2)",
                 "LIMIT == 10 ** 40", "calls == 0", "f() == 1 and f() == 2", "calls == 2", "max(zip(count(2), 'ab')) == (1, 'b')"],
            ),
            (
                "import math, os.path, collections as c\nfrom itertools import *\nfrom fractions import Fraction as F\n"
                "def half(x): return F(x, 2)\ndef counted(x): return c.Counter(x)\ndef grouped(x):\n    d = c.defaultdict(list)\n"
                "    for i in x: d[i % 2].append(i)\n    return d",
                ["half(3) == F(3, 2)", "counted('aab') == {'a': 2, 'b': 1} and counted('a').most_common(1) == [('a', 1)]",
                 "grouped([1, 2, 3]) == {1: [1, 3], 0: [2]}", "math.isclose(float(half(1)), 0.5)", "os.path.join('a', 'b') == 'a/b'",
                 "list(islice(count(), 2)) == [0, 1]"],
            ),
            ("def write(name, text):\n    with open(name, 'w') as f: f.write(text)",
             ["write('x.txt', 'abc')\nassert open('x.txt').read() == 'abc'"]),
            ("def kind(x): return type(x)\ndef same(x): return x\ndef f(x, /, *, y=2): return x, y",
             ["kind(1) is int and kind('') is str", "same(len)('ab') == 2", "f(1) == (1, 2) and f(1, y=3) == (1, 3)",
              "same(float('nan')) != same(float('nan'))", "same(None) is None and same(True) is True",
              "same(lambda: 7)() == 7", "kind(kind) is not int"]),
            ("from __future__ import annotations\ndef f(x: Undefined): return x\nif __name__ == '__main__': raise 1",
             ["f(1) == 1"]),
        ],
        ids=["in-place", "callbacks", "exceptions", "classes", "generators-and-data", "imports", "files", "kinds", "main"],
    )  # fmt: skip
    def test_right_programs_pass(self, program: str, checks: list[str]) -> None:
        checked = run_checks(program, checks)
        assert [result.reason for result in checked.results] == [""] * len(checks)

    def test_checks_keep_their_own_names_and_builtins_unless_told(self) -> None:
        program = "def sum(a, b):\n    return a + b\ndef x(): return 1"
        assert passes(program, "sum([1, 2]) == 3", "x = 5", "x == 5") == [True, True, True]
        assert passes(program, "sum(1, 2) == 3", "x", names=["sum"]) == [True, False]

    def test_a_function_named_like_what_was_imported_is_the_programs(self) -> None:
        assert passes("from math import gcd\ndef gcd(a, b): return 99", "gcd(4, 6) == 99") == [True]

    def test_a_program_that_does_not_come_to_its_end_passes_nothing(self) -> None:
        checked = run_checks("def f(): return 1\nraise ValueError('late')", ["f() == 1", "True"])
        assert [result.passed for result in checked.results] == [False, False]
        assert checked.results[0].reason == "the program ended early: ValueError: late"
        assert (checked.execution.outcome, checked.execution.error) == ("raised", "ValueError: late")

    def test_checks_before_one_that_hangs_are_counted(self) -> None:
        program = "def f(x):\n    while x: pass\n    return x"
        checked = run_checks(program, ["f(0) == 0", "f(1) == 1", "f(0) == 0"], limits=Limits(seconds=2))
        assert [result.passed for result in checked.results] == [True, False, False]
        assert checked.results[1].reason == "it was not reached: timeout"
        assert checked.execution.outcome == "timeout"


ALWAYS_EQUAL = """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __bool__(self): return True
    def __hash__(self): return 0
    def __contains__(self, other): return True
    def __call__(self, *a, **k): return self
    def __getattr__(self, name): return self
    def __getitem__(self, name): return self
    def __sub__(self, other): return self
    __add__ = __radd__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __sub__
    def __abs__(self): return self
    def __instancecheck__(self, x): return True
"""


@confined
class TestForgery:
    CHECKS = (
        "assert f(20) == 6765",
        "assert f(21) in (10946,)",
        "assert abs(f(22) - 17711) < 1e-6",
        "assert f(23) >= 28657 and f(23) <= 28657 and not f(23) != 28657",
        "assert sorted([f(3), f(2)]) == [1, 2]",
        "assert {f(24)} == {46368}",
        "assert str(f(25)) == '75025'",
        "assert isinstance(f(6), int) and type(f(6)) is int and f(6) == 8",
        "def check(candidate):\n    assert candidate(10) == 55\ncheck(f)",
    )

    def none_passes(self, program: str, **options: Any) -> Checked:
        options.setdefault("limits", Limits(seconds=3))
        checked = run_checks(program, self.CHECKS, **options)
        assert [result for result in checked.results if result.passed] == []
        return checked

    def test_what_they_check_can_be_passed(self) -> None:
        assert run_checks(
            "def f(n):\n    a, b = 0, 1\n    for _ in range(n): a, b = b, a + b\n    return a", self.CHECKS
        ).passed

    def test_an_object_that_equals_everything_equals_nothing(self) -> None:
        self.none_passes(ALWAYS_EQUAL + "def f(n): return Yes()")

    @pytest.mark.parametrize("base", ["int", "float", "str", "list", "dict"])
    def test_nor_does_one_that_is_also_a_number_or_a_text(self, base: str) -> None:
        self.none_passes(ALWAYS_EQUAL.replace("class Yes", f"class Yes({base})") + "def f(n): return Yes()")

    @pytest.mark.parametrize(
        "program",
        [
            # Leaving before the checks do.
            "import os; os._exit(0)",
            "import sys; sys.exit(0)",
            "def f(n):\n    import os; os._exit(0)",
            "def f(n):\n    raise SystemExit(0)",
            "def f(n):\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit",
            # Patching what checks are made of.
            "import builtins\nbuiltins.AssertionError = builtins.Exception = SystemExit\nbuiltins.isinstance = builtins.abs = builtins.sorted = lambda *a: True\ndef f(n): return 0",
            "import builtins\nbuiltins.__build_class__ = builtins.str = builtins.type = None\ndef f(n): return 0",
            "sorted = lambda x: [1, 2]\nabs = lambda x: 0\nstr = lambda x: '75025'\nisinstance = lambda *a: True\nint = type\ndef f(n): return 0",
            "import sys, json, os\njson.dumps = json.loads = os.write = None\nsys.modules['json'] = None\ndef f(n): return 0",
            "check = lambda c: None\ndef f(n): return 0",
            # Looking for the harness in memory, and for what is expected.
            """
import gc, sys
def f(n):
    for thing in gc.get_objects():
        if type(thing).__name__ in ('Answers', 'Link'):
            for number in range(9):
                thing_link = getattr(thing, '_link', thing)
                try: thing_link.send(b'["list","ok",true,null]')
                except BaseException: pass
    return 0
""",
            """
import gc, sys
def f(n):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if value == 6765 or (isinstance(value, str) and '6765' in value): return 6765
        frame = frame.f_back
    for value in gc.get_objects():
        if isinstance(value, dict):
            for item in value.values():
                if type(item) is str and 'assert' in item and '6765' in item and 'CHEAT' not in item: return 6765
    return 'CHEAT'
""",
            # Reports, by every descriptor, of every process.
            """
import json, os
def f(n):
    for fd in range(3, 64):
        for said in ({"check": 0, "passed": True, "reason": ""}, {"outcome": "finished"}):
            try: os.write(fd, json.dumps(said).encode() + b"\\n")
            except OSError: pass
    return 0
""",
            """
import os
def f(n):
    for fd in range(3, 64):
        try:
            os.set_blocking(fd, False)
            os.read(fd, 1 << 16)
            os.write(fd, (40).to_bytes(4, 'big') + b'["list","ok",true,null]'.ljust(40))
        except OSError: pass
    os._exit(0)
""",
            "import os\nos.closerange(3, 64)\ndef f(n): return 0",
            # Having a child answer, or threads.
            "import os\ntry:\n    if os.fork() == 0: os._exit(0)\nexcept OSError: pass\ndef f(n): return 0",
            "import threading, os\ndef f(n):\n    threading.Timer(0.01, os._exit, (0,)).start()\n    while True: pass",
            # Exceptions that make or break assertions.
            "def f(n): raise AssertionError",
            "def f(n): raise StopIteration",
            "def f(n): raise GeneratorExit",
            "class E(BaseException):\n    def __eq__(self, other): return True\ndef f(n): raise E(E)",
            # Answers that are too much.
            "def f(n): return 'x' * (64 << 20)",
            "def f(n):\n    x = []\n    for _ in range(10_000): x = [x]\n    return x",
            "def f(n):\n    x = []\n    x.append(x)\n    return x",
            "def f(n): return {i * (2 ** 61 - 1): 0 for i in range(100_000)}",
            "def f(n): return 10 ** 100_000",
            "def f(n):\n    from decimal import Decimal\n    return Decimal('1e999999999')",
            "def f(n): return range(10 ** 30)",
            "def f(n): return f",
            "import itertools\ndef f(n): return itertools.repeat(0)",
            "def f(n): return type('int', (), {'__eq__': lambda s, o: True, '__str__': lambda s: 75025})()",
            # What is only imported cannot be put in place of the library's.
            "import sys, types\nm = types.ModuleType('math')\nm.fabs = lambda x: 0\nsys.modules['math'] = m\nimport math\ndef f(n): return 0",
            "def f(n): return __import__('unittest.mock').mock.ANY",
            "import sys\nsys.setrecursionlimit(40)\ndef f(n): return f(n)",
        ],
    )  # fmt: skip
    def test_no_program_gets_passed_what_it_did_not_earn(self, program: str) -> None:
        self.none_passes(program)

    def test_one_that_knows_the_protocol_can_only_answer_wrongly(self) -> None:
        """Garbage, replies of each form and size, and calls back of functions it was never given."""
        messages = [
            b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'["ok"]', b'["ok",["object",-1],null]',
            b'["ok",["callback",0],null]', b'["ok",["library","os","system"],null]', b'["ok",["type","eval"],null]',
            b'["callback",0,[],{}]', b'["callback",-1,["list"],["dict"]]', b'["raised",[],[]]', b'["raised",7,7]',
            b'["raised",["list","x","SystemExit"],["list",0]]', b'["raised",["list","KeyboardInterrupt"],["list"]]',
            b'["ok",0,[["list",["list",6765]],["dict"]]]', b'["ready"]', b'["ended",true]', b'["list","ok",0,null]',
            b'["list","raised",["list","AssertionError"],["list"]]', b'["list","ok",["Fraction",1,0],null]',
            b'["list","ok",["exception",["list"]],null]', b'["list","callback",0,["list"],["dict"]]',
            b'["list","ok",["object",["list"]],null]', b'["list","ok",["int","zz"],null]', b'["list","ok",["set",["list"]],null]',
            b'["list","raised",["list",["list"]],["list"]]', b'["list","ok",["dict",[["list"],1]],null]',
        ]  # fmt: skip
        program = """
import sys
def f(n):
    frame = sys._getframe()
    while 'self' not in frame.f_locals or not hasattr(frame.f_locals['self'], '_link'): frame = frame.f_back
    frame.f_locals['self']._link.send(MESSAGE)
    frame.f_locals['self']._link.receive()
    return 0
"""
        right = program.replace("MESSAGE", repr(b'["list","ok",6765,null]'))
        assert passes(right, "assert f(20) == 6765", "assert f(2) == 1") == [True, False]
        for message in messages:
            forged = program.replace("MESSAGE", repr(message))
            results = run_checks(
                forged, ["assert f(20) == 6765", "assert f(2) == 1"], limits=Limits(seconds=2)
            ).results
            assert [result.passed for result in results] == [False, False], message

    def test_a_broken_link_stays_broken_whatever_the_check_makes_of_it(self) -> None:
        dead = "import os\ndef f(n): os._exit(0)"
        checks = [
            "try:\n    f(1)\nexcept Exception:\n    pass",
            "try:\n    f(1)\nexcept:\n    pass",
            "True",
            "assert True",
        ]
        assert passes(dead, *checks) == [False] * 4

    def test_a_program_does_not_learn_what_is_expected_nor_reach_the_checks_functions(self) -> None:
        program = """
seen = []
def f(callback):
    for name in ('__globals__', '__code__', '__closure__', 'number', '_answers'):
        try: seen.append((name, repr(getattr(callback, name))))
        except Exception: pass
    try: callback.__globals__
    except AttributeError: return 'nothing'
"""
        assert passes(
            program, "secret = 6765\nassert f(lambda: secret) == 'nothing'", "'6765' not in str(seen)"
        ) == [True, True]

    def test_objects_of_the_checks_stay_with_them(self) -> None:
        assert (
            passes("def f(x): return x", "class A: pass\nf(A())", "f(__builtins__)", "import sys\nf(sys)")
            == [False] * 3
        )

    def test_checks_that_misbehave_fail_and_are_ended(self) -> None:
        honest = "def f(): return 1"
        assert passes(honest, "f() == 1", "import os; os._exit(0)", "f() == 1") == [True, False, False]
        assert passes(honest, "raise SystemExit", "exit()", "f() == 1") == [False, False, True]
        limits = Limits(seconds=2)
        checked = run_checks(honest, ["f() == 1", "while True: pass"], limits=limits)
        assert [result.passed for result in checked.results] == [True, False]

    def test_the_checks_are_confined_too(self) -> None:
        assert (
            passes("", "import os; os.listdir('/')", "import socket; socket.socket()", "import os; os.fork()")
            == [False] * 3
        )


def test_checks_are_needed_and_are_text() -> None:
    with pytest.raises(InvalidInput, match="no checks"):
        run_checks("", [])
    with pytest.raises(InvalidInput, match="A check is a int"):
        run_checks("", [1])  # type: ignore[list-item]


@pytest.mark.skipif(os.name != "posix", reason="no program is ever run on Windows")
def test_checks_are_refused_and_allowed_as_programs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    poor = Confinement(frozenset({"time", "output", "environment"}), ("resources",))
    monkeypatch.setattr(sys.modules["edgetts.sandbox.confinement"], "_probed", lambda: poor)
    with pytest.raises(Unsupported, match="unconfined=True"):
        run_checks("def f(): return 1", ["f() == 1"])
    assert run_checks("def f(): return 1", ["f() == 1"], unconfined=True).passed


atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False)
    | st.fractions() | st.decimals(allow_nan=False) | st.binary().map(bytearray) | st.text(st.characters(codec=None))
    | st.integers(-(10**400), 10**400) | st.builds(range, st.integers(), st.integers(), st.integers(1))
)  # fmt: skip
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(keys)
    | st.frozensets(keys) | st.lists(inner).map(deque) | st.dictionaries(keys, inner).map(OrderedDict),
    max_leaves=20,
)  # fmt: skip


def kinds(value: Any) -> Any:
    if isinstance(value, (list, tuple, deque)):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(kinds(k), kinds(v)) for k, v in value.items()]
    return type(value)


@given(values)
def test_plain_data_comes_back_the_same_and_of_the_same_types(value: Any) -> None:
    data = plain.dumps(value)
    assert plain.loads(data) == value
    assert kinds(plain.loads(data)) == kinds(value)
    # What is written by hand is what the library writes.
    assert json.loads(data) == json.loads(json.dumps(json.loads(data)))


def test_values_that_are_not_numbers_and_special_containers_cross() -> None:
    assert math.isnan(plain.loads(plain.dumps(float("nan"))))
    assert plain.loads(plain.dumps([math.inf, -math.inf, -0.0])) == [math.inf, -math.inf, 0.0]
    assert plain.loads(plain.dumps(Counter("aab"))) == Counter("aab")
    assert plain.loads(plain.dumps(defaultdict(list, {1: [2]}))) == {1: [2]}
    assert plain.loads(plain.dumps([Decimal("NaN"), Fraction(1, 3)]))[1] == Fraction(1, 3)


class Level(IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int


@pytest.mark.parametrize(
    "value", [object(), Level.LOW, Pair(1), type("T", (str,), {})("x"), len, int, [{1: object()}]]
)
def test_only_exact_types_are_plain(value: object) -> None:
    with pytest.raises(plain.NotPlainError):
        plain.dumps(value)


@given(st.binary() | st.recursive(st.none() | st.integers() | st.sampled_from(
    ["int", "list", "dict", "set", "Fraction", "Decimal", "range", "bytes", "complex", "deque", "Counter", "object", ""]
) | st.floats(), st.lists, max_leaves=15).map(lambda data: json.dumps(data).encode()))  # fmt: skip
def test_whatever_bytes_come_decoding_gives_data_or_says_they_are_damaged(data: bytes) -> None:
    try:
        value = plain.loads(data)
    except plain.DamagedError:
        return
    assert plain.loads(plain.dumps(value)) == value or "nan" in repr(value).lower()


def test_bytes_nested_without_end_are_damaged() -> None:
    for data in (
        b"[" * 1_000_000,
        b'["list",' * 1000 + b"1" + b"]" * 1000,
        b"1" * 100_000,
        b'["int","' + b"f" * 1000 + b'g"]',
    ):
        with pytest.raises(plain.DamagedError):
            plain.loads(data)


ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the filter as the kernel would, every jump inside it, and return what it decides."""
    program = seccomp.assemble(machine, 4321)
    words = {0: number, 4: ARCHITECTURES[machine] if architecture is None else architecture}
    for place, argument in enumerate((*arguments, 0, 0, 0, 0, 0, 0)[:6]):
        words[16 + 8 * place], words[20 + 8 * place] = argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF
    at, accumulator = 0, 0
    while True:
        code, yes, no, operand = program[at]
        assert 0 <= yes < 256
        assert 0 <= no < 256
        at += 1
        if code == 0x20:
            accumulator = words[operand]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return operand
        else:
            taken = accumulator == operand if code == 0x15 else accumulator >= operand
            assert code in (0x15, 0x35)
            at += yes if taken else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
class TestFilter:
    def test_every_call_is_decided_as_listed_and_unknown_ones_do_not_exist(self, machine: str) -> None:
        numbers = NUMBERS[machine]
        listed = {numbers[name]: name for name in numbers}
        assert len(listed) == len(numbers)
        assert not ALLOWED & REFUSED
        for number in range(600):
            name = listed.get(number)
            decided = decide(machine, number, 1 << 40 | 99, 1 << 40 | 99, 1 << 40 | 99)
            expected = ENOSYS if name is None else ALLOW if name in ALLOWED else EPERM
            assert decided == expected, name

    @pytest.mark.parametrize(
        ("name", "arguments", "decided"),
        [
            ("clone", (0x3D0F00,), ALLOW),
            ("clone", (0x11,), EPERM),
            ("clone", (0x4111,), EPERM),
            ("clone", (0x10000 | 0x40000000,), EPERM),
            ("clone", (0x10000 | 0x10000000,), EPERM),
            ("kill", (4321, 9), ALLOW),
            ("kill", (0, 9), EPERM),
            ("kill", (0xFFFFFFFF, 9), EPERM),
            ("kill", (-4321 & 0xFFFFFFFF, 9), EPERM),
            ("tgkill", (4321, 4322, 9), ALLOW),
            ("tgkill", (4322, 4321, 9), EPERM),
            ("tkill", (4322, 9), EPERM),
            ("fcntl", (3, 0, 0), ALLOW),
            ("fcntl", (3, 1030, 0), ALLOW),
            ("fcntl", (3, 1032, 0), ALLOW),
            ("fcntl", (3, 8, 1), EPERM),
            ("fcntl", (3, 10, 9), EPERM),
            ("fcntl", (3, 15, 9), EPERM),
            ("fcntl", (3, 1024, 1), EPERM),
            ("ioctl", (0, 0x5401), ALLOW),
            ("ioctl", (0, 0x5451), ALLOW),
            ("ioctl", (0, 0x5412), EPERM),
            ("ioctl", (0, 0x5412 | 1 << 32), EPERM),
            ("ioctl", (0, 0x40086602), EPERM),
            ("prctl", (15, 1), ALLOW),
            ("prctl", (1, 0), EPERM),
            ("prctl", (22, 0), EPERM),
            ("prlimit64", (0, 7, 0, 1), ALLOW),
            ("prlimit64", (4321, 7, 0, 1), ALLOW),
            ("prlimit64", (1, 7, 0, 1), EPERM),
            ("prlimit64", (0, 7, 1, 0), EPERM),
            ("prlimit64", (0, 7, 1 << 32, 0), EPERM),
            ("socketpair", (1, 1 | 0o2000000, 0), ALLOW),
            ("socketpair", (1, 2, 0), EPERM),
            ("socketpair", (1, 5, 0), EPERM),
            ("socketpair", (2, 1, 0), EPERM),
        ],
    )
    def test_arguments_are_looked_at(
        self, machine: str, name: str, arguments: tuple[int, ...], decided: int
    ) -> None:
        assert decide(machine, NUMBERS[machine][name], *arguments) == decided

    def test_calls_of_another_architecture_end_the_process(self, machine: str) -> None:
        for architecture in (0x40000003, 0x40000028, 0):
            assert decide(machine, NUMBERS[machine]["read"], architecture=architecture) == KILL
        if machine == "x86_64":
            assert decide(machine, 0x40000000) == KILL


def test_the_numbers_are_those_of_the_kernels_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("there are no kernel headers here")
    lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_")]
    known = {words[1].removeprefix("__NR_"): int(words[2]) for words in lines}
    assert {
        name: number for name, number in NUMBERS["x86_64"].items() if known.get(name, number) != number
    } == {}
