"""The terminal chat: the conversation, its commands, the files of chats, and the server that answers."""
