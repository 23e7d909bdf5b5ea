"""Calls to any OpenAI-compatible server: the client, its errors, the scheduler with its rate limits, the budget."""
