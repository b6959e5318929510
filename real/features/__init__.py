"""Steps 2 to 4: activations on disk, dictionaries, the features they know advice by, and how these lie."""
