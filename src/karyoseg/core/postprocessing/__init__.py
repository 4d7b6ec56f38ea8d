"""From predictions at two scales and a foreground map to one label image, by the rules of nucleAIzer."""
