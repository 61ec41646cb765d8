"""Pages for those who asked: leadership, sales operations, finance, a rep."""
