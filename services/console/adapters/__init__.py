"""How people and programs reach the console."""
