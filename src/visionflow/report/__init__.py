"""How results are shown to people: the tables of each command here, pictures in `figures`."""
