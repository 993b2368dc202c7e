"""A chat with a model that remembers what was said: turns, what of them fits the context, and a file to keep them in.

Knows engines and texts. No tokens, no terminals, no HTTP.
"""

from edgetts.conversation.conversation import ChatEvent, Conversation
from edgetts.conversation.fitting import TurnsDropped, WhenFull
from edgetts.conversation.history import History, Turn, check_text

__all__ = ["Conversation", "ChatEvent", "TurnsDropped", "WhenFull", "History", "Turn", "check_text"]
