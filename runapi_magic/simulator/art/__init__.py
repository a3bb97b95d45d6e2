"""What the simulator draws: images made of shapes, from the words of a prompt."""
