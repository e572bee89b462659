"""How files are written whole, who may read them, and how one process at a time writes them."""
