"""Follow one question to its answer: the engine's side of decoding, selection and control."""
