"""What every package needs: errors, text, settings, files, JSON Lines, conversations, the command line."""
