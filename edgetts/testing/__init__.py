"""The laws of the Session contract as tests, and fakes that obey them, for whoever writes a runtime."""
