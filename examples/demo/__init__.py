"""What index_directory.py needs besides openqueue: where to run, what to read, how to print."""
