"""The watcher's side: noticing complete files and publishing them, and the command line. Never loads Pillow."""
