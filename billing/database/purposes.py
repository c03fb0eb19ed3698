"""What an API key is for: a program, the account's own playground, or what its owner asks in the chat."""

PROGRAM, PLAYGROUND, CHAT = "program", "playground", "chat"
