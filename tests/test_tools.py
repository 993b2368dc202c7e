"""Tools as clients give them, and the chat that is made of them for each kind of chat template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tool_cases import (
    CATALOGUE,
    HERMES_TEMPLATE,
    LLAMA_TEMPLATE,
    MISTRAL_TEMPLATE,
    NOW,
    OPENAI,
    STRICT_TEMPLATE,
    TOOLS,
    WEATHER,
    XML_TEMPLATE,
    function,
)

from edgetts.chat import CHATML, ChatTemplate, Message, ToolCall
from edgetts.errors import InvalidInput, MissingExtra
from edgetts.tools import (
    HERMES,
    LLAMA,
    Tool,
    ToolChoice,
    find_style,
    lay_out,
    prepare,
    shortlist,
    text_structure,
)
from edgetts.tools.tool import parse_tools

CALL = ToolCall("call_with_a_long_id", "weather", '{"city": "Rome", "days": 2}')
SECOND = ToolCall("call_2", "now", "{}")
CHAT = [
    Message("user", "Weather in Rome?"),
    Message("assistant", "Let me look.", (CALL, SECOND)),
    Message("tool", "sunny", tool_call_id=CALL.id, name="weather"),
    Message("tool", "noon", tool_call_id=SECOND.id, name="now"),
]


def rendered(source: str, messages: Any, tools: Any = None) -> str:
    return ChatTemplate(source, bos_text="", eos_text="").render(messages, tools=tools)


# What clients give


def test_tools_are_read() -> None:
    tools = parse_tools([WEATHER, function("f")])
    assert [tool.name for tool in tools] == ["weather", "f"]
    assert tools[0].to_openai() == WEATHER
    assert tools[1].parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return {"type": "object", "properties": {"a": schema}}


WRONG: dict[str, tuple[Any, str]] = {
    "no list": ({"a": 1}, "must be a list"),
    "text": ("tools", "must be a list"),
    "none at all": ([], "0 tools"),
    "too many": ([function(f"f{i}") for i in range(129)], "129 tools"),
    "another type": ([{"type": "web_search"}], r"tools\[0\] is not of the type function"),
    "no mapping": ([NOW, 7], r"tools\[1\] is not of the type function"),
    "no function": ([{"type": "function"}], "has no function"),
    "an unknown field": ([{"type": "function", "function": {"name": "a", "parametres": {}}}], "parametres.*parameters"),
    "no name": ([{"type": "function", "function": {}}], "has a name that is not"),
    "a name with a space": ([function("a b")], "has a name that is not"),
    "a name with a line": ([function("a\n")], "has a name that is not"),
    "a name of another script": ([function("ä")], "has a name that is not"),
    "a long name": ([function("a" * 65)], "has a name that is not"),
    "twice": ([NOW, NOW], r"tools\[1\] has the name 'now', as one before it"),
    "a description": ([{"type": "function", "function": {"name": "a", "description": 5}}], "description"),
    "strict": ([{"type": "function", "function": {"name": "a", "strict": "yes"}}], "strict"),
    "no schema": ([{"type": "function", "function": {"name": "a", "parameters": []}}], "no JSON Schema"),
    "a list of arguments": ([function("a", "", {"type": "array"})], "another type than object"),
    "too large": ([function("a", "x" * 100_000)], "characters as JSON"),
    "no JSON": ([function("a", "", {"default": {1, 2}})], "not what JSON can hold"),
    "no number": ([function("a", "", {"default": float("nan")})], "not what JSON can hold"),
    "very deep": ([function("a", "", deep(5000))], "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_wrong_tools_are_refused_in_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        parse_tools(given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_choices_are_read() -> None:
    named = {"type": "function", "function": {"name": "now"}}
    assert ToolChoice.parse(None, TOOLS) == ToolChoice("auto")
    assert ToolChoice.parse("none", TOOLS) == ToolChoice("none")
    assert ToolChoice.parse("required", TOOLS) == ToolChoice("required")
    assert ToolChoice.parse(named, TOOLS) == ToolChoice("required", "now")
    assert ToolChoice.parse(ToolChoice("required", "now"), TOOLS) == ToolChoice("required", "now")
    for wrong in ("always", 5, {}, {"type": "tool", "function": {"name": "now"}}, {"function": {"name": 1}}):
        with pytest.raises(InvalidInput, match="neither auto, none, required nor a function"):
            ToolChoice.parse(wrong, TOOLS)
    with pytest.raises(InvalidInput, match=r"'wether' is none of the tools\. Did you mean 'weather'"):
        ToolChoice.parse({"function": {"name": "wether"}}, TOOLS)


# Styles


def test_styles_are_found_by_what_templates_write() -> None:
    assert find_style(HERMES_TEMPLATE) == HERMES
    assert find_style(LLAMA_TEMPLATE) == LLAMA
    mistral = find_style(MISTRAL_TEMPLATE)
    assert mistral is not None
    assert (mistral.name, mistral.begin, mistral.short_ids) == ("mistral", " [", True)
    tight = find_style(MISTRAL_TEMPLATE.replace("[TOOL_CALLS] [", "[TOOL_CALLS]["))
    assert tight is not None
    assert tight.begin == "["
    one_line = find_style(
        HERMES_TEMPLATE.replace("<tool_call>\\n", "<tool_call>").replace("\\n</tool", "</tool")
    )
    assert one_line is not None
    assert one_line.write((SECOND,)) == '<tool_call>{"name": "now", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    "source", [CHATML, XML_TEMPLATE, STRICT_TEMPLATE, "{{ 1 / 0 }}", "{% for %}", "{{ tools }}"]
)
def test_templates_without_known_tools_have_no_style(source: str) -> None:
    assert find_style(source) is None


# Chats


def test_a_template_with_tools_gets_them_and_the_calls() -> None:
    request = prepare(OPENAI, "auto", HERMES_TEMPLATE, CHAT)
    assert request.messages == tuple(CHAT)
    assert request.tools == [tool.to_openai() for tool in TOOLS]
    assert request.note == ""
    assert request.asked == {"tools": request.tools, "constraint": request.constraint}
    text = rendered(HERMES_TEMPLATE, request.messages, request.tools)
    assert json.dumps(WEATHER) in text
    assert (
        'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'
    ) in text
    assert "<tool_response>\nsunny\n</tool_response>" in text


def test_ids_become_what_mistrals_templates_insist_on() -> None:
    request = prepare(OPENAI, "auto", MISTRAL_TEMPLATE, CHAT)
    text = rendered(MISTRAL_TEMPLATE, request.messages, request.tools)
    ids = [call.id for call in request.messages[1].tool_calls]
    assert len(set(ids)) == 2
    assert all(f'"id": "{i}"' in text and f'"call_id": "{i}"' in text for i in ids)
    kept = prepare(OPENAI, "auto", MISTRAL_TEMPLATE, [Message("tool", "x", tool_call_id="abcDEF123")])
    assert kept.messages[0].tool_call_id == "abcDEF123"
    _, calls = request.read('[TOOL_CALLS] [{"name": "now", "arguments": {}}]')
    assert len(calls[0].id) == 9
    assert calls[0].id.isalnum()


@pytest.mark.parametrize("source", [CHATML, XML_TEMPLATE])
def test_without_them_a_message_describes_the_tools_and_says_so(source: str) -> None:
    request = prepare(OPENAI, "auto", source, [Message("system", "Be brief."), *CHAT])
    assert request.tools is None
    assert "a message describes them" in request.note
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user"]
    system, _, called, told = (m.content for m in request.messages)
    assert system.startswith("Be brief.\n\n")
    assert json.dumps(WEATHER["function"]) in system
    assert "<tool_call>" in system
    assert called == "Let me look.\n" + HERMES.write((CALL, SECOND))
    assert told == "<tool_response>\nsunny\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    assert not any(m.tool_calls or m.tool_call_id or m.name for m in request.messages)
    assert prepare(OPENAI, "auto", source, CHAT).messages[0].role == "system"


def test_a_template_without_a_system_message_has_the_user_say_it() -> None:
    request = prepare(OPENAI, "required", STRICT_TEMPLATE, CHAT)
    assert [m.role for m in request.messages] == ["user", "assistant", "user"]
    assert request.messages[0].content.endswith("Call at least one function now.\n\nWeather in Rome?")
    assert "user: You can call functions." in rendered(STRICT_TEMPLATE, request.messages)


def test_a_named_tool_is_asked_for_and_the_only_one_offered() -> None:
    request = prepare(OPENAI, {"type": "function", "function": {"name": "now"}}, CHATML, CHAT)
    assert request.messages[0].content.endswith("Call now now.")
    assert request.names == {"now"}
    assert request.read(HERMES.write((CALL,)))[1] == ()


@pytest.mark.parametrize("source", [CHATML, HERMES_TEMPLATE])
def test_with_none_no_tools_are_shown_and_none_are_read(source: str) -> None:
    request = prepare(OPENAI, "none", source, CHAT)
    assert (request.tools, request.constraint, request.note) == (None, None, "")
    # Models go on as they see it done.
    assert request.asked["constraint"] == text_structure(HERMES)
    assert prepare(OPENAI, "none", source, CHAT[:1]).asked["constraint"] is None
    assert "Tell the weather" not in rendered(source, request.messages, request.tools)
    written = HERMES.write((CALL,))
    assert request.read(written) == (written, ())


def test_a_chat_with_calls_can_be_shown_when_there_are_no_tools_any_more() -> None:
    chat = [*CHAT, Message("user", "Thanks.")]
    text = rendered(STRICT_TEMPLATE, lay_out(chat, STRICT_TEMPLATE))
    assert HERMES.write((CALL, SECOND)) in text
    assert "</tool_response>\nThanks." in text
    assert lay_out(chat, HERMES_TEMPLATE) == tuple(chat)
    assert all(len(call.id) == 9 for call in lay_out(chat, MISTRAL_TEMPLATE)[1].tool_calls)


# Shortlists


def test_few_tools_are_all_shown() -> None:
    assert shortlist(TOOLS, "anything", 3) == list(TOOLS)


CATALOGUED = [Tool(row["name"], row["description"], {"type": "object"}) for row in CATALOGUE]


def hits(which: int, most: int) -> int:
    return sum(
        row["name"] in {tool.name for tool in shortlist(CATALOGUED, row["questions"][which], most)}
        for row in CATALOGUE
    )


def test_the_shortlist_finds_tools_by_the_words_of_their_descriptions() -> None:
    # Measured: 60, 55, and 27 of 60 for questions that avoid those words, where BM25 has nothing to go by.
    assert len(CATALOGUE) == 60
    assert hits(0, 12) == 60
    assert hits(0, 1) >= 50
    assert 20 <= hits(1, 12) < 40


def test_a_shortlist_is_deterministic_in_order_and_keeps_what_is_named() -> None:
    question = "Play an album by Miles Davis."
    first = shortlist(CATALOGUED, question, 12, keep={"random_number"})
    assert first == shortlist(CATALOGUED, question, 12, keep={"random_number"})
    assert len(first) == 12
    places = [CATALOGUED.index(tool) for tool in first]
    assert places == sorted(places)
    assert {"play_music", "random_number"} <= {tool.name for tool in first}
    assert shortlist(CATALOGUED, "日本", 2) == CATALOGUED[:2]
    assert [t.name for t in shortlist(CATALOGUED, "", 1, keep={"lock_door", "play_music"})] == [
        "play_music",
        "lock_door",
    ]


def test_many_tools_are_shortlisted_by_the_users_last_question() -> None:
    given = [tool.to_openai() for tool in CATALOGUED]
    chat = [Message("user", "hi"), Message("assistant", "", (ToolCall("i", "delete_file", "{}"),)),
            Message("tool", "done", tool_call_id="i"), Message("user", "Lock the front door.")]  # fmt: skip
    request = prepare(given, "auto", HERMES_TEMPLATE, chat, most=5)
    assert len(request.offered) == 5
    assert {"lock_door", "delete_file"} <= request.names
    assert request.note == "5 of 60 tools are shown to the model."
    named = prepare(given, {"function": {"name": "get_news"}}, HERMES_TEMPLATE, chat, most=5)
    assert named.tools is not None
    assert "get_news" in json.dumps(named.tools)
    assert len(prepare(given, "auto", HERMES_TEMPLATE, chat, most=None).offered) == 60


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bm25s", None)
    assert shortlist(TOOLS, "the weather", 12) == list(TOOLS)
    with pytest.raises(MissingExtra, match=r"edgetts\[search\]"):
        shortlist(TOOLS, "the weather", 1)
