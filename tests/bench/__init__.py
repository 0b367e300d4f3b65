"""What openqueue costs: guards in the suite count it (test_*.py), drivers measure it (`make measure`)."""
