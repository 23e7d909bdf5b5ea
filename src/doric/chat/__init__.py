"""The terminal chat: the conversation, its commands, where chats are kept, and the server that answers."""
