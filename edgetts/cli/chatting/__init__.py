"""What `edgetts chat` is made of: reading lines, commands, what is shown, and where a chat is saved."""
