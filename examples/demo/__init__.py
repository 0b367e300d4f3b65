"""What index_directory.py needs besides openqueue: somewhere to run, something to read, and a page to print."""
