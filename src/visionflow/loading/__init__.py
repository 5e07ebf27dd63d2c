"""What comes from outside: pictures, models and prompts; anything wrong with them is one clear sentence."""
