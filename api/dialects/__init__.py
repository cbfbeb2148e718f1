"""Foreign APIs: each translates what its clients send into commands, and back."""
