"""Whether a bundle from somebody else is what it says, found out from what it holds."""
