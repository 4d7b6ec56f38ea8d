"""How accurate models are on prepared data: plain stardist, recipes, sizes, worst cases."""
