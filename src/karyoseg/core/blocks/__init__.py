"""Images that do not fit in memory: cut into blocks, prepared in windows, computed by one process or many."""
