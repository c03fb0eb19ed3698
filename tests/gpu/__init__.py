"""What only a machine with an NVIDIA GPU can show; a program, no test that pytest collects."""
