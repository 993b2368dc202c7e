"""OpenAI-style HTTP over an engine (extra `server`). Knows requests and events; no token ids, no sessions."""
