"""Calls to OpenAI-compatible servers: client, responses, errors, scheduler with rate limits, budget."""
