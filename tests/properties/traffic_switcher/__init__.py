"""Properties of the switcher's core, its plan file and its words."""
