"""Wing: widening the topic lists by asking a model.

`suggestions` (a reply to a list), `topic_rules` (which of it is wanted and new), `widener` (asking until there are
enough), `additions` (the new ones put into the file), `orders` (a command line, checked), `account` (what is told of a
run), `widening` (one run of it all).
"""
