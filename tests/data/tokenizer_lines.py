"""Make 1,000 lines of mixed languages, code, emoji and whitespace, the same on every machine."""

# ruff: noqa: RUF001, SIM905 - the lines are data; look-alike letters and long lines belong to it

from __future__ import annotations

import random

WRITTEN = [
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they'd've said it's what we'll DO, don't you think? YOU'RE RIGHT, WE'VE HE'S",
    "He said \u201cit\u2019s fine\u201d \u2014 and left…",
    "   leading and trailing   ",
    "\ttabs\t\tand  double  spaces \t mixed",
    "a\n\nb\n   \n\tc\r\nd\r\n\r\ne \n f",
    "\n",
    " ",
    "        ",
    "1234567890 3.14159 1,000,000 0x1F 2e-10 v1.2.3 \u0661\u0662\u0663 \u0967\u0968\u0969 \u2167 \u00bd x\u00b2",
    "def f(x):\n    return x**2 + 1  # comment\n\n\nclass A(B):\n\tpass",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2; } /* c */ // d",
    "SELECT * FROM t WHERE a='b' AND c<>\"d\"; -- e",
    '{"key": [1, 2.5, null, true], "nested": {"a": "\\u00e9\\n"}}',
    '<div class="x">a &amp; b</div><br/><s>old</s> <|im_start|> [INST] <unk> <0x0A>',
    "https://example.com/a/b?c=d&e=f#g user.name+tag@example.co.uk C:\\dir\\file.txt /usr/bin",
    "Straße, Ärger, Übergröße; naïve café façade; İstanbul ışık",
    "nai\u0308ve cafe\u0301 a\u0301\u0323 o\u0308\u0304 \u212b \u2126 \ufb01n \uff21\uff22\uff23 \u3131",
    "Привет, мир! Как дела? Ёлка.",
    "Η γρήγορη αλεπού ἀρχὴ",
    "你好，世界！今天天气怎么样？繁體中文。𠀀𠀁",
    "こんにちは世界。カタカナ\u30fc、\uff76\uff9e\uff77\uff9e",
    "안녕하세요 세계! \u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645، \u0643\u064e\u064a\u0652\u0641\u064e \u062d\u0627\u0644\u064f\u0643\u061f",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd \u200f(RTL)\u200e mixed",
    "नमस\u094dत\u0947 द\u0941न\u093fय\u093e, क\u094d\u200dष क\u094d\u200cष",
    "สว\u0e31สด\u0e35ชาวโลก வணக\u0bcdகம\u0bcd გამარჯობა",
    "Xin chào thế giới; Zażółć gęślą jaźń; Łódź",
    "😀👍\U0001f3fd 👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f 🇩🇪 #\ufe0f\u20e3 🏴\u200d☠\ufe0f",
    "∑∫√∞≈≠ α→β ∀x∃y 𝒜𝔄 €£¥ ©®™ \u2581█",
    "zero\u200bwidth\ufeffmarks\u2060and\u00a0no-break\u3000ideographic\u2003em\u2028line\u2029par\u0085nel\u180e",
    "\x00\x01\x07\x1b[31mred\x1b[0m\x7f",
    "!!!???...,,,;;;:::---___===+++***///\\\\\\|||~~~```@@@###$$$%%%^^^&&&",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "AaBbCcDdEe HTTPServer XMLHttpRequest camelCase snake_case kebab-case SCREAMING_SNAKE \u01c5ungla",
    "\u017fo 'S 'T 'RE'VE'M'LL'D \u2019s '\u017f",
    "x  = 1 ;\n\n\n\n    y\t\t=  2\n  \n",
    "Ends with newline\n",
    "Ends with spaces   ",
    "//\n/\r\n///\n.../\n",
]

_WORDS = (
    "time person year way day thing world life hand part child eye woman place work week case point "
    "government company number group problem fact print return import lambda async await const let "
    "Zeit Mensch Jahr Weg Ding Welt Leben über schön été garçon mañana niño "
    "время человек мир код "
    "时间 人工智能 模型 語言 とても デ\u30fcタ 시간 사람 "
    "\u0632\u0645\u0646 \u0634\u062e\u0635 \u05d6\u05de\u05df \u05d0\u05d3\u05dd समय व\u094dयक\u094dत\u093f เวลา "
    "I'm don't they've it's we'll HTTP2 x86_64 utf-8 e.g. U.S.A. 3rd 42nd"
).split(" ")
_MARKS = [
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    ", ",
    ". ",
    "! ",
    "? ",
    "(",
    ") ",
    '"',
    "'",
    "-",
    "_",
    "/",
    "=",
    "",
]
_RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA),
    (0x621, 0x652), (0x905, 0x939), (0xE01, 0xE3A), (0x10D0, 0x10F0), (0x1100, 0x1112), (0x1E00, 0x1EFF),
    (0x2000, 0x206F), (0x20A0, 0x20B9), (0x2150, 0x2189), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x3041, 0x3096),
    (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E), (0x1D400, 0x1D454),
    (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x20000, 0x2A6D6),
]  # fmt: skip


def _words(rng: random.Random) -> str:
    return "".join(rng.choice(_WORDS) + rng.choice(_MARKS) for _ in range(rng.randint(3, 30)))


def _code(rng: random.Random) -> str:
    parts = ["if", "x", "(", ")", " ", "    ", "\n", "==", "!=", "->", "::", "{", "}", "[0]", ";", "0", "123",
             "foo_bar", "Baz", '"s"', "'c'", "# ", "//", "&&", "\t", "\r\n", "self.", "@", "$x", "<T>", "\\n"]  # fmt: skip
    return "".join(rng.choice(parts) for _ in range(rng.randint(5, 40)))


def _digits(rng: random.Random) -> str:
    return " ".join(str(rng.randrange(10 ** rng.randint(1, 15))) for _ in range(rng.randint(1, 8)))


def _spaces(rng: random.Random) -> str:
    return "".join(
        rng.choice([" ", "  ", "    ", "\t", "\n", "\r\n", "a", "B", ".", "7", "\u00a0"]) for _ in range(20)
    )


def _emoji(rng: random.Random) -> str:
    parts = [
        "😀",
        "🚀",
        "🧑",
        "\u200d",
        "💻",
        "\ufe0f",
        "❤",
        "\U0001f3ff",
        " ",
        "ok",
    ]
    return "".join(rng.choice(parts) for _ in range(rng.randint(2, 20)))


def _any_script(rng: random.Random) -> str:
    low, high = rng.choice(_RANGES)
    letters = [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 30))]
    return "".join(letter + (" " if rng.random() < 0.2 else "") for letter in letters)


def _everything(rng: random.Random) -> str:
    return "".join(chr(rng.randint(*rng.choice(_RANGES))) for _ in range(rng.randint(1, 40)))


def lines() -> list[str]:
    """Return the lines: those written by hand, then seeded ones of seven kinds in turn."""
    rng = random.Random(20240607)  # noqa: S311 - reproducible text, no secret
    kinds = (_words, _code, _digits, _spaces, _emoji, _any_script, _everything)
    made = [kinds[i % len(kinds)](rng) for i in range(1000 - len(WRITTEN))]
    return [*WRITTEN, *made]
